"""The ``joules`` command: one file a subcommand."""
