"""``--energy-predict``: who is asked what, what is flagged and said before tests run, and what that does to the run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from inner import Inner
from test_changed_only import edit, git

import pytest_joules.predict.outcomes
import pytest_joules.predict.questions
import pytest_joules.predict.trusted
import pytest_joules.report.prediction
import pytest_joules.session.past
import pytest_joules.session.predicting
import pytest_joules.session.spending
from pytest_joules.code.graph import Graph
from pytest_joules.code.project import Project
from pytest_joules.predict.questions import questions_on_disk
from pytest_joules.store import open_store
from pytest_joules.store.quick_read import Glance

assert pytest_joules

#: A predictor that says ``times`` as much, and writes down what it was asked.
PREDICTOR = """
import json, os

class Times:
    name = "times"
    def predict(self, questions):
        from pytest_joules.predict.protocol import Answer
        with open(os.environ.get("ASKED", ".asked.json"), "w") as file:
            json.dump([{
                "nodeid": question.facts.nodeid, "changed": question.changed, "now": dict(question.facts.sources),
                "counts": {place: list(entry) for place, entry in question.facts.counts.items()},
                "test": question.facts.test, "parameters": question.facts.parameters,
                "before": question.before and dict(question.before.sources),
                "joules": question.before and question.before.joules,
            } for question in questions], file)
        return [self.answer(question) for question in questions]
    def answer(self, question):
        from pytest_joules.predict.protocol import Answer
        if question.before is None:
            return Answer(None, None, why="never measured")
        last = question.before.joules
        places = tuple(key for key in question.changed if "::" in key)
        return Answer({times} * last, ({low} * last, {high} * last), places, {why!r})

def pytest_joules_predictors(config):
    return [Times()]
"""

CODE = '''
"""A shop."""
RATE = 2

def total(n):
    result = 0
    for i in range(n):
        result += i * RATE
    return result

def loud(n):
    return "!" * n
'''

TESTS = """
import shop

@pytest.mark.parametrize("n", [3, 5])
def test_total(n):
    draw(1000)
    assert shop.total(n) > 0

def test_loud():
    draw(2000)
    assert shop.loud(2)

def test_alone():
    draw(4000)
"""

TOTALS = {"test_shop.py::test_total[3]", "test_shop.py::test_total[5]"}


def predictor(times: float = 2.0, low: float = 1.5, high: float = 3.0, why: str = "its loop runs 2x as often") -> str:
    text = PREDICTOR
    for name, value in (("{times}", times), ("{low}", low), ("{high}", high), ("{why!r}", repr(why))):
        text = text.replace(name, str(value))
    return text


@pytest.fixture
def shop(inner: Inner) -> Inner:
    """A project that has been measured once."""
    (inner.path / "shop.py").write_text(CODE)
    inner.file(test_shop=TESTS)
    inner.conftest(predictor())
    # Every test reads the counter's files; git knows that they, and what pytester writes, are none of the project's data.
    git(inner, "init", "-q")
    inner.run("--energy-rounds=3").assert_outcomes(passed=4)
    return inner


def double(inner: Inner) -> None:
    edit(inner, "shop.py", "range(n)", "range(2 * n)")


def predict(inner: Inner, *args: str, energy: bool = False, **options: bool) -> pytest.RunResult:
    (inner.path / ".asked.json").unlink(missing_ok=True)
    more = () if energy else (f"--energy-powercap={inner.powercap}",)
    return inner.run("--energy-predict=times", *more, *args, energy=energy, **options)


def asked(inner: Inner) -> dict:
    path = inner.path / ".asked.json"
    return {entry["nodeid"]: entry for entry in json.loads(path.read_text())} if path.exists() else {}


def section(result: pytest.RunResult) -> str:
    """What was said before tests ran, on one line."""
    lines = result.outlines
    begin = next(number for number, line in enumerate(lines) if "energy: predicted" in line)
    said = []
    for line in lines[begin + 1 :]:
        if not line.strip() or line.startswith("=") or "workers [" in line:
            break
        assert len(line) <= 80
        said.append(line.strip())
    return " ".join(said)


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
    store, glance = open_store(path, write=False), Glance(path)
    try:
        latest = store.latest(machine.fingerprint()["id"], None)
        texts = store.sources({pair for record in latest.values() for pair in record["code"]["functions"].items()})
        seen = glance.latest(machine.fingerprint()["id"], None, latest)
        assert glance.texts(list(seen.values())) == texts
        for entry in seen.values():
            entry["code"]["counts"] = dict(entry["code"]["counts"])
        assert seen == latest
        assert glance.predictings(5) == store.predictings(5) != []
    finally:
        store.close()
        glance.close()
    questions = questions_on_disk(latest, texts, Graph(Project(shop.path)))
    found = {question.facts.nodeid: dict(question.facts.sources) for question in questions}
    assert found == {nodeid: entry["now"] for nodeid, entry in asked(shop).items()}


# Flags


@pytest.mark.parametrize(("low", "flagged"), [(1.06, True), (1.05, False), (1.0, False)])
def test_the_whole_interval_is_above_the_threshold(shop, low, flagged):
    shop.conftest(predictor(1.2, low, 1.3))
    double(shop)
    predict(shop, energy=True)
    assert shop.tests()["test_total[3]"]["prediction"]["flagged"] is flagged


def test_another_threshold(shop):
    double(shop)
    assert "2 changed (0 expected to cost more)" in section(predict(shop, "--energy-threshold=60%"))


def test_a_budget_below_the_interval(shop):
    shop.conftest(predictor(1.02, 1.01, 1.03))
    double(shop)
    predict(shop, "--energy-budget=*[[]3]=1.005 mJ", "--energy-budget=*[[]5]=1.2 mJ", energy=True)
    tests = shop.tests()
    assert tests["test_total[3]"]["prediction"]["flagged"] and tests["test_total[3]"]["prediction"]["limited_by"] == "budget"
    assert not tests["test_total[5]"]["prediction"]["flagged"]
    result = predict(shop)
    assert "over its budget" not in section(result)


def test_the_worst_come_first(shop):
    double(shop)
    edit(shop, "shop.py", '"!" * n', '"!" * n * 2')
    shop.conftest(
        predictor().replace("last = question.before.joules", "last = question.before.joules * len(question.facts.nodeid)")
    )
    result = predict(shop, "--energy-top=1")
    said = section(result)
    assert said.index("test_total[3]") < said.index("… and 2 more, each expected to grow by less: --energy-top=0 shows all")
    assert "test_loud" not in said
    assert "test_loud" in section(predict(shop, "--energy-top=0"))


def test_what_is_installed_has_changed(shop, monkeypatch):
    """Every test may cost something else: none is flagged out of thin air."""
    monkeypatch.setattr(Project, "distributions", lambda self: "others")
    double(shop)
    shop.conftest(predictor(1.0, 0.9, 1.1))
    result = predict(shop)
    said = section(result)
    assert "4 tests: 0 unchanged, 0 changed, 4 unknown unknown what they cost: what is installed has changed" in said
    # What changed in a function is a reason of its own.
    shop.conftest(predictor())
    assert "2 changed (2 expected to cost more), 2 unknown" in section(predict(shop))


def test_data_files_of_those_that_read_some(shop):
    (shop.path / "rates.csv").write_text("1")
    (shop.path / "reads.py").write_text("def rates():\n    return open('rates.csv').read()\n")
    (shop.path / "test_data.py").write_text("import reads\ndef test_rates(): assert reads.rates()\ndef test_none(): pass\n")
    git(shop, "add", "rates.csv")
    shop.run("test_data.py", "--energy-rounds=3", "--energy-source=estimate").assert_outcomes(passed=2)
    assert "2 tests: 2 unchanged" in section(predict(shop, "test_data.py"))
    (shop.path / "rates.csv").write_text("2")
    said = section(predict(shop, "test_data.py"))
    assert "2 tests: 1 unchanged, 0 changed, 1 unknown unknown what they cost: 1 data files have changed" in said


def test_options_and_parameters(shop):
    shop.ini("log_level = DEBUG")
    assert "4 unknown unknown what they cost: pytest's options have changed" in section(predict(shop))
    shop.ini()
    assert "4 unchanged" in section(predict(shop))
    edit(shop, "test_shop.py", "[3, 5])", '[30, 50], ids=["3", "5"])')
    said = section(predict(shop))
    assert "2 unchanged, 0 changed, 2 unknown unknown what they cost: 2 its parameters have changed" in said


def test_new_tests(shop):
    (shop.path / "test_new.py").write_text("def test_new(): pass\n")
    result = predict(shop)
    result.assert_outcomes(passed=5)
    assert "5 tests: 4 unchanged, 0 changed, 1 unknown unknown what they cost: 1 never measured" in section(result)


# Only the flagged


def test_only(shop):
    double(shop)
    (shop.path / "test_new.py").write_text("def test_new(): pass\n")
    result = predict(shop, "--energy-predict-only", "-v")
    result.assert_outcomes(passed=3, deselected=2)
    ran = {line.split(" ")[0] for line in result.outlines if " PASSED" in line}
    assert ran == TOTALS | {"test_new.py::test_new"}
    # 2 mJ and 4 mJ; without --energy a test would have run once.
    assert "2 tests left out save 6.00 mJ" in section(result)


def test_only_implies_predicting(shop):
    result = shop.run("--energy-predict-only", energy=False)
    result.assert_outcomes(passed=4)
    assert "energy: no predictions: there is no model yet: joules train makes one" in " ".join(" ".join(result.outlines).split())


def test_nothing_is_left(shop):
    result = predict(shop, "--energy-predict-only")
    result.assert_outcomes(deselected=4)
    assert result.ret == pytest.ExitCode.OK
    assert "no test is expected to cost more: none is left to run" in section(result)
    result = predict(shop, "--energy-predict-only", energy=True)
    assert result.ret == pytest.ExitCode.OK
    # 1 round to warm up and the 3 that were made last time.
    assert "4 tests left out save 32.0 mJ" in section(result)
    # What nobody predicted is as ever.
    assert predict(shop, "-k", "nothing").ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_what_is_not_expected_to_cost_more_is_left_out(shop):
    shop.conftest(predictor(1.0, 0.9, 1.1))
    double(shop)
    predict(shop, "--energy-predict-only").assert_outcomes(deselected=4)


def test_an_unknown_answer_is_run(shop):
    shop.conftest(
        predictor().replace("return Answer(2.0 * last", "return Answer(None, None, why='too far away')\n        Answer(2 * last")
    )
    double(shop)
    result = predict(shop, "--energy-predict-only")
    result.assert_outcomes(passed=2, deselected=2)
    assert "unknown what they cost: 2 too far away" in section(result)


# Failing


def test_flagged_tests_fail(shop):
    double(shop)
    result = predict(shop, "--energy-fail-on=predicted", "--junitxml=junit.xml", "-rA")
    result.assert_outcomes(passed=2, failed=2)
    said = result.stdout.str()
    assert "PREDICTED test_shop.py::test_total[3] - 2.00 mJ > 1.05 mJ: expected 2.00" in said
    assert "energy prediction" in said and "changed   shop.py::total" in said
    progress = "".join(line.split(" ")[1] for line in result.outlines if "%]" in line)
    assert progress == "JJ.."
    assert "expected 2.00× its last 1.00 mJ" in shop.junit()["test_total[3]"].find("failure").get("message")
    assert shop.junit()["test_loud"].find("failure") is None


def test_flagged_tests_fail_and_are_measured(shop):
    double(shop)
    result = predict(shop, "--energy-fail-on=predicted,budget", "-v", energy=True)
    result.assert_outcomes(passed=2, failed=2)
    assert len([line for line in result.outlines if line.startswith("test_shop.py::test_total[") and "PREDICTED" in line]) == 2
    test = shop.tests()["test_total[3]"]
    assert test["outcome"] == "failed" and test["prediction"]["failed"] and len(test["samples"]) >= 3
    # What this code costs is known all the same.
    assert {(name, outcome) for name, outcome, _ in shop.history()[4:] if "total" in name} == {
        (name, "passed") for name in TOTALS
    }
    predict(shop, "--energy-fail-on=predicted").assert_outcomes(passed=4)


def test_only_asked_for(shop):
    double(shop)
    predict(shop).assert_outcomes(passed=4)
    predict(shop, "--energy-fail-on=budget").assert_outcomes(passed=4)
    shop.ini("energy_fail_on = predicted")
    predict(shop).assert_outcomes(passed=2, failed=2)
    # Without anything to be predicted the ini file is no reason to stop.
    shop.run().assert_outcomes(passed=4)


def test_a_failure_of_its_own_stays(shop):
    double(shop)
    edit(shop, "test_shop.py", "assert shop.total(n) > 0", "assert shop.total(n) < 0")
    for energy in (False, True):
        result = predict(shop, "--energy-fail-on=predicted", energy=energy)
        result.assert_outcomes(passed=2, failed=2)
        assert "FAILED test_shop.py::test_total[3] - assert" in result.stdout.str()


def test_skipped_and_expected_failures_stay(shop):
    double(shop)
    edit(shop, "test_shop.py", "    draw(1000)\n", "    draw(1000)\n    if n == 3: pytest.skip()\n    pytest.xfail()\n")
    predict(shop, "--energy-fail-on=predicted").assert_outcomes(passed=2, skipped=1, xfailed=1)


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


# Workers


def remeasure(inner: Inner) -> None:
    """In a process of its own, which looks for distributions where the workers do."""
    inner.run("--energy-rounds=1", subprocess=True)


RANDOM = """
import random
class Random:
    name = "times"
    def predict(self, questions):
        from pytest_joules.predict.protocol import Answer
        with open(".times", "a") as file:
            file.write("asked\\n")
        return [Answer(1.0, (1.0, 2.0) if random.random() < 0.5 else (0.0, 2.0)) for _ in questions]
def pytest_joules_predictors(config):
    return [Random()]
"""


def test_workers_agree(shop):
    pytest.importorskip("xdist")
    shop.file(
        test_many="import shop\n"
        "@pytest.mark.parametrize('n', range(20))\n"
        "def test_many(n): draw(1000); assert shop.total(n) >= 0\n"
    )
    remeasure(shop)
    double(shop)
    shop.conftest(RANDOM)
    result = predict(shop, "-n2", "--energy-predict-only", subprocess=True)
    assert result.ret == pytest.ExitCode.OK
    said = result.stdout.str()
    assert said.count("energy: predicted") == 1
    # One worker asked, the others and the controller read what it was told.
    assert (shop.path / ".times").read_text() == "asked\n"
    flagged = int(section(result).partition(" changed (")[2].split(" ")[0])
    result.assert_outcomes(passed=flagged)


def test_workers_fail_and_report(shop):
    pytest.importorskip("xdist")
    remeasure(shop)
    double(shop)
    result = predict(shop, "-n2", "--energy-fail-on=predicted", energy=True, subprocess=True)
    result.assert_outcomes(passed=2, failed=2)
    assert "PREDICTED test_shop.py::test_total[3]" in result.stdout.str()
    tests = shop.tests()
    assert tests["test_total[3]"]["prediction"]["flagged"] and tests["test_total[3]"]["prediction"]["failed"]
    assert shop.report()["session"]["predicting"]["flagged"] == 2


def test_workers_with_nothing_left(shop):
    pytest.importorskip("xdist")
    remeasure(shop)
    result = predict(shop, "-n2", "--energy-predict-only", subprocess=True)
    assert result.ret == pytest.ExitCode.OK
    assert "none is left to run" in section(result)


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
    from pytest_joules.predict.model import NAME, Model
    from pytest_joules.predict.model_file import save

    save(shop.path / f".pytest_cache/d/joules/{NAME}", Model("last"))
    assert loaded(shop, "--energy-predict") == []
    double(shop)
    assert loaded(shop, "--energy-predict") == ["numpy"]
