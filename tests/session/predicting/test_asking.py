"""``--energy-predict``: who is asked what, and what that costs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from changing_shop import edit
from foretold import TOTALS, asked, double, predict, section
from inner import Inner

from pytest_joules.code.graph import Graph
from pytest_joules.code.project import Project
from pytest_joules.predict.questions import questions_on_disk
from pytest_joules.store import open_store
from pytest_joules.store.quick_read import QuickReader

# Whom to ask what


def test_only_what_changed_is_asked_about(shop):
    result = predict(shop)
    result.assert_outcomes(passed=4)
    assert asked(shop) == {}
    assert "4 tests: 4 unchanged, 0 changed predicting took" in section(result)

    double(shop)
    result = predict(shop)
    result.assert_outcomes(passed=4)
    questions = asked(shop)
    assert questions.keys() == TOTALS
    question = questions["test_shop.py::test_total[5]"]
    assert question["changed"] == ["shop.py::total"]
    assert "range(2 * n)" in question["now"]["shop.py::total"] and "range(n)" in question["before"]["shop.py::total"]
    assert question["now"]["shop.py::<module> RATE"] == question["before"]["shop.py::<module> RATE"]
    assert question["now"].keys() == question["before"].keys()
    assert question["counts"]["shop.py::total"] == [1, 1, 6, 5, 1]
    assert (question["test"], question["parameters"]) == ("test_shop.py::test_total", "5")
    assert question["joules"] == pytest.approx(1e-3)

    said = section(result)
    assert "test_shop.py::test_total[3] expected 2.00× its last 1.00 mJ (80 % interval 1.50 mJ to 3.00 mJ): shop.total: " in said
    assert "4 tests: 2 unchanged, 2 changed (2 expected to cost more)" in said
    # Nothing was measured.
    assert len(shop.history()) == 4


def test_comments_and_layout_are_no_change(shop):
    edit(shop, "shop.py", "    result = 0\n", "    # from nothing\n    result = 0\n\n")
    assert "4 unchanged" in section(predict(shop))
    assert asked(shop) == {}


def test_a_constant_that_changed(shop):
    edit(shop, "shop.py", "RATE = 2", "RATE = 3")
    predict(shop)
    changed = {name: entry["changed"] for name, entry in asked(shop).items()}
    assert changed == {name: ["shop.py::<module> RATE"] for name in TOTALS}


def test_a_function_that_is_gone_has_no_source(shop):
    edit(shop, "shop.py", "RATE = 2\n\n", "RATE = 2\nloud = str\n")
    text = (shop.path / "shop.py").read_text()
    (shop.path / "shop.py").write_text(text[: text.index("def loud")])
    predict(shop)
    question = asked(shop)["test_shop.py::test_loud"]
    assert "shop.py::loud" in question["changed"]
    assert "shop.py::loud" in question["before"] and "shop.py::loud" not in question["now"]


def test_tests_that_others_deselect_are_not_asked_about(shop):
    double(shop)
    result = predict(shop, "-k", "3 or loud")
    result.assert_outcomes(passed=2, deselected=2)
    assert asked(shop).keys() == {"test_shop.py::test_total[3]"}
    assert "2 tests: 1 unchanged, 1 changed" in section(result)


def test_after_last_failed(shop):
    """``--lf`` selects in a wrapper of its own."""
    double(shop)
    predict(shop, "--energy-fail-on=predicted", "-k", "5").assert_outcomes(failed=1, deselected=3)
    predict(shop, "--lf").assert_outcomes(passed=1)
    assert asked(shop).keys() == {"test_shop.py::test_total[5]"}


def test_with_measuring_too(shop):
    double(shop)
    result = predict(shop, energy=True)
    result.assert_outcomes(passed=4)
    assert asked(shop).keys() == TOTALS
    tests = shop.tests()
    prediction = tests["test_total[3]"]["prediction"]
    assert prediction["model"] == "times" and prediction["state"] == "changed" and prediction["flagged"]
    assert prediction["joules"] == pytest.approx(2e-3) and prediction["interval"] == pytest.approx([1.5e-3, 3e-3])
    assert prediction["last"] == pytest.approx(1e-3) and prediction["limit"] == pytest.approx(1.05e-3)
    assert prediction["because"] == ["shop.py::total"] and prediction["why"] == "its loop runs 2x as often"
    alone = tests["test_alone"]["prediction"]
    assert (alone["model"], alone["state"], alone["flagged"]) == ("last", "unchanged", False)
    # Kept with the measurement.
    store = open_store(shop.path / ".pytest_cache/d/joules/history.db", write=False)
    try:
        kept = store.history("test_shop.py::test_total[3]")
    finally:
        store.close()
    assert [entry.get("prediction", {}).get("flagged") for entry in kept] == [True, None]
    # And now that is the last measurement.
    assert "4 unchanged" in section(predict(shop, energy=True))


def test_the_last_measurement_counts(shop):
    """Of two versions, the later one."""
    double(shop)
    shop.run("--energy-rounds=3", "-k", "3").assert_outcomes(passed=1, deselected=3)
    predict(shop)
    assert asked(shop).keys() == {"test_shop.py::test_total[5]"}


def test_only_this_machine_and_source(shop, monkeypatch):
    double(shop)
    result = shop.run("--energy-predict=times", "--energy-source=estimate")
    said = " ".join(" ".join(result.outlines).split())
    assert "energy: no predictions: the history has no measurement of these tests by this machine and estimate" in said
    monkeypatch.setattr("pytest_joules.machine.fingerprint", lambda: {"id": "another", "cpu": None, "cores": 1, "os": None})
    said = " ".join(" ".join(predict(shop).outlines).split())
    assert "energy: no predictions: the history has no measurement of these tests by this machine:" in said


def test_as_many_threads_of_one_question_as_a_command_asks(shop):
    """The part without pytest comes to the same."""
    double(shop)
    predict(shop)
    from pytest_joules import machine

    path = shop.path / ".pytest_cache/d/joules/history.db"
    store, glance = open_store(path, write=False), QuickReader(path)
    try:
        latest = store.latest(machine.fingerprint()["id"], None)
        texts = store.sources({pair for record in latest.values() for pair in record["code"]["functions"].items()})
        seen = glance.latest(machine.fingerprint()["id"], None, latest)
        assert glance.texts(list(seen.values())) == texts
        for entry in seen.values():
            entry["code"]["counts"] = dict(entry["code"]["counts"])
            entry["code"]["outside"] = dict(entry["code"]["outside"])
        assert seen == latest
        assert sys.version_info < (3, 11) or any(entry["code"]["outside"] for entry in seen.values())
        assert glance.predictings(5) == store.predictings(5) != []
    finally:
        store.close()
        glance.close()
    questions = questions_on_disk(latest, texts, Graph(Project(shop.path)))
    found = {question.facts.nodeid: dict(question.facts.sources) for question in questions}
    assert found == {nodeid: entry["now"] for nodeid, entry in asked(shop).items()}


# Where it is asked for


def test_ini(shop):
    double(shop)
    shop.ini("energy_predict = times")
    assert "2 changed" in section(shop.run(energy=False))
    shop.ini("energy_predict = false")
    assert "predicted" not in shop.run(energy=False).stdout.str()
    shop.ini("energy_predict = times", "energy_predict_only = true")
    shop.run(energy=False).assert_outcomes(passed=2, deselected=2)
    shop.run("--energy-disable", energy=False).assert_outcomes(passed=4)
    shop.ini("energy_predict = true")
    assert "there is no model yet" in shop.run(energy=False).stdout.str()


def test_collect_only(shop):
    double(shop)
    for energy in (False, True):
        result = predict(shop, "--collect-only", energy=energy)
        assert "2 changed (2 expected to cost more)" in section(result)
    assert len(shop.history()) == 4
    quiet = predict(shop, "--collect-only", "-q")
    assert "energy" not in quiet.stdout.str()


def test_json_without_measuring(shop):
    double(shop)
    predict(shop, "--energy-json=report.json").assert_outcomes(passed=4)
    tests = shop.tests()
    assert tests["test_total[3]"]["prediction"]["flagged"] and tests["test_total[3]"]["outcome"] == "passed"
    assert not tests["test_total[3]"]["samples"]
    account = shop.report()["session"]["predicting"]
    assert (account["model"], account["tests"], account["changed"], account["flagged"]) == ("times", 4, 2, 2)


def test_with_changed_only(shop):
    double(shop)
    predict(shop, "--energy-changed-only", energy=True).assert_outcomes(passed=4)
    tests = shop.tests()
    assert tests["test_alone"]["cached"] is not None and tests["test_alone"]["prediction"]["outcome"] == "unknown"
    assert tests["test_total[3]"]["cached"] is None and tests["test_total[3]"]["prediction"]["flagged"]


def test_narrow_terminals_without_unicode(shop, monkeypatch):
    double(shop)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    result = predict(shop, subprocess=True)
    said = [line for line in result.outlines if "expected" in line or "interval" in line]
    assert said and all(line.isascii() and len(line) <= 40 for line in said)


# What it does not cost

LOADED = """
import json, sys
def pytest_runtestloop():
    heavy = ("numpy", "scipy", "sklearn", "sqlalchemy", "joblib", "pandas", "tabulate", "torch")
    with open(".loaded.json", "w") as file:
        json.dump([name for name in heavy if name in sys.modules], file)
"""


def loaded(inner: Inner, *args: str) -> list:
    (inner.path / ".loading").mkdir(exist_ok=True)
    (inner.path / ".loading" / "_joules_loaded.py").write_text(LOADED)
    code = "import sys, pytest; sys.path.insert(0, '.loading'); sys.exit(pytest.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "-p", "_joules_loaded", "-q", *args],
        cwd=inner.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((inner.path / ".loaded.json").read_text())


def test_what_is_imported_before_tests(shop):
    from pytest_joules.predict.choices import MODEL_FILE
    from pytest_joules.predict.model import Model
    from pytest_joules.predict.model_file import save

    save(shop.path / f".pytest_cache/d/joules/{MODEL_FILE}", Model("last"))
    assert loaded(shop, "--energy-predict") == []
    double(shop)
    assert loaded(shop, "--energy-predict") == ["numpy"]
