"""The training in a process of its own: a project's code may end, stop or fill that one, and the command says so."""
