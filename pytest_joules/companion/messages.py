"""What goes over the line between a run and its companion: a line of JSON each."""

from __future__ import annotations

from typing import Literal, TypedDict

from pytest_joules.count.counter import Counts
from pytest_joules.model import Code, Record

#: What both sides speak: a companion of another version of this plugin is refused.
PROTOCOL = 4


class MeasuringSettings(TypedDict):
    """What of :class:`pytest_joules.settings.options.Settings` a companion needs."""

    sources: list[str]
    powercap: str
    rounds: int | None
    warmup: int
    max_time: float
    """Seconds."""
    fixed: list[str]
    measure_idle: bool
    own_share: bool
    trace: str | None
    idle_watts: float | None
    max_watts: float | None
    watch_others: bool
    repeat_failures: str


class Start(TypedDict):
    """The first line: how to start."""

    args: list[str]
    """Of the command line."""
    settings: MeasuringSettings
    cwd_on_path: bool
    temp: str
    """A folder for what it writes."""
    parent: int
    """The process's number."""
    counts: bool
    """It counts instructions, and measures nothing."""


class Measure(TypedDict):
    """Run a block of rounds of a test."""

    do: Literal["measure"]
    nodeid: str
    last: bool
    """No other block of this test follows."""
    next: str | None
    """The test that comes next, whose wider fixtures stay up."""
    rounds: int | None
    max_time: float | None
    """Seconds."""
    cpu: int | None
    """The processor to begin on."""


class CountTest(TypedDict):
    """A test that is to be counted, and how: nothing in it differs from run to run."""

    nodeid: str
    warm: int
    """Rounds that are not counted, which go before."""
    switched: bool
    """It is long: it pays to count its body alone."""


class CountRounds(TypedDict):
    """Count the instructions of tests, each in a fork: no other test has anything to do with its count."""

    do: Literal["count"]
    tests: list[CountTest]
    seconds: list[float]
    """That each may take."""
    at_once: int
    """So many run at a time."""


class TearDown(TypedDict):
    """No other block of a test follows after all."""

    do: Literal["down"]
    nodeid: str
    next: str | None


class End(TypedDict):
    do: Literal["end"]


Command = Measure | CountRounds | TearDown | End


class News(TypedDict):
    modules: dict[str, str]
    """The files of modules that were imported since this was last told, by name."""


class Hello(News):
    """The first answer, when the tests are collected."""

    protocol: int
    nodeids: list[str]
    errors: dict[str, str]
    """By node id, what could not be collected, and why."""
    bodies: dict[str, str]
    """By node id, a hash of the test's own code and parameters: a test that was only renamed is known by it."""
    idle_watts: float | None
    cpu: str
    """Of a process that counts: the CPU that it sees."""


class SerialisedReport(TypedDict, total=False):
    """A report as pytest makes it JSON: what we read of it."""

    outcome: str
    user_properties: list[tuple[str, object]]
    wasxfail: str
    joules: Record | None
    joules_code: Code
    joules_ended: bool


class Tally(TypedDict):
    """What a fork that counted a test says."""

    outcome: str
    """``passed``, ``failed`` or ``skipped``; empty where it died or was ended."""
    counts: Counts | None
    why: str
    """Why there are none, as far as that is known."""


class Tallies(TypedDict):
    """The answer to :class:`CountRounds`, in its order."""

    tallies: list[Tally]


class Reports(News):
    """The answer to every other command but the last."""

    reports: list[SerialisedReport]
