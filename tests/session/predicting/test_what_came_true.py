"""Which predictions came true, what is kept of that, and whether predicting has paid."""

from __future__ import annotations

import json
import math

import pytest
from changing_shop import edit
from foretold import TOTALS, double, predict, predictor, section
from hypothesis import given
from hypothesis import strategies as st

from pytest_joules.model import empty_record
from pytest_joules.predict.outcomes import SESSIONS, balance, counts, hold
from pytest_joules.report.prediction import outcome
from pytest_joules.store import open_store

LIMIT = 1.05


def prediction(**facts):
    known = {"state": "changed", "flagged": False, "limit": LIMIT, "limited_by": "threshold", "measured": None, "dearer": None}
    return known | {"outcome": None} | facts


def comparison(verdict, *, ci95=(0.9, 1.1), floor=0.15, sessions=0):
    return {"verdict": verdict, "ci95": list(ci95) if ci95 is not None else None, "floor": floor, "sessions": sessions}


def measured(median, low, high, **facts):
    record = empty_record("test_a.py::test_a")
    interval = None if low is None else [low, high]
    energy = {"median": median, "ci95": interval} if median is not None else None
    return record | {"energy": energy, "provenance": "measured", "resolution": "ok", "outcome": "passed"} | facts


# Truly dearer


@pytest.mark.parametrize(
    ("verdict", "dearer"), [("regressed", True), ("ok", False), ("improved", False), ("cannot tell", None), (None, None)]
)
def test_dearer_as_a_comparison_says(verdict, dearer):
    """Whatever the measurement's own interval says."""
    told = comparison(verdict) if verdict is not None else None
    found = hold(prediction(), measured(1.1, 1.09, 1.11), told, passed=True)
    assert (found["dearer"], found["measured"]) == (dearer, 1.1)
    assert found["verdict"] == (verdict or "cannot tell")


@pytest.mark.parametrize(
    ("low", "high", "dearer"),
    [(1.06, 1.2, True), (1.04, 1.2, None), (0.9, 1.05, False), (0.9, 1.0, False), (1.05, 1.05, False), (None, None, None)],
)
def test_against_a_budget_by_the_whole_interval(low, high, dearer):
    found = hold(prediction(limited_by="budget"), measured(1.1, low, high), comparison("ok"), passed=True)
    assert found["dearer"] is dearer
    assert found["measured"] == 1.1


@pytest.mark.parametrize(
    ("flagged", "verdict", "word"),
    [(True, "regressed", "hit"), (True, "ok", "false flag"), (False, "regressed", "missed"), (False, "improved", "right")],
)
@pytest.mark.parametrize("state", ["changed", "unchanged", "new"])
def test_words(flagged, verdict, word, state):
    found = hold(prediction(flagged=flagged, state=state), measured(1.0, 1.0, 1.0), comparison(verdict), passed=True)
    assert found["outcome"] == word


def test_noise_of_rounds_and_of_sessions():
    """By hand: an interval of 10 % each way on a scale of logarithms, and a floor of 3.195 standard deviations."""
    ends = (math.exp(-0.1), math.exp(0.1))

    def noise(**facts):
        return hold(prediction(), measured(1.0, 1.0, 1.0), comparison("ok", **facts), passed=True)["noise"]

    assert noise(ci95=ends, floor=None) == pytest.approx(0.1 / 1.96)
    assert noise(ci95=ends, floor=math.expm1(3.195 * 0.03)) == pytest.approx(math.hypot(0.1 / 1.96, 0.03))
    # A learnt floor is what is left of both when the interval is taken off.
    assert noise(ci95=ends, floor=math.expm1(3.195 * 0.06 - 0.1), sessions=9) == pytest.approx(0.06)
    assert noise(ci95=None) is None


@pytest.mark.parametrize(
    ("facts", "passed"),
    [
        ({"provenance": "shared"}, True),
        ({"provenance": "unavailable", "energy": None}, True),
        ({"resolution": "below"}, True),
        ({"cached": "2026-01-01T00:00:00+00:00"}, True),
        ({"outcome": "failed"}, False),
    ],
)
def test_nothing_can_be_told(facts, passed):
    for limited_by in ("threshold", "budget"):
        entry = prediction(flagged=True, limited_by=limited_by)
        found = hold(entry, measured(2.0, 2.0, 2.0, **facts), comparison("regressed"), passed=passed)
        if limited_by == "threshold" and "resolution" in facts:
            continue  # a comparison knows that itself
        assert (found["dearer"], found["outcome"]) == (None, "unknown")


def test_without_a_limit_or_an_answer():
    assert hold(prediction(limit=None, limited_by=None), measured(2.0, 2.0, 2.0), passed=True)["outcome"] == "unknown"
    found = hold(prediction(state="unknown"), measured(2.0, 2.0, 2.0), comparison("regressed"), passed=True)
    assert (found["dearer"], found["outcome"]) == (True, "unknown")


@given(
    st.booleans(),
    st.sampled_from(["changed", "unchanged", "new", "unknown"]),
    st.tuples(*[st.floats(0, 1e6)] * 2).map(sorted),
    st.none() | st.floats(0, 1e6),
    st.tuples(
        st.sampled_from(["measured", "estimated", "shared", "unavailable"]),
        st.booleans(),
        st.sampled_from(["regressed", "ok", "improved", "cannot tell"]),
    ),
)
def test_holding_twice_changes_nothing(flagged, state, interval, limit, sound):
    provenance, passed, verdict = sound
    record = measured(interval[0], *interval, provenance=provenance)
    told = comparison(verdict)
    once = hold(prediction(flagged=flagged, state=state, limit=limit), record, told, passed=passed)
    assert hold(once, record, told, passed=passed) == once
    assert once["outcome"] in ("hit", "false flag", "missed", "right", "unknown")
    assert (once["outcome"] in ("hit", "missed")) <= (once["dearer"] is True)
    assert (once["outcome"] in ("hit", "false flag")) <= flagged


def test_counts_and_words():
    words = ["hit", "hit", "false flag", "missed", "right", "unknown", None]
    found = counts([None, *({"outcome": word} for word in words)])
    assert found == {"hit": 2, "false flag": 1, "missed": 1, "right": 1, "unknown": 1}
    assert outcome(found) == "predicted: 3 flagged, 2 truly dearer; 1 dearer test was not flagged; of 1 nothing can be told"
    assert outcome({"right": 5}) == "predicted: 0 flagged, 0 truly dearer; no other was dearer"
    assert outcome({"unknown": 2}) == "predicted: nothing can be told of the 2 tests"
    assert outcome({}) is None


# In a run


def test_every_outcome(shop):
    """The code says one thing and the counter another: both flagged tests, the dearer one and the cheaper."""
    double(shop)
    edit(shop, "test_shop.py", "    draw(1000)\n", "    draw(2000 if n == 3 else 1000)\n")
    edit(shop, "test_shop.py", "    draw(4000)\n", "    draw(6000)\n")
    # test_alone changed too, and nothing is expected of that.
    text = predictor().replace(
        "last = question.before.joules",
        "last = question.before.joules\n        if 'alone' in question.facts.nodeid: return Answer(last, (last, last))",
    )
    shop.conftest(text)
    result = predict(shop, energy=True)
    result.assert_outcomes(passed=4)
    outcomes = {name: test["prediction"]["outcome"] for name, test in shop.tests().items()}
    assert outcomes == {"test_total[3]": "hit", "test_total[5]": "false flag", "test_alone": "missed", "test_loud": "right"}
    said = " ".join(line.strip() for line in result.outlines)
    assert "predicted: 2 flagged, 1 truly dearer; 1 dearer test was not flagged" in said
    assert shop.report()["session"]["predicting"]["outcomes"] == {"hit": 1, "false flag": 1, "missed": 1, "right": 1}
    store = open_store(shop.path / ".pytest_cache/d/joules/history.db", write=False)
    try:
        assert store.history("test_shop.py::test_total[3]")[0]["prediction"]["outcome"] == "hit"
        (account,) = store.predictings(10)
    finally:
        store.close()
    assert account["outcomes"] == {"hit": 1, "false flag": 1, "missed": 1, "right": 1}
    assert account["model"] == "times" and account["seconds"] > 0


def test_an_unflagged_test_that_got_dearer_by_itself(shop):
    """Nothing in its path has changed, and yet: that was missed too."""
    shop.conftest(
        predictor() + "\nimport counter\n_draw = counter.draw\ncounter.draw = lambda amount, *more: _draw(2 * amount, *more)\n"
    )
    predict(shop, energy=True)
    found = {test["prediction"]["outcome"] for test in shop.tests().values()}
    assert found == {"missed"}


def test_over_budget_counts_as_dearer(shop):
    double(shop)
    edit(shop, "test_shop.py", "    draw(1000)\n", "    draw(3000)\n")
    predict(shop, "--energy-budget=*total*=1.02 mJ", energy=True).assert_outcomes(failed=2, passed=2)
    assert shop.tests()["test_total[3]"]["prediction"]["outcome"] == "hit"


def test_a_failed_test_tells_nothing(shop):
    double(shop)
    edit(shop, "test_shop.py", "assert shop.total(n) > 0", "draw(9000); assert shop.total(n) < 0")
    predict(shop, energy=True)
    assert shop.tests()["test_total[3]"]["prediction"]["outcome"] == "unknown"


def test_noise_between_sessions_is_no_change(shop):
    """The whole session draws 8 % more, as on another day: every interval lies above its limit, and no code got dearer."""
    double(shop)
    shop.conftest(
        predictor(1.0, 0.9, 1.04)
        + "\nimport counter\n_draw = counter.draw\ncounter.draw = lambda amount, *more: _draw(round(1.08 * amount), *more)\n"
    )
    predict(shop, energy=True)
    tests = shop.tests()
    for test in tests.values():
        entry = test["prediction"]
        assert test["energy"]["ci95"][0] > entry["limit"]
        assert (entry["verdict"], entry["dearer"], entry["outcome"]) == ("cannot tell", None, "unknown")
        # Of two sessions, what is assumed where no history tells it.
        assert entry["noise"] == pytest.approx(0.032 * math.sqrt(2), rel=0.01)
    # Beyond an interval of 4 %, and by less than it seems: 8 % less what noise may be of it.
    away = math.sqrt(math.log(1.08) ** 2 - (1.2816 * 0.032) ** 2 * 2)
    assert shop.report()["session"]["predicting"]["stretches"] == [pytest.approx(away / math.log(1.04), rel=0.01)] * 2


def test_what_came_of_it_is_kept_whatever_the_database(shop):
    """The history has a test's measurement before all have run."""
    double(shop)
    predict(shop, "--energy-store=sqlite:///other.db", energy=True)
    predict(shop, "--energy-store=sqlite:///other.db", energy=True)
    edit(shop, "shop.py", "range(2 * n)", "range(3 * n)")
    edit(shop, "test_shop.py", "draw(1000)", "draw(3000)")
    predict(shop, "--energy-store=sqlite:///other.db", energy=True)
    store = open_store(shop.path / "other.db", write=False)
    try:
        kept = {(entry["nodeid"], entry["outcome"]) for entry in store.predictions() if entry["outcome"] != "right"}
    finally:
        store.close()
    assert kept == {(nodeid, "hit") for nodeid in TOTALS}


def many_tests(shop, times):
    """Twenty tests whose code changes, and each then draws so many times as much."""
    text = f"import shop\n@pytest.mark.parametrize('n', range(20))\ndef test_many(n): draw({1000 * times}); shop.total(n)\n"
    shop.file(test_many=text)


def test_intervals_that_do_not_hold_are_widened(shop):
    """Predicted twice as dear within 5 %, they cost 3 times as much: log(1.5) / log(1.05) is more than 5 times."""
    shop.conftest(predictor(2.0, 2.0 / 1.2, 2.0 * 1.2))
    many_tests(shop, 1)
    shop.run("test_many.py", "--energy-rounds=5").assert_outcomes(passed=20)
    double(shop)
    many_tests(shop, 3)
    result = predict(shop, "test_many.py", energy=True)
    assert "widened" not in section(result)
    account = shop.report()["session"]["predicting"]
    factor = account["stretches"][0]
    assert (account["widened"], len(account["stretches"])) == (1.0, 20)
    assert factor == pytest.approx(math.log(1.5) / math.log(1.2), rel=0.05)

    edit(shop, "shop.py", "range(2 * n)", "range(3 * n)")
    result = predict(shop, "test_many.py", "--energy-json=report.json")
    assert "intervals held 0 % of 20: widened 2.2 times from now on" in section(result)
    entry = shop.tests()["test_many[3]"]["prediction"]
    assert entry["interval"] == pytest.approx([6e-3 * 1.2**-factor, 6e-3 * 1.2**factor], rel=1e-3)
    assert shop.report()["session"]["predicting"]["widened"] == pytest.approx(factor)
    # The same is said of the project.
    from pytest_joules.cli import main

    assert main(["evaluate", "--store", str(shop.path / ".pytest_cache/d/joules/history.db"), "--json"]) == 0

    # What is then measured is held against the intervals as the predictor gave them.
    many_tests(shop, 6)
    predict(shop, "test_many.py", energy=True)
    account = shop.report()["session"]["predicting"]
    assert account["widened"] == pytest.approx(factor)
    assert max(account["stretches"]) == 0.0


def test_another_predictor_is_not_widened_for_that(shop):
    shop.conftest(predictor(2.0, 1.99, 2.01))
    many_tests(shop, 1)
    shop.run("test_many.py", "--energy-rounds=5").assert_outcomes(passed=20)
    double(shop)
    many_tests(shop, 3)
    predict(shop, "test_many.py", energy=True)
    edit(shop, "shop.py", "range(2 * n)", "range(3 * n)")
    assert "widened 5 times" in section(predict(shop, "test_many.py"))
    shop.conftest(predictor(2.0, 1.99, 2.01).replace('name = "times"', 'name = "other"'))
    result = shop.run("--energy-predict=other", "test_many.py", energy=False)
    assert "20 changed" in section(result) and "widened" not in section(result)


# The balance


def account(joules, saved=0.0):
    return {"joules": joules, "saved": saved}


def test_the_balance_of_the_last_ten():
    assert balance([account(1.0, 5.0), account(2.0)]) == (3.0, 5.0)
    assert balance([account(1.0)] * SESSIONS + [account(100.0, 1000.0)]) == (10.0, 0.0)
    assert balance([account(None, 5.0)]) is None
    # What is not known on one side does not count on the other.
    assert balance([account(None, 5.0), account(1.0, 2.0)]) == (1.0, 2.0)


def negative(result):
    return "it costs more than it saves" in section(result)


def test_a_negative_balance_is_said(shop):
    assert not negative(predict(shop))  # one session is no balance
    result = predict(shop)
    said = section(result)
    assert "over the last 2 sessions predicting drew" in said
    assert (
        "and saved 0 J: it costs more than it saves (--energy-predict-only leaves out what is not expected to cost more)" in said
    )


def test_a_positive_balance_is_not(shop):
    """Tests of a hundred joules, left out."""
    shop.file(test_dear="@pytest.mark.parametrize('n', range(9))\ndef test_dear(n): draw(100_000_000)\n")
    shop.run("test_dear.py", "--energy-rounds=1", "--energy-warmup=1").assert_outcomes(passed=9)
    for _ in range(3):
        result = predict(shop, "test_dear.py", "--energy-predict-only")
        assert "9 tests left out save 900 J" in section(result)
        assert not negative(result)


def test_its_own_energy_by_the_sources_that_measure(shop):
    """A predictor that draws 7 mJ."""
    double(shop)
    shop.conftest(predictor().replace("return [self", "import counter; counter.draw(7000); return [self"))
    result = predict(shop, energy=True)
    assert "and 7.00 mJ, 88 % of one pass over these tests" in section(result)
    account = shop.report()["session"]["predicting"]
    assert account["joules"] == pytest.approx(7e-3) and account["provenance"] == "measured"
    assert account["suite"] == pytest.approx(8e-3)


def test_its_own_energy_without_measuring_is_estimated(shop):
    assert "(estimated)" in section(predict(shop))


def test_a_counter_that_did_not_move(shop):
    predict(shop, energy=True)
    account = shop.report()["session"]["predicting"]
    assert account["joules"] is None and account["provenance"] is None


def test_accounts_of_all_kinds_of_runs_are_kept(shop):
    predict(shop)
    predict(shop, energy=True)
    predict(shop, "--energy-predict-only")
    predict(shop, "--collect-only")
    store = open_store(shop.path / ".pytest_cache/d/joules/history.db", write=False)
    try:
        kept = store.predictings(10)
        assert [entry["deselected"] for entry in kept] == [4, 0, 0]
        # A session without measurements is in nobody's way.
        assert len(store.history("test_shop.py::test_alone")) == 2
    finally:
        store.close()
    assert json.dumps(kept)
