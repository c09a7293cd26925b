"""Nothing that the plugin does for itself ends a run: neither what tests do to the standard library, nor its own faults."""

import json
import shutil

import parity
import pytest

#: Of the standard library, what is called between rounds, or was.
REPLACED = (
    "os.listdir",
    "os.lstat",
    "os.stat",
    "os.scandir",
    "os.walk",
    "os.getcwd",
    "os.fspath",
    "os.open",
    "os.read",
    "os.close",
    "os.kill",
    "os.getpid",
    "os.getppid",
    "os.sched_getaffinity",
    "os.cpu_count",
    "os.path.exists",
    "os.path.realpath",
    "os.path.isfile",
    "os.path.split",
    "os.path.abspath",
    "os.replace",
    "os.times",
    "os.urandom",
    "os.readlink",
    "os.access",
    "gc.collect",
    "gc.get_stats",
    "gc.isenabled",
    "copy.copy",
    "copy.deepcopy",
    "json.dumps",
    "json.loads",
    "math.sqrt",
    "math.fsum",
    "math.hypot",
    "math.isclose",
    "platform.machine",
    "platform.python_version",
    "platform.system",
    "subprocess.run",
    "subprocess.Popen",
    "shutil.rmtree",
    "tempfile.mkdtemp",
    "time.time",
    "time.sleep",
    "time.perf_counter_ns",
    "time.process_time_ns",
    "statistics.median",
    "hashlib.sha256",
    "hashlib.blake2b",
    "functools.wraps",
    "traceback.format_exception_only",
    "itertools.pairwise",
    "threading.Thread",
    "threading.get_ident",
    "contextlib.suppress",
    "secrets.token_hex",
    "bisect.bisect_left",
    "random.random",
    "sqlite3.connect",
    "builtins.open",
    "io.open",
    "pathlib.Path.read_bytes",
    "pathlib.Path.resolve",
    "pathlib.Path.stat",
    "pathlib.Path.exists",
    "pathlib.Path.cwd",
)

#: Of these, what pytest itself does not bear for longer than a test.
FOR_A_TEST_ONLY = {"os.stat", "os.fspath", "os.path.abspath", "pathlib.Path.stat", "pathlib.Path.exists"}

REPLACING = """
import functools, importlib, json
import pytest

def replaced(patch, target):
    owner, _, name = target.rpartition(".")
    module, _, inside = owner.partition("pathlib.")
    owner = getattr(importlib.import_module("pathlib"), inside) if inside else importlib.import_module(owner)
    def broken(*args, **kwargs):
        raise RuntimeError("replaced: " + target)
    patch.setattr(owner, name, broken)
"""

INSIDE = """
from replacing import replaced
import lib, pytest

@pytest.mark.parametrize("target", {targets})
def test_it(target):
    with pytest.MonkeyPatch.context() as patch:
        replaced(patch, target)
        lib.total(5)

@pytest.fixture
def world(request):
    with pytest.MonkeyPatch.context() as patch:
        replaced(patch, request.param)
        yield

@pytest.mark.parametrize("world", {targets}, indirect=True)
def test_in_it(world):
    lib.total(5)
"""

AROUND = """
import pytest
from replacing import replaced
import lib

@pytest.fixture(scope="module", autouse=True)
def world():
    with pytest.MonkeyPatch.context() as patch:
        replaced(patch, {target!r})
        yield

def test_one():
    assert lib.total(3) == 3

def test_two():
    assert lib.total(4) == 6
"""


@pytest.fixture
def world(pytester, alone):
    pytester.makepyfile(replacing=REPLACING, lib="def total(n):\n    return sum(range(n))\n")
    return pytester


def entries(pytester):
    return json.loads((pytester.path / "report.json").read_text())["tests"]


def test_what_a_test_replaces(world):
    """In its body or by its own fixtures: it is measured, and what it executes is known."""
    world.makepyfile(test_it=INSIDE.format(targets=REPLACED))
    plain = parity.run(world)
    measured = parity.run(world, *parity.THREE, "--energy-warmup=1", "--energy-save=one", "--energy-json=report.json")
    assert (measured.seen, measured.exit) == (plain.seen, plain.exit)
    tests = [test for test in entries(world) if test["outcome"] == "passed"]
    assert len(tests) >= 1.8 * len(REPLACED)  # pytest itself does not bear all of it
    for test in tests:
        assert test["energy"] is not None and test["rounds"] == 3, test
        assert not [note for note in test["notes"] if "not recorded" in note]
        assert test["code"]["fingerprint"] and not [why for why in test["code"]["unknown"] if "source" in why], test
    # Whoever was measured in such a world is known again.
    parity.run(world, *parity.THREE, "--energy-warmup=1", "--energy-changed-only", "--energy-json=report.json")
    assert sum(test["cached"] is not None for test in entries(world)) >= 0.9 * len(tests)


def test_what_a_module_replaces(world):
    """While a wider fixture stays up, something may not be known: then that is said of the test, which runs as usual."""
    targets = [target for target in REPLACED if target not in FOR_A_TEST_ONLY]
    for number, target in enumerate(targets):
        world.makepyfile(**{f"test_{number}": AROUND.format(target=target)})
    plain = parity.run(world)
    measured = parity.run(world, *parity.THREE, "--energy-warmup=1", "--energy-json=report.json", "--energy-save=one")
    assert (measured.seen, measured.exit) == (plain.seen, plain.exit)
    assert plain.exit == 0
    tests = entries(world)
    assert len(tests) == 2 * len(targets)
    for test in tests:
        known = test["energy"] is not None and test["code"]["fingerprint"] and not test["code"]["unknown"]
        assert known or any("not recorded" in text for text in (*test["notes"], *(test["code"] or {}).get("unknown", ()))), test


#: Where the plugin works for itself, and the word for what is then missing.
WORK = {
    "rounds.plan.given_to": "not recorded",
    "session.tracking.Tracking.code": "not recorded",
    "session.tracking.Tracking.begin": "not recorded",
    "session.tracking.Tracking.end": "not recorded",
    "code.recorder.Recorder._new_modules": "not recorded",
    "code.opened.Opened.listen": "not recorded",
    "measure.course.Course._goes_on": "not recorded",
    "measure.meter.Meter.open": "not recorded",
    "measure.meter.Meter.read_after": "not recorded",
    "measure.summary.Summariser.of_rounds": "not recorded",
    "rounds.leftovers.Leftovers.restore": "it cannot be run again",
    "rounds.leftovers.Leftovers.__init__": "not recorded",
    "rounds.given_values.Given.put_back": "it cannot be run again",
    "session.reporting.Reporting._keep": "not recorded",
    "session.ending.Ending._compare": "not recorded",
    "session.history.History._keep_code": "not recorded",
    "session.results.hold_to_budget": "not recorded",
    "measure.session_total.SessionTotal.add": "not recorded",
    "judge.comparing.Comparing.add": "not recorded",
    "judge.comparing.Comparing.settle": "not judged",
    "report.terminal.lines": "",
}


#: Those after which a process would not be as before: what they should end, goes on.
APART = {place for place in WORK if place.startswith(("session.tracking", "code.", "rounds."))}

#: Replaces what the plugin does for itself once the run has begun.
FAULTY = """
import importlib, os

def pytest_sessionstart():
    module, _, name = os.environ["FAULT"].rpartition(".")
    if module.rpartition(".")[2][:1].isupper():
        module, _, owner = module.rpartition(".")
        owner = getattr(importlib.import_module("pytest_joules." + module), owner)
    else:
        owner = importlib.import_module("pytest_joules." + module)
    def broken(*args, **kwargs):
        raise ZeroDivisionError("a fault of ours")
    undo.append((owner, name, vars(owner)[name]))
    setattr(owner, name, broken)

undo = []

def pytest_unconfigure():
    for owner, name, was in undo:
        setattr(owner, name, was)
"""


@pytest.fixture(scope="module")
def compared_with(tmp_path_factory):
    """What the first of these tests measured and saved is what all compare with."""
    return tmp_path_factory.mktemp("saved") / "project"


@pytest.mark.parametrize("place", WORK)
def test_a_fault_of_its_own(world, place, compared_with, monkeypatch):
    """It costs what it is a fault of, in one line, and nobody's run."""
    options = ("-p", "pytest_joules.plugin", "--energy-rounds=3")
    world.makepyfile(test_it="def test_one(): pass\n\ndef test_two(): pass\n\ndef test_wrong(): assert 0\n")
    if compared_with.exists():
        shutil.copytree(compared_with, world.path, dirs_exist_ok=True)
    else:
        world.runpytest_inprocess(*options, "--energy-save=one").assert_outcomes(passed=2, failed=1)
        shutil.copytree(world.path, compared_with, ignore=shutil.ignore_patterns("__pycache__"))
    world.makeconftest(FAULTY)
    monkeypatch.setenv("FAULT", place)
    run = world.runpytest_subprocess if place in APART else world.runpytest_inprocess
    result = run(*options, "--energy-compare=one")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=2, failed=1)
    output = result.stdout.str() + result.stderr.str()
    assert "INTERNALERROR" not in output
    if WORK[place]:
        assert f"{WORK[place]}: " in " ".join(output.split()) and "a fault of ours" in " ".join(output.split())
