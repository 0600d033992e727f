"""The command line; the module of a command is imported when it is called."""
