"""The child side of a companion: a pytest that runs what it is told to, one block of rounds of one test after another.

It is started by :mod:`pytest_joules.companion.parent`. Commands come in over what was its standard input, answers go out over
what was its standard output, a line of JSON each; what the tests print goes where its standard error goes.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import hashlib
import inspect
import json
import os
import signal
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from types import CodeType
from typing import BinaryIO

import pytest

from pytest_joules.companion.forks import Forks, split
from pytest_joules.companion.messages import (
    PROTOCOL,
    Command,
    CountRounds,
    CountTest,
    Hello,
    Measure,
    MeasuringSettings,
    Reports,
    Start,
    Tally,
    TearDown,
)
from pytest_joules.rounds.leftovers import Leftovers
from pytest_joules.rounds.plan import plan
from pytest_joules.rounds.teardown import tear_down
from pytest_joules.rounds.temporary import keep_temporary_files_in
from pytest_joules.settings.options import Settings

#: The name under which a process that steps has its stepper.
NAME = "joules-stepping"

#: Options that a companion must not follow, with what they are set to: it stops for nobody, writes no reports, starts no
#: workers. Some are pytest's, the others of pytest-xdist, pytest-cov, pytest-html, pytest-json-report, pytest-reportlog, allure,
#: pytest-benchmark.
_QUIET: dict[str, object] = {
    "energy": True,
    **dict.fromkeys(("energy_disable", "xmlpath", "pastebin", "htmlpath", "report_log", "allure_report_dir")),
    **dict.fromkeys(("usepdb", "trace", "stepwise", "stepwise_skip", "stepwise_reset", "cacheclear", "json_report"), False),
    "json_report_file": "none",
    "maxfail": 0,
    "numprocesses": 0,
    "dist": "no",
    "tx": [],
    "no_cov": True,
    **dict.fromkeys([f"benchmark_{name}" for name in ("json", "save", "histogram", "compare", "compare_fail")]),
    "benchmark_autosave": False,
}

#: Of a process that counts: it measures nothing, and no clock of others ends a test that runs a hundred times as slowly.
_COUNTING: dict[str, object] = {"energy": False, "energy_disable": True, "timeout": 0, "session_timeout": 0}

#: The plugin that counts, and what it is told of a test.
COUNTING = "pytest_joules.session.counted"
TEST = pytest.StashKey[CountTest]()

_DIED = json.dumps(Tally(outcome="", counts=None, why="")).encode()

#: Seconds from which on a round's body does not notice that caches are cold when it begins.
_LONG = 0.25


def pack(settings: Settings) -> MeasuringSettings:
    """What says how to measure. All else keeps its default: a companion reports, keeps and judges nothing."""
    return {
        "sources": list(settings.sources),
        "powercap": str(settings.powercap),
        "rounds": settings.rounds,
        "warmup": settings.warmup,
        "max_time": settings.max_time,
        "fixed": sorted(settings.fixed),
        "measure_idle": settings.measure_idle,
        "own_share": settings.own_share,
        "trace": settings.trace,
        "idle_watts": settings.idle_watts,
        "max_watts": settings.max_watts,
        "watch_others": settings.watch_others,
        "repeat_failures": settings.repeat_failures,
    }


def unpack(sent: MeasuringSettings) -> Settings:
    """The settings of a process that steps."""
    return Settings(
        sources=tuple(sent["sources"]),
        powercap=Path(sent["powercap"]),
        rounds=sent["rounds"],
        warmup=sent["warmup"],
        max_time=sent["max_time"],
        fixed=frozenset(sent["fixed"]),
        measure_idle=sent["measure_idle"],
        own_share=sent["own_share"],
        trace=sent["trace"],
        idle_watts=sent["idle_watts"],
        max_watts=sent["max_watts"],
        watch_others=sent["watch_others"],
        repeat_failures=sent["repeat_failures"],
    )


def main() -> None:
    """Take the first command, which says how to start, and be a pytest that steps."""
    commands, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    line = commands.readline()
    if not line:
        return
    order: Start = json.loads(line)
    _end_with(order["parent"])
    # A background job of a shell script ignores Ctrl-C, and so would what it starts: from the parent it means that all is over.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if order["cwd_on_path"]:
        sys.path.insert(0, str(Path.cwd()))
    sys.argv = ["pytest", *order["args"]]
    os.environ["PYTEST_VERSION"] = pytest.__version__  # as pytest's own command does
    stepper = Stepper(commands, answers, unpack(order["settings"]), Path(order["temp"]), counts=order["counts"])
    sys.exit(pytest.main(order["args"], plugins=[stepper]))


def _end_with(parent: int) -> None:
    """Where the system can do that, end when the parent does, however that ends and whatever runs here."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


class Stepper:
    """Runs the tests that it is told to."""

    def __init__(self, commands: BinaryIO, answers: BinaryIO, settings: Settings, temp: Path, *, counts: bool) -> None:
        self.__name__ = NAME  # pytest registers it under this name
        self.settings = settings
        self.temp = temp
        """For what it writes."""
        self.cpu = ""
        """Of a process that counts: the CPU that it sees."""
        self._counts = counts
        self._options = {**_QUIET, **_COUNTING} if counts else _QUIET
        self._commands = commands
        self._answers = answers
        self._items: dict[str, pytest.Item] = {}
        self._seconds: dict[str, float] = {}
        """How long a round's body takes, of tests that have run."""
        self._modules: set[str] = set()
        self._errors: dict[str, str] = {}
        self._reports: list[pytest.CollectReport | pytest.TestReport] | None = None

    # A session that disturbs nothing

    @pytest.hookimpl(wrapper=True)
    def pytest_load_initial_conftests(self, early_config: pytest.Config) -> Generator[None]:
        self._quiet(early_config.known_args_namespace)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> Generator[None, object, object]:
        self._quiet(config.option)
        self._config = config
        return (yield)

    def _quiet(self, option: argparse.Namespace) -> None:
        for name, value in self._options.items():
            if hasattr(option, name):
                setattr(option, name, copy.copy(value))
        option.basetemp = str(self.temp / "tmp")

    # The tests there are

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._errors[report.nodeid] = report.longreprtext

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._items = {item.nodeid: item for item in session.items}
        # A file that cannot be collected costs its own tests only.
        session.testsfailed = 0

    # Stepping

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        measuring = self._config.pluginmanager.get_plugin("joules-measuring")
        hello: Hello = {
            "protocol": PROTOCOL,
            "nodeids": list(self._items),
            "errors": self._errors,
            "bodies": self._bodies(),
            "idle_watts": getattr(measuring, "idle_watts", None),
            "cpu": self.cpu,
            "modules": self._news(),
        }
        if self._counts:
            split(lambda forks: self._talk(hello, forks), self._count_one)
        else:
            self._talk(hello, None)
        return True

    def _talk(self, hello: Hello, forks: Forks | None) -> None:
        self._say(hello)
        for command in self._orders():
            if command["do"] == "end":
                break
            if command["do"] == "measure":
                self._measure(command)
            elif command["do"] == "count" and forks is not None:
                self._count(command, forks)
            elif command["do"] == "down":
                self._tear_down(command)

    def _bodies(self) -> dict[str, str]:
        """By node id, a hash of the test's own code and parameters: a test that was only renamed is known by it."""
        return {nodeid: text for nodeid, item in self._items.items() if (text := _body(item))}

    def _orders(self) -> Iterator[Command]:
        """Commands as they come in, until nobody is there to give one."""
        while line := self._commands.readline():
            yield json.loads(line)

    def _say(self, answer: Hello | Reports) -> None:
        # What a test recorded of its own may be of any type: its text is enough.
        self._write(json.dumps(answer, default=str).encode())

    def _write(self, answer: bytes) -> None:
        self._answers.write(answer + b"\n")
        self._answers.flush()

    def _measure(self, command: Measure) -> None:
        from pytest_joules.settings.markers import SETTINGS, UNTRACED

        item = self._items[command["nodeid"]]
        if Leftovers.known(item) and not plan(item).again:
            # What it is given is read already.
            self._report([])
            return
        own = item.stash[SETTINGS]
        effort = own.effort
        if command["rounds"] is not None:
            effort = dataclasses.replace(effort, rounds=command["rounds"])
        if command["max_time"] is not None:
            effort = effort.within(command["max_time"], "this block's part of --energy-max-time")
        if item.nodeid in self._seconds:
            # Others ran meanwhile: one round to be as warm as in the block before, where that makes a difference.
            again = 1 if self._seconds[item.nodeid] < _LONG else 0
            effort = dataclasses.replace(effort, warmup=min(effort.warmup, again))
        # Budgets hold for the whole measurement, of which this is a part.
        item.stash[SETTINGS] = dataclasses.replace(own, effort=effort, budget=None)
        item.stash[UNTRACED] = not command["last"]
        # Another block of this test follows: as between two rounds, wider fixtures stay.
        following = self._after(command) if command["last"] else copy.copy(item)
        properties = list(item.user_properties)
        _go_to(command["cpu"])
        try:
            reports = self._run(item, following)
        finally:
            item.stash[SETTINGS] = own
            item.user_properties[:] = properties
        for report in reports:
            record = getattr(report, "joules", None)
            if record is not None and record["duration"] is not None:
                self._seconds[item.nodeid] = record["duration"]["median"] * record["iterations"]
        self._report(reports)

    def _count(self, command: CountRounds, forks: Forks) -> None:
        """Count tests, each in a fork: no other test has anything to do with its count."""
        jobs = [json.dumps(test).encode() for test in command["tests"]]
        tallies = [answer or _DIED for answer in forks.run(jobs, command["seconds"], command["at_once"])]
        self._write(b'{"tallies": [' + b",".join(tallies) + b"]}")

    def _count_one(self, job: bytes, place: int) -> bytes:
        test: CountTest = json.loads(job)
        item = self._items[test["nodeid"]]
        item.stash[TEST] = test
        keep_temporary_files_in(self.temp / f"tmp{place}", self._config)
        return json.dumps(_tally(self._run(item, None)), default=str).encode()

    def _run(self, item: pytest.Item, following: pytest.Item | None) -> list[pytest.CollectReport | pytest.TestReport]:
        """Run a test as whatever plugin is there for it does; its reports."""
        reports: list[pytest.CollectReport | pytest.TestReport] = []
        self._reports = reports
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        finally:
            self._reports = None
        return reports

    def _tear_down(self, command: TearDown) -> None:
        """No other block of a test follows after all."""
        item = self._items[command["nodeid"]]
        report = tear_down(item, self._after(command))
        self._report([report] if report is not None else [])

    def _after(self, command: Measure | TearDown) -> pytest.Item | None:
        return self._items.get(command["next"]) if command["next"] is not None else None

    def _report(self, reports: Sequence[pytest.CollectReport | pytest.TestReport]) -> None:
        made = [self._config.hook.pytest_report_to_serializable(config=self._config, report=report) for report in reports]
        self._say({"reports": made, "modules": self._news()})

    def _news(self) -> dict[str, str]:
        """The files of modules that were imported since this was last told, by name."""
        news = {}
        for name, module in sys.modules.copy().items():
            file = getattr(module, "__file__", None)
            if name not in self._modules and isinstance(file, str):
                self._modules.add(name)
                news[name] = os.path.realpath(file)
        return news

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._reports is not None:
            self._reports.append(report)


def _tally(reports: Sequence[pytest.CollectReport | pytest.TestReport]) -> Tally:
    """What they come to."""
    counts = [found for report in reports if (found := getattr(report, "joules_counts", None)) is not None]
    notes = [str(text) for report in reports for name, text in getattr(report, "user_properties", ()) if name == "energy_note"]
    outcomes = {report.outcome for report in reports}
    outcome = next((word for word in ("failed", "skipped") if word in outcomes), "passed")
    return {"outcome": outcome, "counts": counts[-1] if counts else None, "why": notes[0] if notes else ""}


def _body(item: pytest.Item) -> str:
    code = getattr(inspect.unwrap(getattr(item, "function", None) or _body), "__code__", None)
    if not isinstance(item, pytest.Function) or code is None:
        return ""
    parameters = getattr(getattr(item, "callspec", None), "id", "")
    return hashlib.sha256(repr((_facts(code), parameters)).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _facts(code: CodeType) -> tuple[object, ...]:
    """What a function does, without its name and place."""
    constants = [_facts(value) if isinstance(value, CodeType) else value for value in code.co_consts]
    return code.co_code, code.co_names, code.co_varnames, constants


def _go_to(cpu: int | None) -> None:
    """Move to this processor, without staying bound to it: a test may use them all."""
    if cpu is not None and sys.platform == "linux":
        allowed = os.sched_getaffinity(0)
        if cpu in allowed and len(allowed) > 1:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, {cpu})
                os.sched_setaffinity(0, allowed)
