"""Runs that are held against a baseline: what fails, what does not, and that nothing is lost. The joules are the tests' own."""

import json
import os
import re
import signal

import pytest
from costs import COSTS
from processes import wait_until


def costs(inner, **millijoules):
    os.environ["COSTS"] = json.dumps({"a": 1000, "b": 200, "c": 3000, **millijoules})


@pytest.fixture(autouse=True)
def no_costs(monkeypatch):
    monkeypatch.setenv("COSTS", "{}")


def _saved(inner):
    inner.file(test_a=COSTS)
    assert inner.run("--energy-save=main", "--energy-rounds=10").ret == 0


@pytest.fixture
def saved(inner, begin):
    """A project with a baseline."""
    costs(inner)
    begin(inner, _saved)
    return inner


def compare(inner, *args, ret=0, **options):
    result = inner.run("--energy-compare=main", "--energy-rounds=10", *args, **options)
    assert result.ret == ret, result.stdout.str()
    return result


def verdicts(inner):
    return {name: test["comparison"]["verdict"] for name, test in inner.tests().items()}


def baseline_file(inner, name="main"):
    (path,) = (inner.path / ".joules").glob(f"*/{name}.json")
    return path


def test_the_same_code_is_ok(saved):
    compare(saved)
    assert verdicts(saved) == {"test_a": "ok", "test_b": "ok", "test_c": "ok"}
    for test in saved.report()["tests"]:
        assert test["comparison"]["ratio"] == pytest.approx(1, abs=0.004)
        assert test["comparison"]["baseline"] == "main"
    assert saved.report()["comparison"]["counts"] == {"ok": 3}


def test_a_regression_fails_its_test_and_no_other(saved):
    costs(saved, a=1500)
    result = compare(saved, "--junitxml=junit.xml", ret=1)
    result.assert_outcomes(passed=2, failed=1)
    assert verdicts(saved) == {"test_a": "regressed", "test_b": "ok", "test_c": "ok"}
    found = saved.tests()["test_a"]
    assert found["outcome"] == "failed"
    assert found["comparison"]["ratio"] == pytest.approx(1.5, rel=0.005)
    low, high = found["comparison"]["ci95"]
    assert low <= 1.5 <= high and high - low < 0.05
    assert found["comparison"]["blocks"] >= 2
    said = result.stdout.str()
    assert "regressed 1.50× since main" in said
    assert "energy comparison" in said
    before, now = (re.search(rf"^{word} +([\d.]+) J  \(", said, re.MULTILINE)[1] for word in ("before", "now"))
    assert float(before) * found["comparison"]["ratio"] == pytest.approx(float(now), rel=0.01)
    assert found["comparison"]["now"] == pytest.approx(float(now), rel=0.01)
    assert "threshold held" not in said
    assert re.search(r"^test_a\.py .*J", said, re.MULTILINE)
    cases = saved.junit()
    assert "1.50× since main, 1.00 J -> 1.50 J" in cases["test_a"].find("failure").get("message")
    assert cases["test_b"].find("failure") is None
    # As after any failure.
    again = saved.run("--lf", "--collect-only", "-q")
    assert "test_a" in again.stdout.str() and "test_b" not in again.stdout.str()


def test_a_test_is_reported_once(saved):
    costs(saved, a=1500, c=9000)
    result = compare(saved, "-v", "-rA", ret=1)
    result.assert_outcomes(passed=1, failed=2)
    for name in "abc":
        assert sum(test["nodeid"] == f"test_a.py::test_{name}" for test in saved.report()["tests"]) == 1
    assert len(saved.history()) == 6


def test_what_is_dearer_once_fails_nobody(saved):
    """Something of this process only (its memory layout, say): a fresh one does not show it."""
    (saved.path / "test_a.py").write_text(
        (saved.path / "test_a.py")
        .read_text()
        .replace(
            'def test_a(): cost("a")',
            "def test_a(): cost('a' if pathlib.Path('process.txt').read_text() != str(os.getpid()) else 'dear')",
        )
    )
    saved.conftest(
        'import os, pathlib\nf = pathlib.Path("process.txt")\nif f.read_text() == "": f.write_text(str(os.getpid()))\n'
    )
    (saved.path / "process.txt").write_text("")
    costs(saved, dear=1500)
    result = compare(saved, subprocess=True)
    result.assert_outcomes(passed=3)
    found = saved.tests()["test_a"]
    assert found["comparison"]["verdict"] in ("ok", "cannot tell")
    assert found["comparison"]["blocks"] >= 2
    assert found["energy"]["median"] == pytest.approx(1.5, rel=0.01)  # what was measured stays


def test_improved(saved):
    costs(saved, c=1500)
    result = compare(saved)
    assert verdicts(saved) == {"test_a": "ok", "test_b": "ok", "test_c": "improved"}
    assert "improved" in result.stdout.str()


@pytest.mark.parametrize(
    ("option", "factor", "ret"),
    [
        ("--energy-threshold=60%", 1.5, 0),
        ("--energy-threshold=0.4", 1.5, 1),
        ("--energy-fail-on=budget", 1.5, 0),
        ("--energy-fail-on=none", 1.5, 0),
        ("--energy-fail-on=regression", 1.5, 1),
        ("--energy-fail-on=budget,regression", 1.5, 1),
    ],
)
def test_what_fails_the_run(saved, option, factor, ret):
    costs(saved, a=1000 * factor)
    compare(saved, option, ret=ret)
    if "fail-on" in option:
        assert verdicts(saved)["test_a"] == "regressed"


def test_a_budget_comes_first(saved):
    costs(saved, a=1500)
    result = compare(saved, "--energy-budget=*test_a=1.2 J", ret=1)
    result.assert_outcomes(passed=2, failed=1)
    assert "over energy budget" in result.stdout.str()
    assert saved.tests()["test_a"]["budget"]["verdict"] == "over budget"


def test_the_latest_is_the_default(saved):
    costs(saved, a=1500)
    assert saved.run("--energy-save=later", "--energy-rounds=10").ret == 0
    path = baseline_file(saved, "later")
    path.write_text(re.sub(r'"created": *"[^"]*"', '"created": "2099-01-01T00:00:00+00:00"', path.read_text(), count=1))
    saved.run("--energy-rounds=10", "--energy-compare")
    assert {test["comparison"]["baseline"] for test in saved.report()["tests"]} == {"later"}
    assert verdicts(saved) == {"test_a": "ok", "test_b": "ok", "test_c": "ok"}


def test_new_and_gone_tests(saved):
    text = (saved.path / "test_a.py").read_text().replace("def test_b", "def test_d")
    (saved.path / "test_a.py").write_text(text)
    compare(saved)
    assert saved.report()["comparison"]["new"] == ["test_a.py::test_d"]
    assert saved.report()["comparison"]["gone"] == ["test_a.py::test_b"]
    assert saved.tests()["test_d"]["comparison"] is None
    # Not asked for is not gone.
    compare(saved, "-k", "test_a")
    assert saved.report()["comparison"]["gone"] == ["test_a.py::test_b"]
    compare(saved, "test_a.py::test_a")
    assert saved.report()["comparison"]["gone"] == []


# What cannot be told


def test_another_machine(saved):
    path = baseline_file(saved)
    text = path.read_text()
    cpu = json.loads(text)["machine"]["cpu"]
    folder = path.parent.parent / "0123456789ab"
    folder.mkdir()
    (folder / "main.json").write_text(text.replace(json.dumps(cpu), '"Another CPU"').replace(path.parent.name, folder.name))
    path.unlink()
    costs(saved, a=9000)
    result = compare(saved)
    assert set(verdicts(saved).values()) == {"cannot tell"}
    assert "Another CPU" in result.stdout.str()
    assert "Another CPU" in saved.tests()["test_a"]["comparison"]["why"]


def test_another_source(saved):
    costs(saved, a=9000)
    result = saved.run("--energy-compare=main", "--energy-rounds=6", "--energy-source=estimate")
    assert result.ret == 0
    assert set(verdicts(saved).values()) == {"cannot tell"}
    why = saved.tests()["test_a"]["comparison"]["why"]
    assert "rapl" in why and "estimate" in why


def test_too_few_rounds(saved):
    """What looks dearer is measured until it can be told; of the others it is said what they lack."""
    costs(saved, a=9000)
    result = saved.run("--energy-compare=main", "--energy-rounds=2")
    result.assert_outcomes(passed=2, failed=1)
    assert verdicts(saved) == {"test_a": "regressed", "test_b": "cannot tell", "test_c": "cannot tell"}
    assert saved.tests()["test_a"]["rounds"] == 2
    assert "--energy-rounds=5" in saved.tests()["test_b"]["comparison"]["why"]


def test_other_processes(saved):
    costs(saved, a=9000)
    saved.conftest(shared=True)
    compare(saved)
    assert verdicts(saved)["test_a"] == "cannot tell"
    why = saved.tests()["test_a"]["comparison"]["why"]
    assert "other processes" in why and "--energy-against" in why
    # Nor is it accepted.
    before = baseline_file(saved).read_bytes()
    compare(saved, "--energy-update")
    assert baseline_file(saved).read_bytes() == before


def test_random_examples(inner):
    inner.ini("addopts = -p no:asyncio -p no:anyio -p no:rerunfailures -p no:timeout")
    (inner.path / "pytest.ini").write_text("[pytest]\naddopts = -p no:asyncio -p no:anyio -p no:rerunfailures -p no:timeout\n")
    inner.file(
        test_a=COSTS
        + """
from hypothesis import given, settings, strategies as st

@settings(database=None, derandomize=False, max_examples=3)
@given(st.integers())
def test_random(n): cost("a")

@settings(database=None, derandomize=True, max_examples=3)
@given(st.integers())
def test_fixed(n): cost("a")
"""
    )
    costs(inner)
    assert inner.run("--energy-save=main", "--energy-rounds=8").ret == 0
    costs(inner, a=2000)
    result = inner.run("--energy-compare=main", "--energy-rounds=8")
    assert result.ret == 1
    found = verdicts(inner)
    assert found["test_random"] == "cannot tell" and found["test_fixed"] == "regressed"
    assert "random" in inner.tests()["test_random"]["comparison"]["why"]


def test_a_test_that_fails_has_no_verdict(saved):
    text = (saved.path / "test_a.py").read_text().replace('def test_b(): cost("b")', 'def test_b():\n    cost("b")\n    assert 0')
    (saved.path / "test_a.py").write_text(text)
    compare(saved, ret=1).assert_outcomes(passed=2, failed=1)
    assert saved.tests()["test_b"]["comparison"] is None


# Bad input


@pytest.mark.parametrize(
    ("mend", "says"),
    [
        (lambda text: text[: len(text) // 2], ["main.json"]),
        (lambda text: "", ["main.json"]),
        (lambda text: text.replace("pytest-joules-baseline/1", "pytest-joules-baseline/9"), ["main.json", "9"]),
        (lambda text: "[]", ["main.json"]),
    ],
    ids=["truncated", "empty", "newer", "other"],
)
def test_a_baseline_that_cannot_be_read(saved, mend, says):
    path = baseline_file(saved)
    path.write_text(mend(path.read_text()))
    (saved.path / "report.json").unlink()
    saved.refused("--energy-compare=main", says=["--energy-compare=main", *says])


def test_a_baseline_that_is_not_there(saved):
    (saved.path / "report.json").unlink()
    saved.refused("--energy-compare=mian", says=["mian", "main"])


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--energy-threshold=five"], ["--energy-threshold", "5%"]),
        (["--energy-threshold=5"], ["5%"]),
        (["--energy-threshold=-1%"], ["--energy-threshold"]),
        (["--energy-fail-on=budgets"], ["budgets", "regression"]),
        (["--energy-save=../up"], ["../up"]),
        (["--energy-save", "test_a.py"], ["test_a.py", "last"]),
        (["--energy-update"], ["--energy-compare"]),
        (["--energy-compare=main", "--energy-against=HEAD"], ["do not go together"]),
        (["--energy-against=HEAD", "--energy-changed-only"], ["do not go together"]),
    ],
)
def test_options_that_are_refused(inner, args, says):
    inner.file(test_a="def test_a(): draw(1000000)\n")
    inner.refused(*args, says=says)


# Interrupted runs


def test_stopped_at_the_first_failure(saved):
    """-x: no time is spent on measuring again, so nothing that was measured once fails."""
    text = (saved.path / "test_a.py").read_text().replace('def test_b(): cost("b")', 'def test_b():\n    cost("b")\n    assert 0')
    (saved.path / "test_a.py").write_text(text)
    costs(saved, a=1500)
    result = compare(saved, "-x", ret=1)
    result.assert_outcomes(passed=1, failed=1)
    assert verdicts_of(saved) == {"test_a": "cannot tell"}


def verdicts_of(inner):
    return {name: test["comparison"]["verdict"] for name, test in inner.tests().items() if test["comparison"]}


def test_ctrl_c(saved):
    text = (saved.path / "test_a.py").read_text().replace('def test_c(): cost("c")', "def test_c(): raise KeyboardInterrupt")
    (saved.path / "test_a.py").write_text(text)
    costs(saved, a=1500)
    compare(saved, ret=2, subprocess=True)
    found = saved.tests()
    assert found["test_a"]["outcome"] == "passed" and found["test_a"]["comparison"]["verdict"] == "cannot tell"
    assert [entry[0] for entry in saved.history()][3:5] == ["test_a.py::test_a", "test_a.py::test_b"]


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_while_suspects_wait(saved, start):
    """What is reported later is in the history at once."""
    text = (saved.path / "test_a.py").read_text()
    text = text.replace(
        'def test_c(): cost("c")', 'def test_c():\n    open("here", "w").close()\n    import time; time.sleep(60)'
    )
    (saved.path / "test_a.py").write_text(text)
    costs(saved, a=1500)
    command = ["-m", "pytest", "--energy", f"--energy-powercap={saved.powercap}", "--energy-compare=main"]
    run = start(*command, "--energy-rounds=8", cwd=saved.path)
    wait_until((saved.path / "here").exists, "coming to test_c", run)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert [(nodeid, joules) for nodeid, _, joules in saved.history()][-2] == ("test_a.py::test_a", pytest.approx(1.5, rel=0.01))


# Workers


@pytest.mark.inner_plugins("xdist")
def test_workers(saved):
    pytest.importorskip("xdist")
    costs(saved, a=1500, c=6000)
    result = compare(saved, "-n2", ret=1, subprocess=True)
    result.assert_outcomes(passed=1, failed=2)
    assert verdicts(saved) == {"test_a": "regressed", "test_b": "ok", "test_c": "regressed"}


# The ratchet


def test_update(saved):
    costs(saved, a=1500, c=2000)
    result = compare(saved, "--energy-update", "test_a.py::test_a", "test_a.py::test_b")
    said = result.stdout.str()
    assert re.search(r"loosened .*test_a\.py::test_a .*1\.00 J -> 1\.50 J \(\+50 %\)", said)
    # test_c was not named: it is still held against the old value.
    compare(saved)
    assert verdicts(saved) == {"test_a": "ok", "test_b": "ok", "test_c": "improved"}


def test_save_without_a_name(saved):
    result = saved.run("--energy-rounds=6", "--energy-save")
    assert result.ret == 0
    names = {path.stem for path in (saved.path / ".joules").glob("*/*.json")}
    assert len(names) == 2 and all(re.match(r"main|\d{4}-\d\d-\d\d", name) for name in names)


def test_an_interrupted_run_is_no_baseline(saved):
    before = baseline_file(saved).read_bytes()
    text = (saved.path / "test_a.py").read_text().replace('def test_c(): cost("c")', "def test_c(): raise KeyboardInterrupt")
    (saved.path / "test_a.py").write_text(text)
    result = saved.run("--energy-save=main", "--energy-rounds=6", subprocess=True)
    assert "no baseline was written" in result.stdout.str()
    assert baseline_file(saved).read_bytes() == before


# What sessions teach


def test_a_floor_is_learnt_from_sessions_that_differ(inner):
    """Sessions of the same code differ by up to 8 %: then 12 % is nothing."""
    inner.file(test_a=COSTS)
    for place, offset in enumerate((1.0, 0.94, 1.05, 1.08, 0.97, 0.93, 1.04, 1.0)):
        costs(inner, a=1000 * offset, b=200, c=3000)
        assert inner.run("--energy-rounds=8", *(["--energy-save=main"] if place == 7 else [])).ret == 0
    costs(inner, a=1120)
    inner.run("--energy-compare=main", "--energy-rounds=8")
    found = inner.tests()["test_a"]["comparison"]
    assert found["verdict"] != "regressed"
    assert found["sessions"] == 7 and found["floor"] > 0.12
    # What stood still all the time is judged sharply.
    costs(inner, b=220)
    inner.run("--energy-compare=main", "--energy-rounds=8")
    found = inner.tests()["test_b"]["comparison"]
    assert found["verdict"] == "regressed" and found["floor"] < 0.1


def test_a_threshold_that_noise_does_not_carry_is_held(saved):
    costs(saved, a=1020)
    said = compare(saved, "--energy-threshold=1%").stdout.str()
    assert "threshold held at 3.5 %, not 1 %" in said
    assert saved.report()["comparison"]["held"] == pytest.approx(0.035)
    assert verdicts(saved)["test_a"] == "cannot tell"
    assert "threshold held" in compare(saved, "--energy-threshold=1%", "-q").stdout.str()


def test_before_five_sessions_a_floor_is_assumed_and_said(saved):
    costs(saved, a=1070)
    compare(saved)
    found = saved.tests()["test_a"]["comparison"]
    assert found["verdict"] == "cannot tell" and found["sessions"] == 0
    assert "session" in found["why"] and "against" in found["why"]
