"""The command line: one thin file per command, imported only when the command is called."""
