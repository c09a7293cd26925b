"""The ``energy`` fixture while measuring: regions, work and scores."""

from __future__ import annotations

import json

import loaded  # noqa: F401 - so that runs in this process need not import it all each time
import pytest
from powercap import make_tree

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def measure(pytester):
    """Runs a test module under ``--energy``; the outcomes it must have, then its tests as the report has them."""

    def run(source, *options, rounds=3, warmup=1, **outcomes):
        pytester.makepyfile(source)
        result = pytester.runpytest_inprocess(
            *("-p", "pytest_joules.plugin", "--energy", f"--energy-rounds={rounds}", f"--energy-warmup={warmup}"),
            *("--energy-json=report.json", "-p", "no:cacheprovider", *options),
        )
        result.assert_outcomes(**(outcomes or {"passed": 1}))
        tests = json.loads((pytester.path / "report.json").read_text())["tests"]
        return {entry["nodeid"].rpartition("::")[2]: entry for entry in tests}

    return run


BURN = """
import pytest

def burn(steps):
    return sum(range(steps))
"""


def test_regions(measure):
    test = measure(
        BURN
        + """
def test(energy):
    with energy.measure("small"):
        burn(100_000)
    with energy.measure("large"):
        burn(3_000_000)
"""
    )["test"]
    small, large = test["regions"]["small"], test["regions"]["large"]
    # Thirty times the work: by any clock it is more, and the whole is more than its parts.
    assert 0 < small["duration"]["median"] < large["duration"]["median"] < test["duration"]["median"] * 1.5
    assert 0 < small["energy"]["median"] < large["energy"]["median"]
    assert small["duration"]["ci95"] is not None


def test_regions_of_every_measured_round_and_no_other(measure):
    """The median is over the rounds, warm-ups left out: the sleeps tell which were taken."""
    test = measure(
        """
        import time
        import pytest
        naps = [0.30, 0.30, 0.04, 0.02, 0.06]
        def test(energy):
            nap = naps.pop(0)
            with energy.measure("nap"):
                time.sleep(nap)
        """,
        warmup=2,
    )["test"]
    nap = test["regions"]["nap"]["duration"]
    assert 0.04 <= nap["median"] < 0.30
    assert nap["mean"] * 3 >= 0.12
    # A sleep may last longer, but a warm-up or a round that was left out would show in the least of them.
    assert nap["iqr"] > 0.01


def test_entered_again_adds_up(measure):
    tests = measure(
        """
        import time
        import pytest
        @pytest.mark.parametrize("times", [1, 4])
        def test(energy, times):
            for _ in range(times):
                with energy.measure("nap"):
                    time.sleep(0.02)
        """,
        passed=2,
    )
    assert tests["test[4]"]["regions"]["nap"]["duration"]["median"] >= 0.08
    assert tests["test[1]"]["regions"]["nap"]["duration"]["median"] >= 0.02


def test_nested(measure):
    test = measure(
        """
        import time
        def test(energy):
            with energy.measure("outer"):
                with energy.measure("inner"):
                    time.sleep(0.01)
        """
    )["test"]
    assert test["regions"]["outer"]["duration"]["median"] >= test["regions"]["inner"]["duration"]["median"] >= 0.01


def test_exception_inside(measure):
    test = measure(
        """
        import time
        import pytest
        def test(energy):
            with pytest.raises(KeyError):
                with energy.measure("breaks"):
                    time.sleep(0.01)
                    raise KeyError
            with energy.measure("after"):
                pass
        """
    )["test"]
    assert set(test["regions"]) == {"breaks", "after"}
    assert test["regions"]["breaks"]["duration"]["median"] >= 0.01


def test_failing_test_keeps_what_it_told(measure):
    test = measure(
        """
        def test(energy):
            with energy.measure("part"):
                sum(range(100_000))
            energy.score(right=0.5)
            assert 0
        """,
        failed=1,
    )["test"]
    assert test["scores"] == {"right": 0.5}
    # Of a round that was recorded no joules are known, of a part of it neither.
    assert test["regions"] == {} and test["energy"] is None


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("energy.measure(3).__enter__()", "TypeError: energy.measure() needs the region's name*"),
        ("energy.measure('').__enter__()", "TypeError: energy.measure() needs the region's name*"),
        ("energy.work(tokens=0)", "ValueError: energy.work(tokens=0)*above 0*"),
        ("energy.work(tokens=float('nan'))", "ValueError: energy.work(tokens=nan)*"),
        ("energy.work(tokens='many')", "TypeError: energy: tokens='many' is not a number"),
        ("energy.work(tokens=True)", "TypeError: energy: tokens=True is not a number"),
        ("energy.score(right=None)", "TypeError: energy: right=None is not a number"),
    ],
)
def test_bad_calls(pytester, call, error):
    pytester.makepyfile(f"def test(energy): {call}")
    result = pytester.runpytest_inprocess("-p", "pytest_joules.plugin", "--energy", "-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E *{error}"])


def test_work_and_scores(measure):
    test = measure(
        BURN
        + """
def test(energy):
    burn(100_000)
    for _ in range(4):
        energy.work(tokens=32, requests=1)
    energy.score(pass_at_1=0.31)
    energy.score(pass_at_1=0.32, loss=-1)
"""
    )["test"]
    assert test["scores"] == {"pass_at_1": 0.32, "loss": -1.0}
    assert test["work"]["tokens"]["amount"] == 128
    assert test["work"]["tokens"]["joules_per_unit"] == pytest.approx(test["energy"]["median"] / 128)
    assert test["work"]["requests"]["joules_per_unit"] == pytest.approx(test["energy"]["median"] / 4)


def test_work_of_iterations(measure):
    """Energy and work are both told for one iteration."""
    test = measure(
        BURN
        + """
@pytest.mark.energy(iterations=5)
def test(energy):
    burn(100_000)
    energy.work(tokens=10)
    with energy.measure("part"):
        burn(100_000)
"""
    )["test"]
    assert test["work"]["tokens"]["amount"] == 10
    assert test["work"]["tokens"]["joules_per_unit"] == pytest.approx(test["energy"]["median"] / 10)
    assert test["regions"]["part"]["duration"]["median"] < test["duration"]["median"]


def test_nothing_is_left_for_the_next_test(measure):
    tests = measure(
        """
        def test_a(energy):
            with energy.measure("a"):
                energy.work(tokens=1)
                energy.score(right=1)
        def test_b():
            pass
        class TestC:
            def test_c(self, energy):
                with energy.measure("c"):
                    pass
        """,
        passed=3,
    )
    assert tests["test_b"]["regions"] == tests["test_b"]["work"] == tests["test_b"]["scores"] == {}
    assert set(tests["test_c"]["regions"]) == {"c"}
    assert tests["test_c"]["work"] == tests["test_c"]["scores"] == {}


def test_in_fixtures_and_unittest(measure):
    tests = measure(
        """
        import unittest
        import pytest

        loads = [0.3, 0.02, 0.04, 0.06]

        @pytest.fixture
        def model(energy):
            import time
            with energy.measure("load"):
                time.sleep(loads.pop(0))
            return sum

        def test_fixture(model, energy):
            with energy.measure("use"):
                model(range(100_000))

        class TestIt(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def give(self, energy):
                self.energy = energy

            def test_method(self):
                with self.energy.measure("part"):
                    self.energy.work(calls=2)
        """,
        passed=2,
    )
    assert set(tests["test_fixture"]["regions"]) == {"load", "use"}
    assert 0.04 <= tests["test_fixture"]["regions"]["load"]["duration"]["median"] < 0.3
    assert tests["test_fixture"]["regions"]["load"]["duration"]["iqr"] > 0.01
    assert set(tests["test_method"]["regions"]) == {"part"}
    assert tests["test_method"]["work"]["calls"]["amount"] == 2


@pytest.mark.parametrize("plugin", ["asyncio", "anyio"])
def test_async(measure, plugin):
    test = measure(
        f"""
        import asyncio
        import pytest
        @pytest.mark.{plugin}
        async def test(energy):
            with energy.measure("nap"):
                await asyncio.sleep(0.02)
            energy.work(naps=1)
        """,
        *("-p", {"asyncio": "pytest_asyncio.plugin", "anyio": "anyio.pytest_plugin"}[plugin], "-k", "not trio"),
    )
    test = next(iter(test.values()))
    assert test["regions"]["nap"]["duration"]["median"] >= 0.02
    assert test["work"]["naps"]["amount"] == 1


def test_counters(measure, tmp_path):
    """Of a counter, a region that it can resolve has joules; a shorter one has none rather than a guess."""
    tree = make_tree(tmp_path / "powercap", {"package-0": []})
    with tree.running({"package-0": 20.0}):
        test = measure(
            """
            import time
            def test(energy):
                with energy.measure("long"):
                    time.sleep(0.2)
                with energy.measure("short"):
                    pass
            """,
            f"--energy-powercap={tree.root}",
            "--energy-source=rapl",
        )["test"]
    long, short = test["regions"]["long"], test["regions"]["short"]
    assert long["energy"]["median"] / long["duration"]["median"] == pytest.approx(20.0, rel=0.2)
    assert short["energy"] is None
    assert short["duration"] is not None
