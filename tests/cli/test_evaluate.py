"""``joules evaluate``, as users call it."""

from __future__ import annotations

import json
from pathlib import Path

# Imported before pytester notes which modules there are, see inner.py.
import pytest
from predictor_project import HISTORY, refused, said

from pytest_joules import stats
from pytest_joules.model import Report, empty_record
from pytest_joules.predict import evaluation
from pytest_joules.store import open_store

# Evaluating


def prediction(outcome: str, measured: float, joules: float | None = 1.0, **other: object) -> dict:
    made = {
        "model": "change",
        "state": "changed",
        "joules": joules,
        "interval": None if joules is None else [joules * 0.8, joules * 1.25],
        "ratio": None,
        "last": 1.0,
        "flagged": outcome in ("hit", "false flag"),
        "threshold": 0.05,
        "measured": measured,
        "dearer": None,
        "outcome": outcome,
        "why": "",
    }
    return made | other


def judged(chance: float, *, dearer: bool | None, last: float = 1.0, **other: object) -> dict:
    """Of a version that judges as a comparison does."""
    flagged = bool(other.pop("flagged", chance > 0.9))
    words = {(True, True): "hit", (True, False): "false flag", (False, True): "missed", (False, False): "right"}
    facts = {
        "verdict": "cannot tell" if dearer is None else "regressed" if dearer else "ok",
        "noise": 0.03,
        "chance": chance,
        "at_risk": chance,
        "last": last,
        "dearer": dearer,
        "flagged": flagged,
    }
    return prediction("unknown" if dearer is None else words[flagged, dearer], 1.0, **facts, **other)


def keep(sessions: list[list[dict | None]], accounts: list[dict] | None = None) -> None:
    """A history in which each session has these predictions, each of a test of its own, and this account."""
    HISTORY.parent.mkdir(parents=True, exist_ok=True)
    store = open_store(HISTORY)
    machine = {"id": "m", "cpu": "c", "cores": 2, "os": "Linux", "python": "3.12", "virtual": False}
    for day, predictions in enumerate(sessions, 1):
        store.begin(Report(f"2026-01-{day:02}T10:20:30+00:00", machine, None, {}, []))
        for number, one in enumerate(predictions):
            record = empty_record(f"test_a.py::test_{number}")
            record.update(outcome="passed", source="rapl", provenance="measured", resolution="ok", rounds=5)
            record.update(energy=stats.summarise([1.0] * 5), prediction=one)
            store.add(record)
        if accounts is not None:
            store.add_predicting(accounts[day - 1])
    store.close()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return tmp_path


TWO_SESSIONS: list[list[dict | None]] = [
    [prediction("hit", 2.0, 2.0), prediction("hit", 2.0, 1.0), prediction("missed", 10.0), prediction("right", 1.0)],
    [
        prediction("false flag", 1.0, 2.0),
        prediction("right", 1.1),
        prediction("right", 1.0, model="last", state="unchanged"),
        prediction("unknown", 1.0, None, model="own", state="unknown"),
        None,
    ],
]


def test_evaluate_by_hand(here: Path, capsys: pytest.CaptureFixture[str]):
    keep(TWO_SESSIONS)
    given = json.loads(said(capsys, "evaluate", "--json"))
    change = given["models"]["change"]
    assert list(given["models"]) == ["change"]
    assert {name: change[name] for name in ("tests", "predicted", "hits", "missed", "false", "right", "unclear")} == {
        "tests": 6,
        "predicted": 6,
        "hits": 2,
        "missed": 1,
        "false": 1,
        "right": 2,
        "unclear": 0,
    }
    assert change["recall"] == pytest.approx(2 / 3) == change["precision"]
    assert change["false_flags"] == pytest.approx(1 / 3)
    # Inside: 2 of 2, 1 of 1, 1.1 of 1; outside: 2 of 1, 10 of 1, 1 of 2.
    assert change["coverage"] == pytest.approx(0.5)
    # |log10| of 1, 2, 10, 1, 2, 1.1; without a prediction of 2, 2, 10, 1, 1, 1.1.
    assert 10 ** change["median_error"] == pytest.approx((1.1 * 2) ** 0.5)
    assert 10 ** change["last_error"] == pytest.approx((1.1 * 2) ** 0.5)
    whole = given["all"]
    assert (whole["tests"], whole["right"], whole["unclear"], whole["predicted"]) == (8, 3, 1, 6)
    assert [(one["created"][:10], one["tests"], one["hits"]) for one in given["sessions"]] == [
        ("2026-01-01", 4, 2),
        ("2026-01-02", 4, 0),
    ]


def test_evaluate_in_a_terminal(here: Path, capsys: pytest.CaptureFixture[str]):
    keep(TWO_SESSIONS)
    out = said(capsys, "evaluate")
    assert out.startswith("8 predictions held against measurements\ndearer: 3, of which 2 were flagged and 1 missed\n")
    assert "not dearer: 4, of which 1 were flagged\ncannot be told: 1\n8 of these outcomes are an older version's" in out
    assert "nobody could say: 14 % of the tests of changed code\n" in out
    # Without chances nothing is ranked or counted in bins.
    assert "ranked" not in out and "chance" not in out
    (row,) = [line.split() for line in out.splitlines() if line.startswith("change ")]
    assert row[1:] == ["6", "67", "%", "67", "%", "33", "%", "50", "%", "1.48×", "1.48×"]
    assert "2026-01-02 10:20" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_chances_against_what_came(here: Path, capsys: pytest.CaptureFixture[str]):
    keep(
        [
            [
                *(judged(0.02, dearer=False) for _ in range(8)),
                judged(0.04, dearer=True, last=12.0),
                judged(0.3, dearer=False),
                judged(0.3, dearer=True),
                judged(1.0, dearer=True, last=2.0),
                judged(1.0, dearer=None),
                judged(0.0, dearer=True, state="unchanged", model="last", last=50.0),
                prediction("unknown", 1.0, None, state="unknown", chance=None, verdict="regressed", dearer=True, last=5.0),
            ]
        ]
    )
    given = json.loads(said(capsys, "evaluate", "--json"))
    bins = [(one["low"], one["high"], one["tests"], one["dearer"]) for one in given["calibration"]]
    assert bins == [(0.0, 0.05, 9, 1), (0.2, 0.5, 2, 1), (0.8, 1.0, 1, 1)]
    assert given["calibration"][0]["chance"] == pytest.approx((8 * 0.02 + 0.04) / 9)
    assert given["calibration"][1]["share"] == 0.5
    # 30 % of 30 J: 5 J unknown, 1 + 2 J of chance 1, and 1 J of one with a chance of 0.3.
    assert given["ranked"] == {"first": 0.3, "dearer": 4, "found": pytest.approx(3 / 4)}
    assert given["unknown"] == pytest.approx(1 / 14)
    out = said(capsys, "evaluate")
    assert "nobody could say: 7 % of the tests of changed code, 1 of them dearer\n" in out
    assert "ranked: 75 % of the 4 dearer tests within the first 30 % of the affected joules\n" in out
    assert "older version" not in out
    rows = [line.split() for line in out.splitlines() if " % to " in line]
    assert rows[0] == ["0", "%", "to", "5", "%", "9", "2", "%", "11", "%"]
    assert rows[-1] == ["80", "%", "to", "100", "%", "1", "100", "%", "100", "%"]
    assert all(len(line) <= 80 for line in out.splitlines())


def test_intervals_that_do_not_hold_and_what_it_cost(here: Path, capsys: pytest.CaptureFixture[str]):
    account = {"model": "change", "seconds": 1.0, "joules": 2.0, "saved": 5.0, "stretches": [0.5] * 6 + [1.8] * 6}
    keep([[judged(0.5, dearer=False)], [judged(0.5, dearer=False)]], [account, account])
    given = json.loads(said(capsys, "evaluate", "--json"))
    assert given["intervals"] | {"said": ""} == {"model": "change", "intervals": 24, "held": 12, "widened": 1.8, "said": ""}
    out = said(capsys, "evaluate")
    assert "\nintervals held 50 % of 24: widened 1.8 times from now on\n" in out
    assert "predicting drew 4.00 J and saved 10.0 J over the latest sessions\n" in out


@pytest.mark.parametrize("stretches", ["many", [None], [-1.0], {"a": 1}, [True]])
def test_a_damaged_account_is_left_out(stretches: object, here: Path, capsys: pytest.CaptureFixture[str]):
    keep([[judged(0.5, dearer=False)]], [{"model": "change", "seconds": 1.0, "joules": 2.0, "stretches": stretches}])
    given = json.loads(said(capsys, "evaluate", "--json"))
    assert given["accounts"] == [] and given["intervals"]["intervals"] == 0


def test_the_latest_sessions_are_shown(here: Path, capsys: pytest.CaptureFixture[str]):
    keep([[prediction("right", 1.0)] for _ in range(12)])
    given = json.loads(said(capsys, "evaluate", "--json"))
    assert [one["created"][8:10] for one in given["sessions"]] == [f"{day:02}" for day in range(3, 13)]
    assert given["all"]["tests"] == 12


@pytest.mark.parametrize("sessions", [[], [[None]], [[prediction("unknown", 1.0) | {"measured": None}]]])
def test_nothing_to_evaluate(sessions: list, here: Path, capsys: pytest.CaptureFixture[str]):
    keep(sessions)
    assert "nothing to evaluate yet" in refused(capsys, "evaluate")


def test_evaluate_without_a_history(here: Path, capsys: pytest.CaptureFixture[str]):
    assert "no history here" in refused(capsys, "evaluate")


def test_figures_without_anything_are_unknown():
    assert evaluation.figures([]) | {"tests": 0} == {
        **dict.fromkeys(("tests", "predicted", "hits", "missed", "false", "right", "unclear", "older", "intervals"), 0),
        **dict.fromkeys(("recall", "precision", "false_flags", "coverage", "median_error", "last_error"), None),
    }
