"""Cached joules together with ``--energy-compare``."""

from __future__ import annotations

import json
import time

import pytest
from changing_shop import edit, git, measure, says
from costs import COSTS
from inner import Inner

from pytest_joules import baseline as baselines

# Together with --energy-compare


def costs(monkeypatch: pytest.MonkeyPatch, **millijoules: int) -> None:
    """What the tests cost from now on: outside of the project, so their code stays the same."""
    monkeypatch.setenv("COSTS", json.dumps({"a": 1000, "b": 200, "c": 3000, **millijoules}))


def _saved(inner: Inner) -> None:
    inner.file(test_a=COSTS)
    git(inner, "init", "-q")
    assert inner.run("--energy-save=main", "--energy-rounds=10").ret == 0


@pytest.fixture
def saved(inner, begin, monkeypatch):
    """A project with a baseline."""
    costs(monkeypatch)
    begin(inner, _saved)
    return inner


def compared(inner: Inner, *args: str, ret: int = 0) -> dict:
    """Verdicts of a run that takes what it can from the history; those of tests that were not measured end with ``cached``."""
    result = inner.run("--energy-changed-only", "--energy-compare=main", "--energy-rounds=10", *args)
    assert result.ret == ret, result.stdout.str()
    return {
        name: test["comparison"]["verdict"] + (", cached" if test["cached"] is not None else "")
        for name, test in inner.tests().items()
    }


ALL_OK = {"test_a": "ok, cached", "test_b": "ok, cached", "test_c": "ok, cached"}


def test_cached_tests_are_compared_by_their_cached_joules(saved, monkeypatch):
    costs(monkeypatch, a=9000)  # nobody looks
    assert compared(saved) == ALL_OK
    assert saved.report()["comparison"]["counts"] == {"ok": 3}
    for test in saved.tests().values():
        assert test["outcome"] == "passed"
        assert f"cached: measured {test['cached'][:10]}" in test["comparison"]["why"]
        assert test["comparison"]["ratio"] == pytest.approx(1) and test["comparison"]["blocks"] == 1


def test_cached_tests_that_became_cheaper_are_improved(saved, monkeypatch):
    costs(monkeypatch, c=1500)
    assert saved.run("--energy-rounds=10").ret == 0
    costs(monkeypatch)
    assert compared(saved) == {**ALL_OK, "test_c": "improved, cached"}


@pytest.mark.parametrize("workers", [[], ["-n1", "-p", "xdist"]], ids=["alone", "a worker"])
def test_a_regression_fails_again_until_it_is_gone(saved, monkeypatch, workers):
    if workers:
        pytest.importorskip("xdist")
        # Other distributions are on the path of a worker than on that of a run inside this process.
        assert saved.run("--energy-save=main", "--energy-rounds=10", *workers).ret == 0
    costs(monkeypatch, a=1500)
    edit(saved, "test_a.py", 'def test_a(): cost("a")', "def test_a(): cost(str('a'))")
    assert compared(saved, *workers, ret=1) == {**ALL_OK, "test_a": "regressed"}
    # It failed, with joules that its code costs.
    kept = [entry for entry in saved.history() if entry[0] == "test_a.py::test_a"]
    assert kept[-1] == ("test_a.py::test_a", "passed", pytest.approx(1.5, rel=0.01))
    for _ in range(2):
        found = compared(saved, *workers, ret=1)
        assert found == {**ALL_OK, "test_a": "regressed"}
    assert saved.tests()["test_a"]["outcome"] == "failed"
    # Not compared with anything, that is what it costs.
    assert measure(saved, *workers) == set()
    assert saved.median("test_a") == pytest.approx(1.5, rel=0.01)
    costs(monkeypatch)
    assert compared(saved, *workers) == {**ALL_OK, "test_a": "ok"}
    assert compared(saved, *workers) == ALL_OK


def test_a_regression_that_nothing_was_compared_with_when_it_came(saved, monkeypatch):
    costs(monkeypatch, b=300)
    edit(saved, "test_a.py", 'def test_b(): cost("b")', "def test_b(): cost(str('b'))")
    assert measure(saved, "--energy-rounds=10") == {"test_b"}
    assert measure(saved) == set()
    assert compared(saved, ret=1) == {**ALL_OK, "test_b": "regressed"}


def test_a_test_whose_teardown_fails_while_it_waits_has_not_passed(saved, monkeypatch):
    costs(monkeypatch, a=1500)
    # The last round's, after which the next test comes: how many there are depends on how they go.
    saved.conftest(
        "import pytest\nCOMES = []\n@pytest.hookimpl(tryfirst=True)\ndef pytest_runtest_teardown(item, nextitem):\n"
        "    COMES[:] = [getattr(nextitem, 'name', None)]\n@pytest.fixture(autouse=True)\ndef broken(request):\n    yield\n"
        "    assert request.node.name != 'test_a' or COMES != ['test_b']\n"
    )
    result = saved.run("--energy-compare=main", "--energy-rounds=10", "--energy-repeat-failures=fail")
    result.assert_outcomes(passed=2, failed=1, errors=1)
    assert [entry[1] for entry in saved.history()[3:] if entry[0] == "test_a.py::test_a"] == ["error"]


def test_a_baseline_of_another_machine(saved, monkeypatch):
    (path,) = (saved.path / ".joules").glob("*/main.json")
    text = path.read_text()
    cpu = json.dumps(json.loads(text)["machine"]["cpu"])
    folder = path.parent.parent / "0123456789ab"
    folder.mkdir()
    (folder / "main.json").write_text(text.replace(cpu, '"Another CPU"').replace(path.parent.name, folder.name))
    path.unlink()
    costs(monkeypatch, a=9000)
    assert set(compared(saved).values()) == {"cannot tell, cached"}
    assert "Another CPU" in saved.tests()["test_a"]["comparison"]["why"]


def test_what_is_saved_of_cached_tests_has_the_date_of_its_measurement(saved):
    time.sleep(1.1)  # dates are of a second
    edit(saved, "test_a.py", 'def test_b(): cost("b")', 'def test_b():\n    cost("b")\n    cost("b")')
    assert measure(saved, "--energy-save=later", "--energy-rounds=10") == {"test_b"}
    (first,) = (saved.path / ".joules").glob("*/main.json")
    (second,) = (saved.path / ".joules").glob("*/later.json")
    before, now = (baselines.load(path) for path in (first, second))
    assert now.created > before.created
    assert {nodeid: test.created for nodeid, test in now.tests.items()} == {
        "test_a.py::test_a": before.created,
        "test_a.py::test_b": None,
        "test_a.py::test_c": before.created,
    }
    for name in ("a", "c"):
        then, kept = before.tests[f"test_a.py::test_{name}"], now.tests[f"test_a.py::test_{name}"]
        assert (kept.samples, kept.functions, kept.fingerprint) == (then.samples, then.functions, then.fingerprint)
        assert kept.functions


def test_cached_joules_are_not_accepted_into_a_baseline(saved, monkeypatch):
    (path,) = (saved.path / ".joules").glob("*/main.json")
    costs(monkeypatch, a=1500, c=1500)
    assert saved.run("--energy-rounds=10").ret == 0
    # What looks dearer is measured now, and that is accepted.
    found = compared(saved, "--energy-update")
    assert found["test_b"] == "ok, cached" and found["test_c"] == "improved, cached"
    medians = {nodeid: test.energy["median"] for nodeid, test in baselines.load(path).tests.items()}
    assert medians == {
        "test_a.py::test_a": pytest.approx(1.5, rel=0.01),
        "test_a.py::test_b": pytest.approx(0.2, rel=0.01),
        "test_a.py::test_c": pytest.approx(3.0, rel=0.01),
    }
    result = saved.run("--energy-changed-only", "--energy-compare=main", "--energy-update", "--energy-rounds=10")
    assert says(result, "cached 3 that were not measured in this run")
