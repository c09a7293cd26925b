"""The extension points: used as their docstrings show, and by plugins with bugs, which cost a number but never a test."""

import pytest

from pytest_joules import hookspecs, plugin

PASSING = "def test_a(): draw(1000)\ndef test_b(): draw(2000)\n"

PLUG = """
import pytest
from pytest_joules.sources.base import Domain, Source, Unavailable

class Plug(Source):
    name, rank = "plug", 200
    def open(self):
        self.domains, self.tick = (Domain("plug", counts=True),), 0.0
        self.total = 0.0
        {open}
    def read(self):
        self.total += 2.5
        {read}
        return (self.total,)
    def joules(self, before, after, seconds):
        {joules}
        return (after[0] - before[0],)

def pytest_joules_sources(config):
    {hook}
    return [Plug()]
"""

NOT_OFFERED = "sources of other plugins not taken: a pytest_joules_sources hook failed:"


def plug(inner, **parts):
    inner.conftest(PLUG.format(**({"open": "pass", "read": "pass", "joules": "pass", "hook": "pass"} | parts)))
    inner.file(test_a=PASSING)


def said(result):
    return " ".join(line.strip() for line in result.outlines)


@pytest.mark.parametrize("name", [name for name in vars(hookspecs) if name.startswith("pytest_joules_")])
def test_each_is_known_where_a_plugin_implements_it(pytester, name):
    """To a run that does not measure too: pytest refuses hooks that nobody specifies, and their arguments."""
    assert name in plugin.EXTENSION_POINTS
    pytester.makeconftest(f"def {name}(no_such_argument): pass")
    pytester.makepyfile("def test(): pass")
    said = pytester.runpytest_subprocess().stderr.str()
    assert "no_such_argument" in said
    pytester.makeconftest(f"def {name}(): pass")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_source_of_ones_own(inner):
    plug(inner)
    result = inner.run()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["energy: plug (plug)"])
    test = inner.tests()["test_a"]
    assert (test["source"], test["provenance"]) == ("plug", "measured")
    assert test["energy"]["median"] == 2.5  # a body lies between two readings
    assert [source["name"] for source in inner.report()["sources"]] == ["plug", "tsc"]
    inner.run("--energy-source=rapl").assert_outcomes(passed=2)
    assert inner.median("test_b") == pytest.approx(2e-3)
    inner.run("--energy-source=plug").assert_outcomes(passed=2)
    assert inner.median("test_b") == 2.5


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"open": "raise Unavailable('no plug found', 'buy one')"}, "plug not taken: no plug found remedy: buy one"),
        ({"open": "raise KeyError('bug')"}, "plug not taken: it failed to open: KeyError: 'bug'"),
        ({"open": "self.domains = ['plug']"}, "plug not taken: it failed to open: TypeError: its domains must be a tuple"),
        (
            {"hook": "raise KeyError('bug')"},
            "sources of other plugins not taken: a pytest_joules_sources hook failed: KeyError: 'bug'",
        ),
        ({"hook": "return [Plug]"}, "sources of other plugins not taken: a pytest_joules_sources hook failed: TypeError"),
        ({"hook": "return 3"}, "sources of other plugins not taken: a pytest_joules_sources hook failed: TypeError"),
    ],
)
def test_one_that_does_not_open(inner, parts, says):
    plug(inner, **parts)
    result = inner.run()
    result.assert_outcomes(passed=2)
    assert says in said(result)
    assert inner.tests()["test_a"]["source"] == "rapl"
    assert inner.median("test_a") == pytest.approx(1e-3)


def test_one_that_was_asked_for_and_does_not_open(inner):
    plug(inner, open="raise KeyError('bug')")
    inner.refused("--energy-source=plug", says=["plug", "failed to open", "KeyError"])
    plug(inner, hook="raise KeyError('bug')")
    inner.refused("--energy-source=plug", says=["unknown energy source 'plug'", "hook failed: KeyError: 'bug'"])
    plug(inner, hook="raise pytest.UsageError('plug: set PLUG_HOST')")
    inner.refused(says=["plug: set PLUG_HOST"])


def test_two_of_one_name(inner):
    plug(inner, hook="return [Plug(), Plug()]")
    inner.refused(says=["two energy sources are named 'plug'"])


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"read": "raise OSError('line cut')"}, "read() of plug failed: OSError: line cut"),
        ({"read": "return (1.0, 2.0)"}, "read() of plug failed: ValueError: 2 values for 1 domains"),
        ({"read": "return None"}, "read() of plug failed: TypeError"),
        ({"read": "return ('many',)"}, "read() of plug failed: TypeError: 'many' is not a number"),
        ({"read": "return (float('nan'),)"}, "gave no number"),
        ({"joules": "raise ZeroDivisionError"}, "joules() of plug failed: ZeroDivisionError"),
        ({"joules": "return (float('inf'),)"}, "gave no number"),
        ({"joules": "return (-1.0,)"}, "gave no number"),
        ({"joules": "return (0.0,)"}, "gave no number"),
    ],
)
def test_one_that_fails_while_measuring(inner, parts, says):
    plug(inner, **parts)
    result = inner.run()
    result.assert_outcomes(passed=2)
    for test in inner.tests().values():
        assert (test["energy"], test["provenance"], test["outcome"]) == (None, "unavailable", "passed")
        assert says in " ".join(test["notes"])
    assert inner.report()["session"]["joules"] is None
    assert "not measured: 2 unavailable" in said(result)


def test_one_that_fails_once(inner):
    # The 20th reading is somewhere in the second test: its other rounds are right.
    plug(inner, read="self.count = getattr(self, 'count', 0) + 1\n        assert self.count != 20")
    inner.run("--energy-rounds=6").assert_outcomes(passed=2)
    assert [test["energy"]["median"] for test in inner.tests().values()] == [2.5, 2.5]


def test_one_without_its_parents_init(inner):
    plug(inner)
    conftest = inner.path / "conftest.py"
    line = '    name, rank = "plug", 200\n'
    conftest.write_text(conftest.read_text().replace(line, f"{line}    def __init__(self): pass\n"))
    inner.run().assert_outcomes(passed=2)
    assert inner.median("test_a") == 2.5


# Before a reading


def test_quiesce_comes_before_the_closing_reading(inner):
    inner.conftest(
        """
from counter import draw
def pytest_joules_quiesce(config):
    draw(250)  # work that was still under way
"""
    )
    inner.file(test_a=PASSING)
    inner.run().assert_outcomes(passed=2)
    assert inner.median("test_a") == pytest.approx(1.25e-3)
    assert inner.median("test_b") == pytest.approx(2.25e-3)


def test_quiesce_that_raises(inner):
    inner.conftest("def pytest_joules_quiesce(config):\n    raise RuntimeError('device lost')\n")
    inner.file(test_a=PASSING)
    inner.run().assert_outcomes(passed=2)
    test = inner.tests()["test_a"]
    assert test["energy"]["median"] == pytest.approx(1e-3)
    assert test["notes"] == ["a pytest_joules_quiesce hook failed: RuntimeError: device lost"]


# The report


def test_the_report_can_be_changed(inner):
    inner.conftest(
        """
def pytest_joules_update_report(config, report):
    report["extra"] = {"grid_gco2_per_kwh": 56}
    report["tests"][0].setdefault("extra", {})["owner"] = "anna"
    report["tests"] = report["tests"][:1]
"""
    )
    inner.file(test_a=PASSING)
    inner.run("--energy-csv=samples.csv", "--energy-rounds=2")
    report = inner.report()
    assert report["extra"] == {"grid_gco2_per_kwh": 56}
    assert report["tests"][0]["extra"] == {"owner": "anna"}
    assert "test_b" not in (inner.path / "samples.csv").read_text()
    assert len(inner.history()) == 2  # the history keeps what was measured


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("report['tests'][0]['energy'] = None\n    raise KeyError('bug')", "KeyError: 'bug'"),
        ("del report['tests']", "it left out tests"),
        ("del report['tests'][0]['energy']", "it left out energy of test_a.py::test_a"),
        ("report['mine'] = 1", "mine: things of your own belong under extra"),
        ("report['tests'] = None", "TypeError"),
    ],
)
@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_a_hook_that_spoils_the_report(inner, body, says, quiet):
    inner.conftest(f"def pytest_joules_update_report(config, report):\n    {body}\n")
    inner.file(test_a=PASSING)
    result = inner.run("--energy-csv=samples.csv", *quiet)
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    assert "a pytest_joules_update_report hook failed, and the report is without its changes: " in said(result)
    assert says in said(result)
    assert inner.median("test_a") == pytest.approx(1e-3)
    assert len(inner.history()) == 2


def test_hooks_are_known_without_energy(inner):
    plug(inner)
    inner.run("--strict-config", energy=False).assert_outcomes(passed=2)
