"""Counters that are not there, fail, stand still or wrap while tests run: they cost a number but never a result."""

import pytest
from one_test import PASSING

#: os.open refuses the counters, as it does who is not root.
NO_PERMISSION = """
import os

_open = os.open

def _refuse(path, *args, **kwargs):
    if str(path).endswith("energy_uj"):
        raise PermissionError(13, "Permission denied", str(path))
    return _open(path, *args, **kwargs)

def pytest_configure():
    os.open = _refuse

def pytest_unconfigure():
    os.open = _open
"""


# Sources


def test_no_permission(inner):
    inner.conftest(NO_PERMISSION)
    inner.file(test_a="@pytest.mark.energy_budget(joules='1 nJ')\ndef test_a(): sum(range(200_000))\n")
    result = inner.run("--junitxml=junit.xml")
    result.assert_outcomes(passed=1)
    said = " ".join(line.strip() for line in result.outlines)
    assert "energy: estimate (cpu; ±" in said
    assert f"rapl not taken: no permission to read {inner.powercap}/intel-rapl:0/energy_uj" in said
    result.stdout.fnmatch_lines([f"    remedy: sudo chmod a+r {inner.powercap}/[*]/energy_uj"])
    assert "estimated: CPU time × a power model, ±" in said
    test = inner.tests()["test_a"]
    assert (test["provenance"], test["source"]) == ("estimated", "estimate")
    source, ticks = inner.report()["sources"]
    assert (source["name"], source["provenance"], ticks["name"]) == ("estimate", "estimated", "tsc")
    assert source["uncertainty"] > 0 and "no permission" in source["why"]
    properties = {entry.get("name"): entry.get("value") for entry in inner.junit()["test_a"].iter("property")}
    assert properties["energy_provenance"] == "estimated"


def test_no_permission_where_it_was_asked_for(inner):
    inner.conftest(NO_PERMISSION)
    inner.file(test_a=PASSING)
    inner.refused("--energy-source=rapl", says=["rapl", "no permission", f"sudo chmod a+r {inner.powercap}/*/energy_uj"])


def test_no_tree(inner):
    inner.powercap = inner.path / "nowhere"
    inner.file(test_a=PASSING)
    inner.refused("--energy-source=rapl", says=["no powercap tree at", "nowhere"])
    result = inner.run()
    result.assert_outcomes(passed=1)
    assert f"rapl not taken: no powercap tree at {inner.powercap}" in " ".join(line.strip() for line in result.outlines)
    assert inner.tests()["test_a"]["provenance"] == "estimated"


def test_the_time_stamp_counter_alone_has_no_joules(inner):
    inner.file(test_a=f"@pytest.mark.energy_budget(joules=1)\n{PASSING}")
    result = inner.run("--energy-source=tsc", "--junitxml=junit.xml")
    result.assert_outcomes(passed=1)
    test = inner.tests()["test_a"]
    assert (test["energy"], test["provenance"], test["budget"]["verdict"]) == (None, "unavailable", "cannot tell")
    assert test["tsc"]["median"] > 0
    assert inner.report()["session"]["joules"] is None
    properties = {entry.get("name"): entry.get("value") for entry in inner.junit()["test_a"].iter("property")}
    assert properties["energy_joules"] == "unavailable"
    said = result.stdout.str()
    assert "not measured: 1 unavailable" in said
    assert " 0 J" not in said and " 0.0" not in said.partition("= energy =")[2].partition("=== ")[0]


FAILURES = {
    "vanishes": "os.path.exists(PATH) and os.unlink(PATH)",
    "errs": "os.pwrite(os.open(PATH, os.O_WRONLY), b'garbage, no number at all', 0)",
    "is emptied": "os.truncate(PATH, 0)",
    "goes negative": "os.pwrite(os.open(PATH, os.O_WRONLY), b'-5                     ', 0)",
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_counter_fails_between_two_tests(inner, failure):
    inner.file(
        test_a=f"""
from counter import FILES
PATH = FILES["package-0"][0]

def test_before(): draw(1000)
def test_breaking(): {FAILURES[failure]}
@pytest.mark.energy_budget(joules=1)
def test_after(): pass
"""
    )
    inner.run("--energy-warmup=0", "--energy-rounds=2", "--energy-csv=samples.csv").assert_outcomes(passed=3)
    tests = inner.tests()
    assert tests["test_before"]["energy"]["median"] == pytest.approx(1e-3)
    after = tests["test_after"]
    assert (after["energy"], after["provenance"], after["outcome"]) == (None, "unavailable", "passed")
    assert all(sample["energy"] is None for sample in after["samples"])
    if failure != "vanishes":  # a removed file is still there for who holds it open: it stands still
        assert "package-0" in " ".join(after["notes"])
    assert after["budget"]["verdict"] == "cannot tell"
    assert [energy for _, _, energy in inner.history()] == [pytest.approx(1e-3), None, None]


def test_only_the_rounds_that_a_failure_hits_are_lost(inner):
    inner.file(
        test_a="""
from counter import FILES
PATH = FILES["package-0"][0]
done = []

def test_a():
    done.append(1)
    if len(done) == 3:  # one round reads garbage at its end
        content = open(PATH).read()
        os.pwrite(os.open(PATH, os.O_WRONLY), b"garbage".ljust(24), 0)
        done.append(content)
    else:
        draw(1000)

@pytest.fixture(autouse=True)
def mended():
    yield
    if len(done) == 4:
        os.pwrite(os.open(PATH, os.O_WRONLY), done[3].encode(), 0)
"""
    )
    inner.run("--energy-rounds=6").assert_outcomes(passed=1)
    test = inner.tests()["test_a"]
    values = [sample["energy"] for sample in test["samples"]]
    assert values.count(None) == 1
    assert {round(value, 9) for value in values if value is not None} == {1e-3}
    assert test["energy"]["median"] == pytest.approx(1e-3)
    assert any("gave no number" in note and "package-0" in note for note in test["notes"])


def test_a_counter_stands_still_in_some_rounds(inner):
    inner.file(
        test_a="""
done = []
def test_a():
    done.append(1)
    if len(done) % 3: draw(1000)
def test_never(): pass
"""
    )
    inner.run("--energy-rounds=6", "--energy-csv=samples.csv").assert_outcomes(passed=2)
    tests = inner.tests()
    values = [sample["energy"] for sample in tests["test_a"]["samples"]]
    assert None in values and 0.0 not in values
    assert tests["test_a"]["energy"]["median"] == pytest.approx(1e-3)
    assert (tests["test_never"]["energy"], tests["test_never"]["provenance"]) == (None, "unavailable")
    assert "did not move" in " ".join(tests["test_never"]["notes"])
    assert ",0.0," not in (inner.path / "samples.csv").read_text()


def test_wraps_dies_and_psys(inner):
    from powercap import Zone

    # Every third round wraps a small counter; psys and the packages contain each other and the parts.
    inner.counters(
        [
            Zone("package-0-die-0", energy=9_000, range=10_000, children=[Zone("core", energy=1, range=10_000)]),
            Zone("package-0-die-1", energy=5_000, range=10_000, children=[Zone("dram", energy=1, range=10_000)]),
            Zone("psys", energy=1, range=100_000),
        ]
    )
    inner.file(
        test_a="""
def test_a():
    draw(4_000, "package-0-die-0")
    draw(3_000, "package-0-die-1")
    draw(2_500, "core")
    draw(1_500, "dram")
    draw(9_000, "psys")
"""
    )
    inner.run("--energy-rounds=12").assert_outcomes(passed=1)
    test = inner.tests()["test_a"]
    assert len(test["samples"]) == 12
    assert [sample["energy"] for sample in test["samples"]] == [pytest.approx(7e-3)] * 12
    assert {name: summary["median"] for name, summary in test["domains"].items()} == {
        "package-0-die-0": pytest.approx(4e-3),
        "package-0-die-1": pytest.approx(3e-3),
        "core-0-die-0": pytest.approx(2.5e-3),
        "dram-0-die-1": pytest.approx(1.5e-3),
        "psys": pytest.approx(9e-3),
    }


def test_a_session_over_many_wraps(inner):
    from powercap import Zone

    inner.counters([Zone("package-0", energy=9_999, range=10_000)])
    inner.file(
        test_a="""
@pytest.mark.parametrize("n", range(6))
def test_a(n): draw(3_000 + n)
"""
    )
    inner.run("--energy-rounds=2").assert_outcomes(passed=6)
    for n in range(6):
        assert inner.median(f"test_a[{n}]") == pytest.approx((3_000 + n) / 1e6)
