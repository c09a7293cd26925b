"""Every sample as CSV: one row a sample or a counted round, units in the column names, ready for a data frame."""

from __future__ import annotations

import csv
import math
import os
from typing import TextIO

from pytest_joules.files import atomic
from pytest_joules.model import Report
from pytest_joules.report.text import escaped

#: What each column holds, in their order. ``domain_NAME_j`` stands for one column a domain.
COLUMNS = {
    "nodeid": "the test",
    "outcome": "of the test: passed, failed, ...",
    "source": "names of the sources, joined by +",
    "provenance": "measured, shared, attributed, estimated or unavailable",
    "resolution": "ok, apportioned, below; empty: not known",
    "block": "the block of rounds that the sample is of, from 1",
    "round": "from 1 within each test, over all its blocks",
    "iterations": "calls of the body in a round",
    "energy_j": "joules per iteration",
    "duration_s": "seconds per iteration",
    "tsc_ticks": "ticks of the processor's counter per iteration",
    "domain_NAME_j": "joules per iteration of each domain that any test has, a column a domain",
    "machine_id": "the machine, as in the JSON report",
    "cpu": "its processor",
    "python": "version of Python",
    "commit": "git's id of what was measured; empty for a cached test: not known here",
    "created": "when the sample was measured (ISO 8601, UTC)",
    "counter": "what counted instructions: of a round that was counted",
    "instructions": "that the body took in this round; such a row has no joules",
}

#: What a formula begins with, for one spreadsheet or another.
_FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


def write(report: Report, path: str | os.PathLike[str]) -> None:
    """Write one row a sample: joules, seconds and ticks per iteration, with where, when and how they were measured; and one a
    round that was counted, which has instructions and no joules.

    A test without either has no row. An empty cell is an unavailable value. ``round`` counts from 1 within each test, over all
    its blocks; ``block`` says which of them a sample is of. Domains that any test has get a column each. ``created`` is when the
    sample was measured: of a cached test that is another session, whose commit is not known here.

    Raises:
        pytest_joules.files.atomic.ReportPathError: the file cannot be written.
    """
    atomic.atomically(path, lambda file: _write(report, file))


def _write(report: Report, file: TextIO) -> None:
    domains = list(dict.fromkeys(name for test in report.tests for sample in test["samples"] for name in sample["domains"]))
    commit = report.commit["id"] if report.commit else None
    machine = [report.machine["id"], report.machine["cpu"], report.machine["python"]]
    rows = csv.writer(file)
    own = [escaped(f"domain_{name}_j") for name in domains]
    rows.writerow([column for name in COLUMNS for column in (own if name == "domain_NAME_j" else (name,))])
    for test in report.tests:
        about = [test["nodeid"], test["outcome"], test["source"], test["provenance"], test["resolution"]]
        when = [None, test["cached"]] if test["cached"] is not None else [commit, report.created]
        for number, sample in enumerate(test["samples"], 1):
            values = [sample["energy"], sample["duration"], sample["tsc"], *map(sample["domains"].get, domains)]
            rows.writerow(map(cell, [*about, sample["block"], number, test["iterations"], *values, *machine, *when, None, None]))
        if (counted := test["instructions"]) is None:
            continue
        for number, count in enumerate(counted["counts"], 1):
            nothing = [None] * (3 + len(domains))
            rows.writerow(map(cell, [*about, None, number, 1, *nothing, *machine, *when, counted["counter"], count]))


def cell(value: object) -> object:
    """Numbers as they are. A text that a spreadsheet would compute gets an apostrophe in front; what a terminal, or whoever reads
    line by line, would obey is escaped as in Python."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if not isinstance(value, str):
        return value
    text = escaped(value)
    return f"'{text}" if text.startswith(_FORMULAS) else text
