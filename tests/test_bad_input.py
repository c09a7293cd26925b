"""What is wrong ends the run with one message that says what to do (exit 4), or costs a number but never a test's result."""

import os
import sqlite3
from contextlib import closing

import pytest

PASSING = "def test_a():\n    draw(1000)\n"

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


# Options and ini keys

BAD = {
    "source": [
        ("", ["''"]),
        ("watt", ["'watt'", "auto, rapl"]),
        ("rpal", ["did you mean rapl?"]),
        ("rapl,", ["'rapl,'", "commas"]),
        ("auto,rapl", ["auto alone"]),
        ("rapl,estimate", ["twice"]),
        ("rapl,perf", ["twice"]),
    ],
    "rounds": [
        ("0", ["'0'", "at least 1", "auto"]),
        ("-3", ["'-3'", "at least 1"]),
        ("2.5", ["'2.5'", "whole number"]),
        ("many", ["'many'", "auto"]),
        ("", ["''"]),
    ],
    "warmup": [("-1", ["'-1'", "at least 0"]), ("auto", ["'auto'", "whole number"])],
    "max-time": [
        ("0", ["'0'", "above 0 seconds"]),
        ("-1", ["'-1'", "above 0 seconds"]),
        ("nan", ["'nan'", "finite"]),
        ("inf", ["'inf'", "finite"]),
        ("10 s", ["'10 s'", "number of seconds"]),
    ],
    "idle": [("yes", ["'yes'", "measure, off"])],
    "top": [("-1", ["'-1'", "at least 0"]), ("all", ["'all'", "whole number"])],
    "estimate-idle-watts": [("0", ["'0'", "above 0 watts"]), ("5 W", ["'5 W'", "number of watts"])],
    "estimate-max-watts": [("nan", ["'nan'", "finite"])],
    "json": [("", ["empty"]), (".", ["folder"]), ("conftest.py/x.json", ["Not a directory", "Name a file"])],
    "csv": [("nowhere/", ["folder"]), ("/proc/x.csv", ["/proc"])],
    "store": [
        ("", ["empty"]),
        (".", ["folder"]),
        ("://", ["not understood", "sqlite:///"]),
        ("mongodb://host/db", ["driver"]),
        ("conftest.py/history.db", ["conftest.py"]),
        ("conftest.py", ["conftest.py", "no history"]),
    ],
    "budget": [
        ("*=0", ["'0'", "above 0 J"]),
        ("*=-1 J", ["'-1 J'", "above 0 J"]),
        ("*=nan", ["'nan'", "finite"]),
        ("*=inf J", ["'inf J'", "finite"]),
        ("*=2 W", ["'W'", "mJ, J"]),
        ("2 J", ["'2 J'", "PATTERN=JOULES"]),
        ("test_[=2 J", ["'test_['", "bracket"]),
    ],
}


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [pytest.param(option, value, says, id=f"{option}={value}") for option, cases in BAD.items() for value, says in cases],
)
def test_bad_options(inner, option, value, says):
    inner.file(test_a=PASSING)
    inner.refused(f"--energy-{option}={value}", says=[f"--energy-{option}", *says])


@pytest.mark.parametrize("option", sorted(BAD))
def test_bad_ini_keys(inner, option):
    value, says = next((value, says) for value, says in BAD[option] if value)
    key = "energy_budgets" if option == "budget" else f"energy_{option.replace('-', '_')}"
    inner.ini(f"{key} = {value}")
    inner.file(test_a=PASSING)
    # Which sources, files and stores work is found out when both have been merged: it goes by the option's name.
    named = f"--energy-{option}" if option in ("source", "json", "store") else f"ini {key}"
    result = inner.run("--energy", energy=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (error,) = (line for line in result.errlines if line.startswith("ERROR"))
    assert all(words in error for words in (named, *says))


@pytest.mark.parametrize("key", ["energy", "energy_trust_estimates"])
def test_bad_truth(inner, key):
    inner.ini(f"{key} = maybe")
    inner.file(test_a=PASSING)
    arguments = ["--energy"] if key != "energy" else []
    result = inner.run(*arguments, energy=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: ini {key}: *maybe*true or false*"])


def test_options_that_contradict_each_other(inner):
    inner.file(test_a=PASSING)
    inner.refused("--energy-csv=report.json", says=["--energy-json", "--energy-csv", "report.json"])
    inner.refused("--energy-estimate-idle-watts=9", "--energy-estimate-max-watts=8", says=["idle", "9 W", "8 W"])


def test_bad_ini_keys_do_not_matter_without_energy(inner):
    inner.file(test_a=PASSING)
    inner.ini("energy_rounds = nonsense", "energy_budgets = nonsense")
    inner.run(energy=False).assert_outcomes(passed=1)
    inner.run("--energy-rounds=nonsense", "--energy-disable", energy=False).assert_outcomes(passed=1)


# Markers

BAD_MARKERS = [
    ("energy_budget", ["energy_budget", "joules=2.5"]),
    ("energy_budget()", ["joules='500 mJ'"]),
    ("energy_budget(2)", ["keywords only", "joules="]),
    ("energy_budget(watts=2)", ["'watts'", "joules="]),
    ("energy_budget(joules=0)", ["joules=0", "above 0 J"]),
    ("energy_budget(joules=-1)", ["joules=-1", "above 0 J"]),
    ("energy_budget(joules=float('nan'))", ["nan", "finite"]),
    ("energy_budget(joules=float('inf'))", ["inf", "finite"]),
    ("energy_budget(joules='500 mX')", ["'500 mX'", "'mX'", "mJ"]),
    ("energy_budget(joules='infJ')", ["'infJ'"]),
    ("energy_budget(joules=None)", ["None"]),
    ("energy_budget(joules=True)", ["True"]),
    ("energy(round=3)", ["'round'", "rounds="]),
    ("energy(3)", ["keywords only", "rounds="]),
    ("energy(rounds=0)", ["rounds=0", "at least 1"]),
    ("energy(rounds=2.5)", ["rounds=2.5", "auto"]),
    ("energy(iterations=0)", ["iterations=0", "at least 1"]),
    ("energy(iterations='x')", ["iterations='x'", "whole number"]),
    ("energy(warmup=-1)", ["warmup=-1", "at least 0"]),
    ("energy(max_time=0)", ["max_time=0", "above 0 seconds"]),
    ("energy(max_time='1 s')", ["max_time='1 s'", "number of seconds"]),
    ("energy(skip='maybe')", ["skip='maybe'", "true or false"]),
]


@pytest.mark.parametrize(("marker", "says"), BAD_MARKERS, ids=[marker for marker, _ in BAD_MARKERS])
def test_bad_markers(inner, marker, says):
    inner.file(test_a=f"{PASSING}\n@pytest.mark.{marker}\ndef test_bad():\n    pass\n")
    inner.refused(says=["test_a.py::test_bad", "@pytest.mark.", *says])


def test_a_bad_marker_shows_while_collecting(inner):
    inner.file(test_a="@pytest.mark.energy(rounds=0)\ndef test_bad(): pass\n")
    inner.refused("--collect-only", says=["test_a.py::test_bad", "rounds=0"])


def test_iterations_need_a_function(inner):
    inner.conftest(
        """
import pytest
def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.energy(iterations=2))
"""
    )
    (inner.path / "a.py").write_text('"""\n>>> 1\n1\n"""\n')
    inner.refused("--doctest-modules", "a.py", says=["a.py::a", "iterations="])


def test_collecting_measures_and_writes_nothing(inner):
    inner.file(test_a=PASSING)
    (inner.path / "report.json").write_text("an older report")
    result = inner.run("--collect-only", "--energy-csv=samples.csv")
    assert result.ret == 0
    assert "= energy =" not in result.stdout.str()
    assert (inner.path / "report.json").read_text() == "an older report"
    assert not (inner.path / "samples.csv").exists()
    assert not (inner.path / ".pytest_cache/d/joules").exists()


def test_an_older_report_outlives_misuse(inner):
    inner.file(test_a="@pytest.mark.energy(rounds=0)\ndef test_bad(): pass\n")
    (inner.path / "report.json").write_text("an older report")
    assert inner.run().ret == pytest.ExitCode.USAGE_ERROR
    assert (inner.path / "report.json").read_text() == "an older report"


# The history

NOT_KEPT = "history is not kept: "


def test_the_cache_cannot_be_written(inner):
    # A path below a file: permissions do not stop root.
    (inner.path / "file").write_text("")
    inner.ini("cache_dir = file/cache")
    inner.file(test_a=PASSING)
    result = inner.run()
    result.assert_outcomes(passed=1, warnings=result.parseoutcomes().get("warnings", 0))
    assert f"{NOT_KEPT}pytest's cache directory cannot be written" in " ".join(result.outlines)
    assert inner.median("test_a") == pytest.approx(1e-3)


def test_the_cache_is_switched_off(inner):
    inner.file(test_a=PASSING)
    result = inner.run("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    assert f"{NOT_KEPT}pytest's cache is switched off" in " ".join(result.outlines)
    assert "--energy-store" in result.stdout.str()
    assert inner.median("test_a") == pytest.approx(1e-3)


@pytest.mark.parametrize("kind", ["corrupt", "newer"])
def test_a_history_that_cannot_be_used_is_set_aside(inner, kind):
    history = inner.path / ".pytest_cache/d/joules/history.db"
    history.parent.mkdir(parents=True)
    if kind == "corrupt":
        history.write_bytes(b"not a database at all\n" * 100)
    else:
        with closing(sqlite3.connect(history)) as connection, connection:
            connection.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT)")
            connection.execute("INSERT INTO meta VALUES ('schema', '999')")
    inner.file(test_a=PASSING)
    result = inner.run()
    result.assert_outcomes(passed=1)
    said = "is corrupt" if kind == "corrupt" else "is of a newer schema"
    assert said in " ".join(line.strip() for line in result.outlines)
    assert inner.history() == [("test_a.py::test_a", "passed", pytest.approx(1e-3))]
    (aside,) = history.parent.glob(f"history.db.{kind}-*")
    if kind == "corrupt":
        assert aside.read_bytes() == b"not a database at all\n" * 100
    else:
        with closing(sqlite3.connect(aside)) as connection:
            assert connection.execute("SELECT value FROM meta").fetchall() == [("999",)]
    # Said even where the table is not wanted.
    history.write_bytes(b"not a database at all\n" * 100)
    assert "is corrupt" in inner.run("-q").stdout.str()


@pytest.mark.parametrize("url", ["kept/history.db", "sqlite:///kept.db"])
def test_a_place_for_the_history(inner, url):
    inner.file(test_a=PASSING)
    inner.run(f"--energy-store={url}").assert_outcomes(passed=1)
    assert len(inner.history(url.removeprefix("sqlite:///"))) == 1
    assert not (inner.path / ".pytest_cache/d/joules").exists()


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgresql"])
def test_a_database_without_its_driver(inner, scheme, monkeypatch):
    for name in ("psycopg", "psycopg2"):
        monkeypatch.setitem(__import__("sys").modules, name, None)  # as if not installed
    inner.file(test_a=PASSING)
    url = f"{scheme}://anna:s3cret@db.example/energy?password=s3cret"
    inner.refused(f"--energy-store={url}", says=["--energy-store", "pip install 'psycopg[binary]'", "db.example"])
    result = inner.run(f"--energy-store={url}")
    assert "s3cret" not in result.stdout.str() + result.stderr.str()


FAILING_STORE = """
import pytest, sqlite3
from pytest_joules import store

_add = store.Store.add

def _fail(self, record):
    if "test_b" in record["nodeid"]:
        raise store.StoreError("the history failed (database or disk is full): make room on that disk")
    _add(self, record)

def pytest_sessionstart():
    store.Store.add = _fail

def pytest_sessionfinish():
    store.Store.add = _add
"""


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_a_full_disk_loses_no_result(inner, quiet):
    if not os.path.exists("/dev/full"):  # noqa: PTH110 - one word for it
        pytest.skip("no /dev/full on this system")
    inner.conftest(FAILING_STORE)
    inner.file(test_a="def test_a(): draw(1000)\ndef test_b(): draw(2000)\ndef test_c(): assert not draw(3000)\n")
    result = inner.run(
        "--energy",
        f"--energy-powercap={inner.powercap}",
        "--energy-json=/dev/full",
        "--energy-csv=/dev/../dev/full",
        *quiet,
        energy=False,
    )
    result.assert_outcomes(passed=3)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    said = " ".join(line.strip() for line in result.outlines)
    assert "--energy-json: cannot write the report to /dev/full: No space left on device" in said
    assert "--energy-csv: cannot write the report to " in said
    assert "history: 1 of 3 tests could not be kept: the history failed (database or disk is full)" in said
    assert [name for name, _, _ in inner.history()] == ["test_a.py::test_a", "test_a.py::test_c"]


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
