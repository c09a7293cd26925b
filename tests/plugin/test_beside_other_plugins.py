"""Beside the plugins that suites use: the same outcomes, and the right number of runs."""

from __future__ import annotations

import json

import loaded  # noqa: F401 - so that runs in this process need not import it all each time
import parity
import pytest

ENERGY = (*parity.THREE, "-p", "no:cacheprovider")

MODULES = {
    "asyncio": "pytest_asyncio.plugin",
    "anyio": "anyio.pytest_plugin",
    "timeout": "pytest_timeout",
    "rerunfailures": "pytest_rerunfailures",
    "hypothesis": "_hypothesis_pytestplugin",
    "xdist": "xdist.plugin",
}

pytestmark = pytest.mark.usefixtures("alone")


def using(*plugins):
    return [part for name in plugins for part in ("-p", MODULES[name])]


def same(pytester, *options, subprocess=False):
    """Run plainly and measured, compare all there is, and return both."""
    plain = parity.run(pytester, *options, subprocess=subprocess)
    measured = parity.run(pytester, *options, *ENERGY, "--energy-json=report.json", subprocess=subprocess)
    assert measured.seen == plain.seen
    assert measured.warned == plain.warned
    assert measured.junit == plain.junit
    assert measured.suite == plain.suite
    assert measured.exit == plain.exit
    return plain, measured


def report_of(pytester):
    """The tests as the report has them, by the end of their node id."""
    report = json.loads((pytester.path / "report.json").read_text())
    return {entry["nodeid"].rpartition("::")[2]: entry for entry in report["tests"]}


ASYNC = """
import asyncio
import pytest

{mark}

@pytest.fixture
async def resource():
    await asyncio.sleep(0)
    opened = [asyncio.get_running_loop()]
    yield opened
    await asyncio.sleep(0)
    opened.clear()

async def test_fixture(resource):
    assert resource == [asyncio.get_running_loop()]
    resource.append(1)

async def test_fails(resource):
    print("said once")
    await asyncio.sleep(0)
    assert len(resource) == 2

async def test_skips():
    pytest.skip("inside")

@pytest.mark.xfail
async def test_xfail():
    raise RuntimeError

@pytest.mark.parametrize("number", [1, 2])
async def test_parameters(number, tmp_path):
    (tmp_path / "made").mkdir()
    await asyncio.gather(*(asyncio.sleep(0) for _ in range(number)))

class TestMethods:
    async def test_method(self, resource):
        assert not hasattr(self, "here")
        self.here = await asyncio.sleep(0, 1)

async def test_leaves_a_task():
    asyncio.get_running_loop().create_task(asyncio.sleep(60))

def test_not_async(tmp_path):
    assert asyncio.run(asyncio.sleep(0, 3)) == 3
"""


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_asyncio(pytester, mode):
    source = ASYNC.format(mark="pytestmark = pytest.mark.asyncio" if mode == "strict" else "")
    if mode == "strict":
        source = source.replace("@pytest.fixture\n", "import pytest_asyncio\n@pytest_asyncio.fixture\n").replace(
            "def test_not_async",
            "@pytest.mark.asyncio(loop_scope='module')\nasync def test_loop():\n    pass\n\ndef test_not_async",
        )
    pytester.makepyfile(source)
    # A mark on a test that is not asynchronous is worth a warning: the same one in both runs.
    options = ("-o", f"asyncio_mode={mode}", "-o", "asyncio_default_fixture_loop_scope=function")
    plain, _ = same(pytester, *using("asyncio"), *options, subprocess=True)
    assert dict(plain.suite) | {"failures": "1", "errors": "0"} == dict(plain.suite)
    measured = report_of(pytester)
    assert measured["test_fixture"]["rounds"] == measured["test_method"]["rounds"] == 3
    assert measured["test_fixture"]["energy"] is not None


def test_anyio(pytester):
    pytester.makepyfile(
        """
        import anyio
        import pytest
        pytestmark = pytest.mark.anyio

        @pytest.fixture
        async def resource():
            await anyio.sleep(0)
            yield [1]

        @pytest.fixture(scope="module")
        def anyio_backend():
            return "asyncio"

        @pytest.fixture(scope="module")
        async def wide():
            opened = []
            yield opened
            await anyio.sleep(0)

        async def test_fixture(resource, wide):
            assert resource.pop() == 1

        async def test_fails(resource):
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 0)
            assert not resource

        class TestMethods:
            async def test_method(self, resource):
                assert not hasattr(self, "here")
                self.here = True
        """
    )
    same(pytester, *using("anyio"), subprocess=True)
    assert report_of(pytester)["test_fixture"]["rounds"] == 3


def test_anyio_backends(pytester):
    pytest.importorskip("trio", reason="the second backend, which anyio does without")
    pytester.makepyfile(
        """
        import anyio
        import pytest

        @pytest.mark.anyio
        async def test_both(anyio_backend_name, tmp_path):
            (tmp_path / anyio_backend_name).mkdir()
            await anyio.sleep(0)
        """
    )
    same(pytester, *using("anyio"), subprocess=True)
    rounds = {name: entry["rounds"] for name, entry in report_of(pytester).items()}
    assert rounds == {"test_both[asyncio]": 3, "test_both[trio]": 3}


@pytest.mark.parametrize("where", ["marker", "keyword", "option", "ini", "faulthandler"])
def test_each_round_has_the_time_limit_anew(pytester, where):
    """A limit that a plain run keeps is kept, whatever all rounds take together."""
    mark = {"marker": "@pytest.mark.timeout(1.2)", "keyword": "@pytest.mark.timeout(timeout=1.2)"}.get(where, "")
    pytester.makepyfile(f"import pytest, time\n{mark}\ndef test(): time.sleep(0.25)")
    options = {
        "option": ["--timeout=1.2"],
        "ini": ["-o", "timeout=1.2"],
        "faulthandler": ["-o", "faulthandler_timeout=1.2"],
    }.get(where, [])
    more = ("--energy-rounds=6", "--energy-max-time=30", "--energy-json=report.json")
    result = pytester.runpytest_subprocess(*using("timeout"), *options, *ENERGY, *more)
    result.assert_outcomes(passed=1)
    assert "Timeout" not in result.stdout.str() + result.stderr.str()
    assert report_of(pytester)["test"]["rounds"] == 6  # with the one that is recorded, 1.75 s


@pytest.mark.parametrize("where", ["marker", "ini"])
def test_timeout_of_the_body_alone(pytester, where):
    """It begins anew in each round, so it does not limit their number."""
    mark = "@pytest.mark.timeout(1, func_only=True)" if where == "marker" else ""
    pytester.makepyfile(f"import pytest, time\n{mark}\ndef test(): time.sleep(0.3)")
    options = ["-o", "timeout=1", "-o", "timeout_func_only=true"] if where == "ini" else []
    more = ("--energy-rounds=5", "--energy-max-time=30", "--energy-json=report.json")
    pytester.runpytest_subprocess(*using("timeout"), *options, *ENERGY, *more).assert_outcomes(passed=1)
    assert report_of(pytester)["test"]["rounds"] == 5


def test_timeout_that_a_plain_run_breaks(pytester):
    pytester.makepyfile("import pytest, time\n@pytest.mark.timeout(0.3)\ndef test(): time.sleep(5)\ndef test_next(): pass")
    same(pytester, *using("timeout"), subprocess=True)


FLAKY = """
import pytest
tries = []

@pytest.mark.flaky(reruns=3)
def test_marked():
    tries.append("marked")
    assert tries.count("marked") == 2

def test_other():
    tries.append("other")
    if {other}:
        assert tries.count("other") == 2

def test_fails():
    assert 0
"""


@pytest.mark.parametrize("options", [[], ["--reruns=2"], ["-o", "reruns=2"], ["--force-reruns=2"]], ids=" ".join)
def test_rerunfailures(pytester, options):
    pytester.makepyfile(FLAKY.format(other=bool(options)))
    same(pytester, *using("rerunfailures"), *options, subprocess=True)
    measured = report_of(pytester)
    assert measured["test_marked"]["energy"] is None
    assert "rerun" in measured["test_marked"]["notes"][0]
    assert (measured["test_other"]["energy"] is None) == bool(options)
    assert (measured["test_other"]["rounds"] or 0) == (0 if options else 3)


HYPOTHESIS = """
import unittest
import pytest
from hypothesis import HealthCheck, given, seed, settings, strategies as st

settings.load_profile("default")  # on CI Hypothesis derandomizes by itself

@pytest.fixture
def thing(): return []

@settings(database=None, derandomize=True, max_examples=20)
@given(st.integers())
def test_derandomized(number):
    assert isinstance(number, int)

@settings(database=None, max_examples=20)
@seed(3)
@given(st.integers())
def test_seeded(number):
    assert isinstance(number, int)

@settings(database=None, max_examples=20)
@given(number=st.integers())
def test_random(number):
    assert isinstance(number, int)

@settings(database=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers())
def test_fixture(thing, number):
    assert isinstance(number, int)

class TestMethods:
    @settings(database=None, max_examples=20)
    @given(st.integers())
    def test_method(self, number):
        assert isinstance(number, int)

class It(unittest.TestCase):
    @settings(database=None, max_examples=20)
    @given(st.integers())
    def test_in_case(self, number):
        self.assertIsInstance(number, int)

@settings(database=None, derandomize=True, max_examples=50)
@given(st.integers())
def test_fails(number):
    assert number < 100

@settings(database=None, max_examples=5)
@given(st.integers())
@pytest.mark.asyncio
async def test_async(number):
    assert isinstance(number, int)
"""


def test_hypothesis(pytester):
    pytester.makepyfile(HYPOTHESIS)
    scope = ("-o", "asyncio_default_fixture_loop_scope=function")
    same(pytester, *using("hypothesis", "asyncio"), *scope, subprocess=True)
    measured = report_of(pytester)
    random = {name for name, entry in measured.items() if any("random examples" in note for note in entry["notes"])}
    assert random == {"test_random", "test_fixture", "test_method", "test_in_case", "test_async"}
    assert {name for name, entry in measured.items() if entry["rounds"] != 3} == {"test_in_case", "test_fails"}
    pytester.runpytest_subprocess(
        *using("hypothesis"), *ENERGY, "--energy-json=report.json", "--hypothesis-seed=1", "-k", "random"
    )
    assert report_of(pytester)["test_random"]["notes"] == []


def test_hypothesis_is_not_judged(pytester):
    pytester.makepyfile(HYPOTHESIS)
    budget = ("--energy-rounds=6", "--energy-warmup=1", "--energy-budget=*=1 nJ", "--energy-trust-estimates")
    result = pytester.runpytest_subprocess(
        *using("hypothesis"), *ENERGY, *budget, "--energy-json=report.json", "-k", "random or derandomized"
    )
    result.assert_outcomes(passed=1, failed=1, deselected=6)
    assert report_of(pytester)["test_random"]["budget"]["verdict"] == "cannot tell"
    assert report_of(pytester)["test_derandomized"]["budget"]["verdict"] == "over budget"


def test_xdist(pytester):
    parity.copy_idioms(pytester, "hooks")
    pytester.makepyfile(
        test_more="import pytest\n@pytest.mark.parametrize('number', range(8))\ndef test(number): assert number != 3"
    )
    for name in ("test_items.yaml", "conftest.py"):
        (pytester.path / name).unlink()
    (pytester.path / "test_hooks.py").unlink()
    options = ("-n2", *using("xdist"))
    plain = parity.run(pytester, *options)
    measured = parity.run(pytester, *options, *ENERGY, "--energy-json=report.json")
    assert measured.exit == plain.exit == 1
    assert measured.suite == plain.suite
    # Which worker comes first is chance.
    assert sorted(map(str, measured.junit["test_more"])) == sorted(map(str, plain.junit["test_more"]))
    assert {name: entry["rounds"] for name, entry in report_of(pytester).items()} == {
        f"test[{number}]": 1 if number == 3 else 3 for number in range(8)
    }


def test_freezegun(pytester):
    """Durations stay those of a clock that was taken before it froze."""
    pytester.makepyfile(
        """
        import datetime
        import json
        import time
        from pathlib import Path
        import pytest
        from freezegun import freeze_time

        real, sleep = time.perf_counter, time.sleep
        taken = []

        @pytest.fixture(scope="module", autouse=True)
        def told():
            yield
            Path("taken.json").write_text(json.dumps(taken))

        @freeze_time("2012-01-14")
        def test_decorated():
            begun = real()
            assert datetime.date.today() == datetime.date(2012, 1, 14)
            sleep(0.05)
            taken.append(real() - begun)

        @pytest.fixture
        def frozen():
            with freeze_time("2012-01-14", tick=False) as clock:
                yield clock

        def test_fixture(frozen):
            before = time.perf_counter(), time.time(), time.monotonic_ns()
            sleep(0.05)
            assert (time.perf_counter(), time.time(), time.monotonic_ns()) == before
            frozen.tick(3600)

        @freeze_time("2012-01-14")
        class TestFrozen:
            def test_method(self):
                sleep(0.05)
        """
    )
    same(pytester, subprocess=True)
    measured = report_of(pytester)
    for name in ("test_decorated", "test_fixture", "test_method"):
        assert all(0.05 <= sample["duration"] < 3 for sample in measured[name]["samples"])
        assert measured[name]["rounds"] == 3
    taken = json.loads((pytester.path / "taken.json").read_text())
    assert len(taken) == 3
    for inside, sample in zip(taken, measured["test_decorated"]["samples"], strict=True):
        assert inside <= sample["duration"]


def test_frozen_session(pytester):
    """Even a session that stands still has durations, and dates that are true."""
    pytester.makepyfile("import time\ndef test(): time.sleep(0.02)")
    pytester.makeconftest(
        """
        import pytest
        from freezegun import freeze_time

        @pytest.fixture(scope="session", autouse=True)
        def frozen():
            with freeze_time("2012-01-14"):
                yield
        """
    )
    same(pytester, subprocess=True)
    assert report_of(pytester)["test"]["duration"]["median"] >= 0.02
    assert not json.loads((pytester.path / "report.json").read_text())["created"].startswith("2012")
