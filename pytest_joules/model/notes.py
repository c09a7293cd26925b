"""Sentences and names that one room writes into a record and another recognises."""

from __future__ import annotations

import re
from collections.abc import Collection

#: Where a record counts how often the functions of its code ran: all functions that are not the project's.
OTHER = "<other>"
#: The property of a teardown's report that is a note on its test: found when the call report, with the record, had gone.
LATE_NOTE = "energy_late_note"
#: The note of a test that has one round, or fewer than were asked for; its group is why.
FEWER_ROUNDS = re.compile(r"(?:one round|\d+ rounds)(?: of \d+)?: (.*)")
#: The note of a test whose repeat did not pass; its group is why.
NOT_AGAIN = re.compile(r"(?:round|block) \d+ .*did not pass.*")
#: The note of an estimate that was made beside other processes.
DISTURBED = "other processes used the machine meanwhile"
#: What the reason begins with where a test is over its budget, and only nobody can vouch for that.
WOULD_BE = "would be "


def disturbed(notes: Collection[str]) -> bool:
    """Whether an estimate was made beside other processes, by its notes: stored records say it nowhere else.

    A counter's reading is then ``shared``.
    """
    return DISTURBED in notes
