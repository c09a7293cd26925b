"""The schema, and the numbers that are made of content.

A test, and a version of what a test executes, is numbered by a hash of what it is: two writers give it the same number without
asking, and nothing is looked up. Functions are counted instead, so that a test's functions can be written as a few ranges.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from pytest_joules.model import Code, Outside

if TYPE_CHECKING:
    from sqlalchemy import MetaData, Table


def number_of(*parts: object) -> int:
    """A 63-bit number made of JSON values: among a million, two are the same once in ten million histories."""
    return int.from_bytes(hashlib.blake2b(json.dumps(parts).encode("ascii"), digest_size=8).digest(), "big") >> 1


def code_number(code: Code) -> int:
    """The number of what a test executed: a record's ``code``."""
    # Older sessions did not count, nor did they time calls.
    known = (*((True,) if code.get("counts") else ()), *(("outside",) if code.get("outside") else ()))
    return number_of(code["fingerprint"], sorted(code["functions"].items()), code["unknown"], *known)


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as ``"1-57 60 63-80"``: the functions of a test were met together, and so follow each other."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return " ".join(str(low) if low == high else f"{low}-{high}" for low, high in found)


def counts_text(counts: Mapping[int, Sequence[int]], functions: Sequence[int]) -> str | None:
    """How often functions and their statements ran as ``"1 4 3;;2 2"``: one entry for each of ``functions``, and one for all
    others together (0)."""
    return ";".join(" ".join(map(str, counts.get(number, ()))) for number in (*functions, 0)) if counts else None


def outside_text(outside: Outside, numbers: Mapping[str, int]) -> str | None:
    """What calls out of the project cost as ``"12 len 3 150 0;.split 1 90 0|13 ..."``: the number of a function, then of each
    callee its name, calls, nanoseconds and calls that came back."""
    entries = [
        f"{numbers[place]} " + ";".join(f"{callee} {calls} {spent} {back}" for callee, (calls, spent, back) in inside.items())
        for place, inside in outside.items()
        if place in numbers and inside
    ]
    return "|".join(entries) or None


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables."""

    metadata: MetaData
    meta: Table
    sessions: Table
    tests: Table
    functions: Table
    codes: Table
    measurements: Table


@lru_cache(maxsize=1)
def tables() -> Schema:
    """Those of the schema in use."""
    return schema(4)


def schema(version: int) -> Schema:
    """Version 2, which the migration from version 1 makes, or a later one."""
    import sqlalchemy as sa

    later = version > 2

    metadata = sa.MetaData()
    # SQLite's row numbers must be declared INTEGER, and have 64 bits.
    hashed = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    meta = sa.Table("meta", metadata, sa.Column("key", sa.String(64), primary_key=True), sa.Column("value", sa.Text))
    sessions = sa.Table(
        "sessions",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("created", sa.String(64), nullable=False),
        sa.Column("machine_id", sa.Text, index=True),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("commit_id", sa.Text),
        sa.Column("commit_dirty", sa.Boolean),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("sources", sa.Text, nullable=False),
        sa.Column("plugin_version", sa.String(64), nullable=False),
        # The same in every database that the session is copied to.
        sa.Column("uuid", sa.String(32)),
        # JSON: the project's files as they were, and the predictor's account.
        *([sa.Column("files", sa.Text), sa.Column("predicting", sa.Text)] if later else ()),
        sa.Index("sessions_uuid", "uuid", unique=True),
    )
    tests = sa.Table(
        "tests",
        metadata,
        sa.Column("id", hashed, primary_key=True, autoincrement=False),
        sa.Column("nodeid", sa.Text, nullable=False),
    )
    functions = sa.Table(
        "functions",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        # Not the texts themselves: PostgreSQL's indices take 2.7 kB at most.
        sa.Column("number", hashed, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        *([sa.Column("source", sa.Text)] if later else ()),
        sa.Index("functions_number", "number", unique=True),
    )
    codes = sa.Table(
        "codes",
        metadata,
        sa.Column("id", hashed, primary_key=True, autoincrement=False),
        sa.Column("fingerprint", sa.Text),
        sa.Column("functions", sa.Text, nullable=False),
        sa.Column("unknown", sa.Text, nullable=False),
        # Of each of these functions, in the order of their numbers, how often it and its statements ran.
        *([sa.Column("counts", sa.Text)] if later else ()),
        # What calls out of the project cost.
        *([sa.Column("outside", sa.Text)] if version > 3 else ()),
    )
    measurements = sa.Table(
        "measurements",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("session_id", sa.ForeignKey("sessions.id"), nullable=False),
        # Within the session: with the session's uuid, what tells that a measurement is there already.
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("test_id", sa.ForeignKey("tests.id"), nullable=False),
        sa.Column("code_id", sa.ForeignKey("codes.id")),
        sa.Column("outcome", sa.String(64)),
        sa.Column("source", sa.Text),
        sa.Column("provenance", sa.String(64), nullable=False),
        sa.Column("resolution", sa.String(64)),
        sa.Column("rounds", sa.Integer, nullable=False),
        sa.Column("iterations", sa.Integer, nullable=False),
        # Joules and seconds per iteration; null where unavailable.
        sa.Column("energy_median", sa.Float),
        sa.Column("energy_low", sa.Float),
        sa.Column("energy_high", sa.Float),
        sa.Column("duration_median", sa.Float),
        sa.Column("samples", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        # Whether any test has this code still.
        *([sa.Index("measurements_code", "code_id")] if later else ()),
        sa.Index("measurements_number", "session_id", "number", unique=True),
        # All that a comparison asks for: the rows themselves, with their samples, are not read.
        sa.Index("measurements_compared", "test_id", "session_id", "source", "provenance", "outcome", "code_id", "energy_median"),
    )
    return Schema(
        metadata=metadata, meta=meta, sessions=sessions, tests=tests, functions=functions, codes=codes, measurements=measurements
    )
