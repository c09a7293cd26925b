"""Which sessions of a history a command is asked about: ``--since`` and ``--machine``."""

from __future__ import annotations

import argparse
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_joules.store import Store
    from pytest_joules.store.entries import Within
    from pytest_joules.store.series import PastSession

#: Machines and commits that a message names.
_NAMED = 5


class Unknown(Exception):
    """One sentence for the user."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The two that say which."""
    parser.add_argument("--since", metavar="DATE-or-COMMIT", help="sessions from then on: 2026-01-31 (UTC), or a commit's id")
    parser.add_argument("--machine", metavar="ID", help="sessions of this machine: its id, or how that begins")


def within(store: Store, given: argparse.Namespace) -> Within:
    """The sessions that are asked for.

    Raises:
        Unknown: there is no such machine or commit, or several.
        StoreError: the history cannot be read.
    """
    from pytest_joules.store.entries import Within

    if given.since is None and given.machine is None:
        return Within()
    sessions = store.past_sessions()
    return Within(
        None if given.since is None else _since(given.since, sessions),
        None if given.machine is None else _machine(given.machine, sessions),
    )


def _since(text: str, sessions: Sequence[PastSession]) -> str:
    if re.match(r"\d{4}-\d\d-\d\d", text):
        try:
            found = datetime.fromisoformat(text.replace("Z", "+00:00"))
            if found.tzinfo is None:
                found = found.replace(tzinfo=timezone.utc)
            return found.astimezone(timezone.utc).isoformat(timespec="seconds")
        except (ValueError, OverflowError):
            pass
    # The oldest session of each commit.
    commits: dict[str, str] = {}
    for session in sessions:
        if session.commit is not None and session.commit["id"]:
            commits.setdefault(session.commit["id"], session.created)
    named = [commit for commit in commits if text and commit.startswith(text.lower())]
    if len(named) == 1:
        return commits[named[0]]
    if named:
        raise Unknown(f"--since: {text} is how {_some(named)} begin: write more of the commit's id")
    known = f"the newest are {_some([*commits][::-1])}" if commits else "it has none"
    raise Unknown(f"--since: {text!r} is neither a date (2026-01-31) nor a commit of this history: {known}")


def _machine(text: str, sessions: Sequence[PastSession]) -> str:
    machines = list(dict.fromkeys(session.machine_id for session in reversed(sessions) if session.machine_id))
    if text in machines:
        return text
    named = [machine for machine in machines if text and machine.startswith(text)]
    if len(named) == 1:
        return named[0]
    if named:
        raise Unknown(f"--machine: {text} is how {_some(named)} begin: write more of the machine's id")
    known = f"those there are: {_some(machines)}" if machines else "no machine is known of any session"
    raise Unknown(f"--machine: {text!r} is no machine of this history; {known}")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(name[:16] for name in names[:_NAMED]) + more


def said(given: argparse.Namespace) -> str:
    """What a message says of it, after what was not found."""
    parts = (("since", given.since), ("on machine", given.machine))
    return "".join(f" {word} {value}" for word, value in parts if value is not None)
