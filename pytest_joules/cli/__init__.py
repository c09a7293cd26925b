"""The ``joules`` command: one file a subcommand."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments`` (default: those of the process) and return its exit code."""
    from pytest_joules.cli.command import main as run

    return run(arguments)
