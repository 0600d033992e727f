"""The command line; every command lives in a module of its own kind and is imported when it is called."""
