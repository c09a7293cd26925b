"""The face to pytest: options, ini keys, markers, the fixture. PYTEST_DONT_REWRITE

Everything else is imported only where a run measures or predicts, so that any other pays for this file alone.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_OPTIONS: dict[str, tuple[str, str]] = {
    "source": ("auto|NAME[,NAME]", "what to read: auto (default: the best available), rapl, pyrapl, perf, nvml, tsc, estimate"),
    "rounds": ("auto|N", "rounds a test; auto (default): 5 to 20, until the 95 %% interval of the median is within 2 %%"),
    "max-time": ("SECONDS", "most time spent measuring one test (default 10)"),
    "warmup": ("N", "unmeasured rounds first (default 1)"),
    "idle": ("measure|off", "measure: 2 s of idle power first, and a net energy beside the total"),
    "top": ("N", "rows of the table (default 20; 0: all)"),
    "json": ("FILE", "write the report as JSON"),
    "csv": ("FILE", "write the samples as CSV"),
    "html": ("FILE", "write the report as a page that needs no other file"),
    "markdown": ("FILE", "write what changed as Markdown, for a pull request"),
    "ci": (
        "auto|github|gitlab|off",
        "step summary, annotations, code quality (auto, the default: where a CI system says it is there)",
    ),
    "store": ("URL", "history (default: history.db in pytest's cache directory)"),
    "against": ("GITREF", "measure this tree and that revision in turn, and compare the two"),
    "trace": ("functions|modules", "where inside a test its joules go: functions of the project, or what energy.trace() names"),
    "share": ("own", "only this process tree's own share of the counters, on a machine that others use too"),
    "variants": ("PARAM[:REFERENCE]", "measure the variants of a parametrised test in turn, and compare them"),
    "count-threshold": ("PERCENT", "smallest change of instructions that can be a regression (default 1%%)"),
    "threshold": ("PERCENT", "smallest change that can be a regression (default 5%%)"),
    "fail-on": ("WHAT", "what fails the run: budget,regression (default: both), predicted, or none"),
    "repeat-failures": ("note|fail", "what a failure that only a repeat of a test has comes to (default note)"),
    "powercap": ("DIR", "root of the powercap tree (default /sys/class/powercap)"),
    "estimate-idle-watts": ("WATTS", "idle power of this machine's processors, for the estimate"),
    "estimate-max-watts": ("WATTS", "their power under full load"),
}

_NAMED = {
    "save": "keep this session as a baseline (without NAME: by date and commit)",
    "compare": "judge every test against a baseline (without NAME: the latest of this machine)",
}

_FLAGS = {
    "trust-estimates": "let a budget fail on an estimate or on a shared machine",
    "update": "with --energy-compare: accept the new values of the tests that run as their baseline",
    "changed-only": "measure only tests whose code has changed since they were measured; run the others once",
    "predict-first": "with --energy-predict: run the tests first that are likeliest to cost more, or whose cost is not known",
    "quick": "three rounds of each test, and nothing recorded of what it executes: a first look",
}

#: Options that ask for counting instructions; beside them, the third ones do not ask for measuring.
_COUNTING_TOO = frozenset(
    ("json", "csv", "html", "markdown", "top", "save", "compare", "update", "fail-on", "changed-only", "threshold")
)

#: Options that say where something is, or what the machine is like: true of every run, so they ask for none.
_PLACES = frozenset(("store", "powercap", "estimate-idle-watts", "estimate-max-watts", "ci"))

#: Options that ask for predicting; beside them, the second ones do not ask for measuring.
_PREDICTING = frozenset(("predict", "predict-only", "predict-first"))
_PREDICTING_TOO = frozenset(("json", "top", "threshold", "fail-on", "trust-estimates"))

#: What other plugins may implement, as ``hookspecs.py`` specifies it.
EXTENSION_POINTS = ("pytest_joules_sources", "pytest_joules_predictors", "pytest_joules_update_report", "pytest_joules_quiesce")

_LISTENING = pytest.StashKey[bool]()

#: As ``pytest --markers`` shows them.
MARKERS = (
    "energy_budget(joules, instructions): fail when the test costs more; joules=2.5 or joules='500 mJ' with --energy, "
    "instructions='20M' with --energy-count. Without these it does nothing.",
    "energy(rounds, iterations, warmup, max_time, skip): how --energy measures this test: so many rounds (or 'auto'), each of "
    "so many calls of the body (only where it may be called again at once), after so many unmeasured ones, in max_time seconds; "
    "skip=True: run once, not measured. Without --energy it does nothing.",
    "energy_variants(parameter, reference, load): the values of this parameter are variants of one thing; --energy measures them "
    "in turn and compares each with the reference; load='block': their fixtures are made anew for each block of rounds. Without "
    "--energy it does nothing.",
)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    group = parser.getgroup("energy", "energy of tests (pytest-joules)")
    # default=None: a default of False would shadow the ini key.
    group.addoption("--energy", action="store_true", default=None, help="measure the energy of every test")
    group.addoption("--energy-disable", action="store_true", default=None, help="do not, even if addopts or the ini file say so")
    group.addoption(
        "--energy-budget",
        action="append",
        metavar="PATTERN=JOULES",
        help="upper limit for the tests that match, such as 'tests/test_io.py::*=2 J' (repeatable)",
    )
    group.addoption(
        "--energy-label",
        action="append",
        metavar="KEY=VALUE",
        help="label of this session in reports and the history, such as runner=hosted (repeatable)",
    )
    for name, text in _NAMED.items():
        # const: the option without a name, which is not the same as without the option.
        group.addoption(f"--energy-{name}", nargs="?", const="", metavar="NAME", help=text)
    group.addoption(
        "--energy-predict",
        nargs="?",
        const="",
        metavar="MODEL",
        help="say before running which tests will probably cost more (MODEL: a file or a name; without: what joules train made)",
    )
    group.addoption(
        "--energy-predict-only",
        nargs="?",
        const="true",
        metavar="SHARE",
        help="with --energy-predict: run only tests that may have become dearer, or whose cost is not known (SHARE, such as "
        "30%%: these and the likeliest, until so much of the joules of all tests of changed code is spent)",
    )
    group.addoption(
        "--energy-count",
        nargs="?",
        const="auto",
        metavar="auto|callgrind|perf",
        help="count the instructions of every test, under Valgrind or with the CPU's counter, in a process of its own",
    )
    parser.addini("energy_count", "as --energy-count: true, or what counts", default=None)
    parser.addini("energy_predict", "as --energy-predict: true, or a MODEL", default=None)
    parser.addini("energy_predict_only", "as --energy-predict-only: true, or a SHARE", default=None)
    # No ini key: what a repository says of itself is no reason to trust it.
    group.addoption("--energy-trust-model", metavar="SHA256", help="run the code in this MODEL, a joblib or pickle file")
    for name, text in _FLAGS.items():
        group.addoption(f"--energy-{name}", action="store_true", default=None, help=text)
        parser.addini(f"energy_{name.replace('-', '_')}", f"as --energy-{name}", default=None)
    for name, (metavar, text) in _OPTIONS.items():
        group.addoption(f"--energy-{name}", metavar=metavar, help=text)
        parser.addini(f"energy_{name.replace('-', '_')}", f"as --energy-{name}", default=None)
    parser.addini("energy", "as --energy", type="bool", default=False)
    parser.addini("energy_history_sessions", "sessions that the history keeps (default 200; 0: all)", default=None)
    parser.addini("energy_label", "labels of each session, one KEY=VALUE a line", type="linelist", default=[])
    parser.addini("energy_budgets", "budgets, one PATTERN = JOULES a line", type="linelist", default=[])


def _asked(options: Namespace, *, counts: bool) -> bool:
    """Whether the command line has an option that makes sense only when measuring."""
    names = {"budget", *_NAMED, *_FLAGS, *_OPTIONS} - _PLACES - _PREDICTING - {"count-threshold"}
    if any(_given(options, name) for name in _PREDICTING):
        names -= _PREDICTING_TOO
    if counts:
        names -= _COUNTING_TOO
    return any(_given(options, name) for name in names)


def _given(options: Namespace, name: str) -> bool:
    return getattr(options, f"energy_{name.replace('-', '_')}", None) is not None


def wanted(config: pytest.Config, options: Namespace | None = None) -> bool:
    """Whether this run measures; ``options``: the command line, where ``config`` has not got it yet."""
    options = options or config.option
    if getattr(options, "energy_disable", None):
        return False
    if getattr(options, "energy", None) or _asked(options, counts=counts(config, options)):
        return True
    if not _may_say(config, "energy"):
        return False
    from pytest_joules.settings.ini import flag

    return flag(config, "energy")


def predicts(config: pytest.Config) -> bool:
    """Whether this run predicts."""
    if config.getoption("energy_disable", None):
        return False
    if any(_given(config.option, name) for name in _PREDICTING):
        return True
    keys = [f"energy_{name.replace('-', '_')}" for name in sorted(_PREDICTING)]
    if not any(_may_say(config, key) for key in keys):
        return False
    from pytest_joules.settings.ini import says_more_than_no

    return any(says_more_than_no(config, key) for key in keys)


def counts(config: pytest.Config, options: Namespace | None = None) -> bool:
    """Whether this run counts instructions."""
    options = options or config.option
    if getattr(options, "energy_disable", None):
        return False
    given = getattr(options, "energy_count", None)
    if given is not None:
        return str(given).lower() not in ("off", "no", "false", "0")
    if getattr(options, "energy_count_threshold", None) is not None:
        return True
    if not _may_say(config, "energy_count"):
        return False
    from pytest_joules.settings.ini import says_more_than_no

    return says_more_than_no(config, "energy_count")


def _may_say(config: pytest.Config, key: str) -> bool:
    """Whether an ini key is set, to whatever: most runs set none, and what reads them is not imported."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return bool(config.getini(key))
        except (TypeError, ValueError, pytest.UsageError):
            return True  # of another type than the key's


def pytest_plugin_registered(manager: pytest.PytestPluginManager) -> None:
    # The specifications are needed as soon as somebody implements one, which makes the attribute, measuring or not; nobody else
    # pays for them.
    if any(hasattr(manager.hook, name) for name in EXTENSION_POINTS):
        add_hookspecs(manager)


def add_hookspecs(manager: pytest.PytestPluginManager) -> None:
    """Make the extension points known."""
    known = getattr(manager.hook, "pytest_joules_sources", None)
    if known is None or not known.has_spec():
        from pytest_joules import hookspecs

        manager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """What conftest files and plugins read when they are imported is seen too, where this run may measure."""
    given = early_config.known_args_namespace
    if wanted(early_config, given) or counts(early_config, given):
        from pytest_joules.code import opened

        opened.listen_early()
        early_config.stash[_LISTENING] = True


def pytest_configure(config: pytest.Config) -> None:
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    measures = wanted(config)
    if measures or predicts(config) or counts(config):
        from pytest_joules.session.quick_imports import quick_imports

        add_hookspecs(config.pluginmanager)
        with quick_imports(config):
            if measures:
                from pytest_joules.session.start import start
            elif counts(config):
                from pytest_joules.session.count_only import start_alone as start
            else:
                from pytest_joules.session.predicting import start_alone as start
            start(config)
    if config.stash.get(_LISTENING, False):
        from pytest_joules.code import opened

        opened.forget_early()


class NoEnergy:
    """The ``energy`` fixture of a run that does not measure: every call is accepted and does nothing."""

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """``with energy.measure("load"):`` gives the joules and seconds of a region of the test; several times in a round: added
        up. A region shorter than ten ticks of the counter (10 ms with RAPL) has no joules."""
        yield

    def work(self, **units: float) -> None:
        """``energy.work(tokens=128)``: units of work done in this round; calls add up. The report has joules for each unit."""

    def score(self, *, higher_is_better: bool | None = None, **scores: object) -> None:
        """``energy.score(pass_at_1=0.31)``: a score beside the cost. A list of values has an interval, a number none;
        ``higher_is_better`` says which way is better."""

    def trace(self, what: object) -> None:
        """``energy.trace(model)``: with ``--energy-trace=modules``, the joules of this test go to the modules of a torch module
        that runs in it; of a path, to the events in that trace file, which the test has written."""

    @property
    def tracing(self) -> bool:
        """Whether this round is traced, so that a profiler of the test's own is worth its cost."""
        return False


@pytest.fixture
def energy(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401 - the one or the other
    """Energy inside a test: ``with energy.measure("name"):`` for a region, ``energy.work(tokens=128)`` for joules per unit of
    work, ``energy.score(pass_at_1=0.31)`` for a utility beside the cost. Does nothing without ``--energy``."""
    measuring = request.config.pluginmanager.get_plugin("joules-measuring")
    return NoEnergy() if measuring is None else measuring.energy
