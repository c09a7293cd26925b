"""A test whose first round passes has passed: what comes of a repeat is a note, and nothing else that a user or a tool sees."""

from __future__ import annotations

import json
import textwrap

import parity
import pytest

HEAD = """
import pytest
seen = []
def again(passing=2):
    seen.append(1)
    return len(seen) > passing
"""

#: What happens in a repeat only, and what the note says of it.
REPEATS = {
    "fails": ("def test_it():\n    assert not again(), 'left behind'", "call: AssertionError: left behind"),
    "pytest_fails": ("def test_it():\n    if again(): pytest.fail('enough')", "call: Failed: enough"),
    "skips": ("def test_it():\n    if again(): pytest.skip('not now')", "call: Skipped: not now"),
    "xfails": ("def test_it():\n    if again(): pytest.xfail('one day')", "call: xfail: one day"),
    "marks": (
        "def test_it(request):\n    if again(): request.applymarker(pytest.mark.xfail(reason='now'))",
        "call: xfail: now",
    ),
    "exits": ("def test_it():\n    if again(): raise SystemExit(3)", "call: SystemExit: 3"),
    "setup": (
        "@pytest.fixture\ndef thing():\n    assert not again(), 'up'\ndef test_it(thing): pass",
        "setup: AssertionError: up",
    ),
    "setup_skips": (
        "@pytest.fixture\ndef thing():\n    if again(): pytest.skip('up')\ndef test_it(thing): pass",
        "setup: Skipped: up",
    ),
    "teardown": (
        "@pytest.fixture\ndef thing():\n    yield\n    assert not again(), 'down'\ndef test_it(thing): pass",
        "teardown: AssertionError: down",
    ),
    "unraisable": (
        "import gc\nclass Cycle:\n    def __init__(self): self.me = self\n    def __del__(self): raise ValueError('left')\n"
        "@pytest.mark.filterwarnings('error')\ndef test_it():\n    if again():\n        Cycle()\n        gc.collect()",
        "call: pytest.PytestUnraisableExceptionWarning: ",
    ),
    "test_case": (
        "import unittest\nclass It(unittest.TestCase):\n    def test_it(self): self.assertFalse(again())",
        "call: AssertionError: True is not false",
    ),
    "last_teardown": (
        """
@pytest.fixture(scope="module")
def wide():
    yield
    print("wide down")
    raise RuntimeError("the wide one")

@pytest.fixture
def narrow(wide):
    yield
    print("narrow down")
    assert not again(4), "the narrow one"

def test_it(narrow): pass
""",
        "teardown: AssertionError: the narrow one",
    ),
    "once": ("def test_it():\n    assert not again(1)", "call: assert not True"),
    "remedy": ("@pytest.mark.energy(rounds=1, warmup=0)\ndef test_it():\n    assert not again(1)", "call: assert not True"),
    "others": ("def test_it(): pass", ""),
}


@pytest.fixture(scope="module")
def runs():
    """The runs of all of them, plain and measured: once for all tests of this file."""
    return []


def same(pytester, source, *options, measured=()):
    """Run it plainly and measured: all there is to see is the same. The tests of the report by name, and what was printed."""
    if source:
        pytester.makepyfile(textwrap.dedent(source))
    # Never in this process: what a test leaves behind is what this is about.
    plain = parity.run(pytester, *options)
    run = parity.run(pytester, *options, *parity.ENERGY, "--energy-rounds=4", *measured, "--energy-json=report.json")
    assert (run.seen, run.warned, run.junit, run.suite, run.exit) == (
        *(plain.seen, plain.warned, plain.junit, plain.suite, plain.exit),
    )
    tests = json.loads((pytester.path / "report.json").read_text())["tests"]
    return {entry["nodeid"]: entry for entry in tests}, run


@pytest.mark.parametrize("what", REPEATS)
def test_what_does_not_pass_in_a_repeat_is_a_note(pytester, runs, what):
    """The first two rounds pass, one of them not measured; the third one does not."""
    says = REPEATS[what][1]
    if not runs:
        pytester.makeconftest(
            """
            def pytest_configure(config):
                config.addinivalue_line("markers", "energy: as without the plugin")
            def pytest_exception_interact(node):
                print("interact", node.name, node.path.name)
            """
        )
        pytester.makepyfile(**{f"test_{name}": f"{HEAD}{text}\n" for name, (text, _) in REPEATS.items()})
        runs.append(same(pytester, "", "--maxfail=2", "-s"))
        runs.append((pytester.path / ".pytest_cache" / "v" / "cache" / "lastfailed").read_text())
    (tests, run), failed = runs
    test = next(test for name, test in tests.items() if name.startswith(f"test_{what}.py"))
    assert test["outcome"] == ("error" if what == "last_teardown" else "passed")
    assert (f"test_{what}.py" in failed) == (what == "last_teardown")
    # A body that had passed when its teardown failed counts.
    assert test["rounds"] == {"teardown": 2, "last_teardown": 4, "others": 4, "once": test["rounds"]}.get(what, 1)
    notes = [note for note in test["notes"] if "did not pass" in note]
    if says:
        number = {"last_teardown": 5, "once": 2, "remedy": 2}.get(what, 3)
        assert notes[0].startswith(f"round {number} did not pass ({says}")
        assert "mark it @pytest.mark.energy(rounds=1, warmup=0)" in notes[0]
    else:
        assert notes == []
    if what == "remedy":  # the command line beats its marker's rounds; not its warm-ups
        assert test["energy"] is not None
    assert (f"interact test_it test_{what}.py" in run.output) == (what == "last_teardown")
    if what == "fails":
        assert "test_it: passed, but round 3 did not pass (call: AssertionError: left" in " ".join(run.output.split())


@pytest.mark.parametrize("end", ["pytest.exit('enough')", "raise KeyboardInterrupt"])
@pytest.mark.parametrize("debugger", [(), ("--pdb",)], ids=["", "pdb"])
def test_a_repeat_can_end_the_run(pytester, end, debugger):
    pytester.makepyfile(f"{HEAD.format(passing=2)}def test_it():\n    if again(): {end}\ndef test_next(): pass\n")
    result = pytester.runpytest_subprocess(*parity.ENERGY, "--energy-rounds=4", *debugger)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.no_fnmatch_line("*1 passed*")


def test_regions_and_work_are_those_of_the_rounds_that_passed(pytester):
    pytester.makepyfile(
        f"""{HEAD}
def test_it(energy):
    energy.work(tokens=7)
    with energy.measure("part"):
        sum(range(1000))
    assert not again(3)
    energy.work(tokens=5)
"""
    )
    pytester.runpytest_subprocess(*parity.ENERGY, "--energy-rounds=4", "--energy-json=report.json").assert_outcomes(passed=1)
    (test,) = json.loads((pytester.path / "report.json").read_text())["tests"]
    assert (test["rounds"], test["work"]["tokens"]["amount"]) == (2, 12)
    assert test["regions"]["part"]["duration"]["median"] > 0


@pytest.mark.parametrize("between", [False, True])
def test_what_the_collector_finds_is_nobodys_failure(pytester, between):
    """A cycle that a test leaves raises when it is collected: with -W error that fails whoever runs then."""
    source = """
class Cycle:
    def __init__(self): self.me = self
    def __del__(self): raise ValueError("left")
def test_leaves(): Cycle()
def test_next(): pass
"""
    pytester.makepyfile(source)
    # Whenever it collects: between two phases too, where nobody is at work but pytest and this plugin.
    pytester.makeconftest("import gc\ndef pytest_runtest_logreport(report): gc.collect()" if between else "")
    result = pytester.runpytest_subprocess(*parity.ENERGY, "--energy-rounds=4", "--energy-json=report.json", "-W", "error")
    result.assert_outcomes(passed=2)
    assert "test_next" not in result.stderr.str()
    tests = json.loads((pytester.path / "report.json").read_text())["tests"]
    assert [(test["rounds"], test["notes"]) for test in tests] == [(4, [])] * 2


LOGS = """
import logging
import pytest

@pytest.fixture
def thing():
    logging.warning("up")
    yield
    logging.warning("down")

def test_it(thing):
    logging.warning("body")
"""


def test_logs_that_are_written_at_once_have_one_round(pytester):
    pytester.makepyfile(LOGS)
    result = pytester.runpytest_subprocess(
        *parity.THREE, "--log-file=log.txt", "--log-cli-level=INFO", "--energy-json=report.json"
    )
    result.assert_outcomes(passed=1)
    words = [line.split()[-1] for line in (pytester.path / "log.txt").read_text().splitlines()]
    assert words == ["up", "body", "down"]
    assert result.stdout.str().count("live log") == 3
    assert [line.split()[-1] for line in result.outlines if "root:" in line] == ["up", "body", "down"]
    assert json.loads((pytester.path / "report.json").read_text())["tests"][0]["rounds"] == 3


def test_a_wrapper_of_a_hook_is_not_stacked(pytester):
    """Some wrap the function and take the wrapper off in the call, some leave it on."""
    pytester.makeconftest(
        """
        import functools
        import pytest

        depth = []

        @pytest.hookimpl(hookwrapper=True)
        def pytest_pyfunc_call(pyfuncitem):
            function = pyfuncitem.obj

            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                if "off" in pyfuncitem.name:
                    pyfuncitem.obj = function
                depth.append(1)
                try:
                    assert len(depth) == 1, "stacked"
                    return function(*args, **kwargs)
                finally:
                    depth.pop()

            pyfuncitem.obj = wrapper
            yield

        def pytest_collection_modifyitems(items):
            # A method that was wrapped before it ran stays so.
            for item in items:
                if item.name == "test_wrapped":
                    method = item.obj
                    item.obj = lambda: (method(), method.__self__.runs.append(1))
        """
    )
    tests, _ = same(
        pytester,
        """
        def test_on(): pass
        def test_off(): pass
        class TestIt:
            def test_method(self):
                assert not hasattr(self, "runs")
                self.runs = 1
            def test_wrapped(self):
                assert not hasattr(self, "runs")
                self.runs = []
        """,
    )
    assert {name: test["rounds"] for name, test in tests.items()} == dict.fromkeys(tests, 4)


@pytest.mark.parametrize(("options", "rounds"), [((), 1), (("--benchmark-disable",), 3)], ids=["", "disabled"])
def test_benchmarks_repeat_by_themselves(pytester, options, rounds):
    """One entry a test in their own file, as in a plain run; switched off, the fixture calls once."""
    pytest.importorskip("pytest_benchmark")
    pytester.makepyfile(
        """
        def test_fixture(benchmark): benchmark(sum, [1])
        def test_asked_for(request): request.getfixturevalue("benchmark")(sum, [1])
        def test_plain(): pass
        """
    )
    quick = ("--benchmark-json=benchmark.json", "--benchmark-max-time=0.01", "--benchmark-min-rounds=1", *options)
    result = pytester.runpytest_subprocess(
        "-p", "pytest_benchmark.plugin", *parity.ENERGY, "--energy-rounds=3", "--energy-json=report.json", *quick
    )
    result.assert_outcomes(passed=3)
    if not options:
        entries = json.loads((pytester.path / "benchmark.json").read_text())["benchmarks"]
        assert [entry["name"] for entry in entries] == ["test_fixture", "test_asked_for"]
    tests = {
        test["nodeid"].rpartition("::")[2]: test for test in json.loads((pytester.path / "report.json").read_text())["tests"]
    }
    assert tests["test_plain"]["rounds"] == 3
    assert tests["test_fixture"]["rounds"] == rounds
    assert ("one round: benchmark repeats by itself" in tests["test_fixture"]["notes"]) == (rounds == 1)


def test_allure_records_one_round(pytester):
    pytest.importorskip("allure_pytest")
    pytester.makepyfile("import allure\ndef test_it():\n    with allure.step('one'): pass\n")
    result = pytester.runpytest_subprocess("-p", "allure_pytest.plugin", *parity.THREE, "--alluredir=allure")
    result.assert_outcomes(passed=1)
    (written,) = (pytester.path / "allure").glob("*-result.json")
    assert [step["name"] for step in json.loads(written.read_text())["steps"]] == ["one"]


SUBTESTS = """
import unittest

cases = []

def test_pass(subtests):
    for number in range(3):
        with subtests.test("sub", number=number):
            print("inside", number)

def test_skips(subtests):
    with subtests.test("sub"):
        pytest.skip("not this one")

def test_fails(subtests):
    for number in range(3):
        with subtests.test("sub", number=number):
            assert number != 1

def test_fails_in_a_repeat(subtests):
    with subtests.test("sub"):
        assert not again()

class TestIt(unittest.TestCase):
    def test_case(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertLess(number, 3)

    def test_case_fails_in_a_repeat(self):
        with self.subTest():
            cases.append(1)
            assert not len(cases) > 2
"""


@pytest.mark.parametrize("options", [(), ("-v",), ("-n", "2", "-p", "xdist")], ids=["", "verbose", "workers"])
def test_subtests_are_heard_of_once(pytester, options):
    if pytest.version_tuple < (9, 0):
        pytest.skip("the subtests fixture came with pytest 9")
    if "xdist" in options:  # reports come in any order
        pytester.makepyfile(HEAD + SUBTESTS)
        result = pytester.runpytest_subprocess(*parity.ENERGY, "--energy-rounds=4", "--energy-json=report.json", *options)
        result.assert_outcomes(passed=5, failed=2)
        entries = json.loads((pytester.path / "report.json").read_text())["tests"]
        tests = {entry["nodeid"]: entry for entry in entries}
    else:
        tests, _ = same(pytester, HEAD + SUBTESTS, *options)
    rounds = {name.rpartition("::")[2]: test["rounds"] for name, test in tests.items()}
    assert {name: rounds[name] for name in ("test_pass", "test_skips", "test_case")} == {
        "test_pass": 4,
        "test_skips": 4,
        "test_case": 4,
    }
    for name, test in tests.items():
        (note, *_) = [*(note for note in test["notes"] if "round" in note), ""]
        if name.endswith("_in_a_repeat"):
            assert "did not pass (call: subtest: " in note and "assert not " in note
        elif name.endswith("test_fails"):
            assert note == "one round: a subtest failed"
        else:
            assert note == ""


def test_a_subtest_that_fails_in_a_repeat_can_fail_the_test(pytester):
    if pytest.version_tuple < (9, 0):
        pytest.skip("the subtests fixture came with pytest 9")
    pytester.makepyfile(HEAD + "def test_it(subtests):\n    with subtests.test('sub'):\n        assert not again(), 'left'\n")
    result = pytester.runpytest_subprocess(*parity.ENERGY, "--energy-rounds=4", "--energy-repeat-failures=fail")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*AssertionError: left*", "*contains 1 failed subtest*"])


def test_subtests_have_one_round_where_others_make_reports(pytester):
    """Such a plugin may note down each round of them."""
    pytester.makeconftest("def pytest_runtest_makereport(item, call): pass\n")
    source = "import unittest\nclass TestIt(unittest.TestCase):\n    def test_it(self):\n        with self.subTest(): pass\n"
    tests, _ = same(pytester, source)
    (test,) = tests.values()
    assert test["rounds"] == (1 if pytest.version_tuple >= (9, 0) else 4)
