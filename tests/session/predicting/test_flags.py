"""What is flagged and said before tests run, and what that does to the run."""

from __future__ import annotations

import pytest
from changing_shop import edit, git
from foretold import TOTALS, double, predict, predictor, section

from pytest_joules.code.project import Project

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
    # 1 round to warm up and the 5 that were made last time.
    assert "4 tests left out save 48.0 mJ" in section(result)
    # What nobody predicted is as ever.
    assert predict(shop, "-k", "nothing").ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_what_is_not_expected_to_cost_more_is_left_out(shop):
    shop.conftest(predictor(1.0, 0.9, 1.04))
    double(shop)
    result = predict(shop, "--energy-predict-only")
    result.assert_outcomes(deselected=4)
    assert "no test is expected to cost more: none is left to run left out: 2 unchanged, 2 changed" in section(result)


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
