"""Training without leaks, on any backend; what of a history is learned from."""

from __future__ import annotations

import builtins
import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from level_data import facts, projects, rows

from pytest_joules.collect import SCHEMA, dataset
from pytest_joules.predict.train import learning, splits
from pytest_joules.predict.train.fitting import Table, TrainingError, fit
from pytest_joules.predict.train.level import errors_of, features, held_out, train_level, without_twins
from pytest_joules.predict.train.parallel import running
from pytest_joules.predict.train.splits import by_function, by_project, folds, same_code

KINDS = ("linear", "bow", "boosted")


# Splits


def test_parametrisations_and_copies_stay_together():
    one = "    return sorted([1, 2])\n"
    tests = [
        facts("a.py::test_a[1]", one),
        facts("a.py::test_a[2]", one),
        facts("b.py::TestB::test_b", "    '''Says what.'''\n    return sorted([1, 2])  # a copy\n"),
        facts("a.py::test_c", "    return sorted([1, 3])\n"),
        facts("a.py::TestA::test_a", "    return 7\n"),
    ]
    groups = by_function(tests, [""] * 5).tolist()
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups)) == 3


def test_a_function_of_one_name_in_two_projects_is_two():
    tests = [facts("a.py::test_a", "    return 1\n"), facts("a.py::test_a", "    return 2\n")]
    assert len(set(by_function(tests, ["one", "two"]).tolist())) == 2
    copied = [facts("a.py::test_a", "    return 1\n"), facts("b.py::test_b", "    return 1\n")]
    assert len(set(by_function(copied, ["one", "two"]).tolist())) == 1


def test_a_source_that_does_not_parse_is_only_itself():
    assert same_code("def a(:") == "def a(:" != same_code("def b(:")
    assert same_code("def a(x): return x") == same_code("@mark\ndef b(x):\n  'Text.'\n  return (x)")


@given(st.lists(st.integers(0, 12), min_size=1, max_size=80), st.integers(2, 7), st.integers(0, 3))
def test_no_group_is_on_both_sides(groups, number, seed):
    numbered = by_project([str(group) for group in groups])
    fold = folds(numbered, number, seed)
    for group in set(groups):
        assert len({int(part) for part, own in zip(fold, groups, strict=True) if own == group}) == 1
    assert set(fold.tolist()) == set(range(min(number, len(set(groups)))))


def test_folds_are_about_equal():
    sizes = np.bincount(folds(np.repeat(np.arange(100), 3), 5))
    assert sizes.tolist() == [60] * 5


def test_costs_that_only_a_copy_could_tell_are_not_told():
    """Each function costs what chance gave it, and has ten parametrisations and a copy: a split by tests would score near 1."""
    chance = np.random.default_rng(0)
    tests = []
    for number in range(40):
        cost = float(chance.normal())
        body = f"    return sorted([{number}, {number * 7}])\n"
        for nodeid in (*(f"a.py::test_{number}[{one}]" for one in range(10)), f"b.py::test_copy_of_{number}"):
            made = facts(nodeid, body, helper=f"def helper():\n    return word{number}()\n")
            tests.append(dataclasses.replace(rows(1)[0], facts=made, log10={"joules": cost}))
    trained = train_level(tests, "joules", ran=False, kinds=KINDS, representations=("source",))
    assert trained.split == "function"
    assert all((trained.errors[kind].r2 or 0) < 0.1 for kind in KINDS)
    # The same model, let to look at copies of what it is asked.
    leaking = held_out(
        {"bow": Table.of(features(tests, ("source",), ran=False))},
        np.array([row.log10["joules"] for row in tests]),
        np.arange(len(tests)) % 5,
    )["bow"]
    assert (errors_of(leaking, np.array([row.log10["joules"] for row in tests])).r2 or 0) > 0.9


def test_twins_are_removed():
    one = rows(1)[0]
    copied = dataclasses.replace(one, facts=dataclasses.replace(one.facts, nodeid="tests/test_x.py::test_y"))
    other = dataclasses.replace(one, facts=dataclasses.replace(one.facts, parameters="1"))
    elsewhere = dataclasses.replace(one, project="other")
    ran = dataclasses.replace(one, facts=dataclasses.replace(one.facts, counts={}))
    assert without_twins([one, copied, other, elsewhere, ran]) == [one, other, elsewhere, ran]


# Level models


def test_what_a_function_costs_by_what_ran():
    made = rows(460)
    trained = train_level(made[:160], "joules", ran=True, kinds=KINDS)
    errors = trained.errors
    assert trained.split == "function"
    assert errors["constant"].r2 is not None and errors["constant"].r2 < 0.05
    best = errors[trained.model.regressor.kind]
    assert best.r2 is not None and best.r2 > 0.9 and best.median_error < 0.15
    assert best.coverage == pytest.approx(0.8, abs=0.1)
    new = made[160:]
    found = trained.model.predict([row.facts for row in new])
    truth = np.array([row.log10["joules"] for row in new])
    assert np.corrcoef(found.values, truth)[0, 1] > 0.95
    assert ((found.low <= truth) & (truth <= found.high)).mean() == pytest.approx(0.8, abs=0.12)


def test_without_a_run_the_calls_are_not_looked_at():
    made = features(rows(3), ("bytecode",), ran=False)
    again = features(
        [dataclasses.replace(row, facts=dataclasses.replace(row.facts, counts={})) for row in rows(3)], ("bytecode",), ran=True
    )
    assert made == again != features(rows(3), ("bytecode",), ran=True)


def test_projects_are_held_out_whole_and_twenty_tests_correct_their_offset():
    trained = train_level(projects("abcdefgh", 40), "joules", ran=True, kinds=("linear",))
    before, after = trained.errors["linear"], trained.errors["linear+20"]
    assert trained.split == "project" and trained.model.adaptation is not None
    assert after.tests == 8 * 20
    assert before.median_error > 0.2 and after.median_error < 0.08
    assert after.r2 is not None and after.r2 > 0.95


def test_training_twice_gives_the_same():
    first, second = (train_level(rows(60), "joules", ran=True, kinds=("boosted",)) for _ in range(2))
    assert first.errors == second.errors
    asked = [row.facts for row in rows(10, seed=3)]
    assert np.array_equal(first.model.predict(asked).values, second.model.predict(asked).values)


@pytest.mark.parametrize("many", [0, 19])
def test_too_few_tests(many: int):
    with pytest.raises(TrainingError, match=f"{many} tests .* too few"):
        train_level(rows(many), "joules", ran=True, kinds=KINDS)


def test_one_function_alone():
    made = [
        dataclasses.replace(row, facts=facts(f"a.py::test_a[{number}]", "    return 1\n", number))
        for number, row in enumerate(rows(30))
    ]
    with pytest.raises(TrainingError, match="parametrisations of one function"):
        train_level(made, "joules", ran=True, kinds=KINDS)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch):
    own = builtins.__import__

    def absent(name, *args, **options):
        if name.partition(".")[0] == "sklearn":
            raise ImportError(name)
        return own(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    for act in (
        lambda: train_level(rows(30), "joules", ran=True, kinds=KINDS),
        lambda: fit("linear", Table.of([{"a": 1.0}, {"a": 2.0}]), np.zeros(2)),
    ):
        with pytest.raises(TrainingError, match=r"pip install 'pytest-joules\[predict\]'"):
            act()


def test_figures_by_hand():
    # Residuals 0, 0.5, -1; truth 1, 3, 2 around 2.
    errors = errors_of(np.array([1.0, 2.5, 3.0]), np.array([1.0, 3.0, 2.0]))
    assert errors.r2 == pytest.approx(1 - 1.25 / 2) and errors.tests == 3
    assert errors.median_error == 0.5 and errors.spearman == pytest.approx(0.5)
    same = errors_of(np.zeros(3), np.zeros(3))
    assert same.r2 is None and same.spearman is None and same.median_error == 0


def test_intervals_after_adapting_hold_too():
    trained = train_level(projects([str(number) for number in range(24)], 45), "joules", ran=True, kinds=("linear",))
    adapted = trained.errors["linear+20"]
    assert adapted.coverage == pytest.approx(0.8, abs=0.08)
    new = rows(400, offset=1.5, seed=99)
    measured = [(row.facts, row.log10["joules"]) for row in new[:20]]
    found = trained.model.predict([row.facts for row in new[20:]], measured)
    truth = np.array([row.log10["joules"] for row in new[20:]])
    assert ((found.low <= truth) & (truth <= found.high)).mean() > 0.6


# A data set


def line(**other: object) -> str:
    test = {
        "kind": "test",
        "package": "one",
        "nodeid": "a.py::test_a",
        "outcome": "passed",
        "functions": [[0, 1]],
        "counts": {"0": [1, 1], "1": [7, 7]},
        "outside": {"1": {".split": [7, 900, 0]}},
        "other_calls": 12,
        "repetitions": {"duration": [0.1] * 5, "tsc": None, "energy": [1.0, 2.0, None, 3.0, 4.0, 5.0]},
    }
    return json.dumps(test | other)


FUNCTIONS = [
    json.dumps({"kind": "function", "id": number, "place": place, "hash": "h", "source": source})
    for number, (place, source) in enumerate((("a.py::test_a", "def test_a():\n    b()\n"), ("b.py::b", None)))
]


OLDER = json.dumps({"kind": "package", "schema": "pytest-joules-dataset/0"})


def test_rows_of_a_data_set(tmp_path: Path):
    (tmp_path / "records").mkdir()
    lines = [json.dumps({"kind": "package", "schema": SCHEMA}), *FUNCTIONS, line(), line(outcome="failed"), line(counts={})]
    (tmp_path / "records" / "one.jsonl").write_text("\n".join(lines) + "\n")
    (row,) = dataset.rows(tmp_path)
    assert (row.project, row.facts.nodeid, row.facts.test) == ("one", "a.py::test_a", "a.py::test_a")
    assert row.facts.sources == {"a.py::test_a": "def test_a():\n    b()\n"}
    assert row.facts.counts["b.py::b"] == [7, 7] and row.facts.outside == {"b.py::b": {".split": [7, 900, 0]}}
    # 1, 2, 3, 4, 5: what one repetition lacks is not counted as 0.
    assert row.log10 == pytest.approx({"joules": math.log10(3), "seconds": -1})


@pytest.mark.parametrize(
    "text", ["{", "[1]", "nothing", '{"kind": 7}', '{"kind": "test"}', line(functions=[[0, 9]]), "\x00", OLDER]
)
def test_what_is_no_data_set(text: str, tmp_path: Path):
    with pytest.raises(TrainingError, match=r"there is no data set in .*: make one with joules collect"):
        list(dataset.rows(tmp_path))
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "one.jsonl").write_text(text + "\n")
    with pytest.raises(TrainingError, match=r"one\.jsonl .*: collect it anew, or remove it"):
        list(dataset.rows(tmp_path))


# Backends


@pytest.mark.parametrize("backend", ["loky", "threading", pytest.param("dask", marks=pytest.mark.slow)])
def test_every_backend_finds_the_same(backend: str, monkeypatch: pytest.MonkeyPatch):
    if backend == "dask":
        pytest.importorskip("distributed", reason="dask's distributed is not installed: pip install 'pytest-joules[dask]'")
    monkeypatch.setattr("pytest_joules.predict.train.level._FEW", 0)
    made = rows(80)
    truth = np.array([row.log10["joules"] for row in made])
    tables = {"linear": Table.of(features(made, ("bytecode",), ran=True))}
    fold = splits.folds(np.arange(80), 3)
    with running(backend, 2):
        found = held_out(tables, truth, fold)["linear"]
    alone = np.empty(80)
    for number in range(3):
        inside = np.flatnonzero(fold != number)
        model = fit("linear", tables["linear"].part(inside), truth[inside])
        outside = np.flatnonzero(fold == number)
        score = model.score(tables["linear"].part(outside).entries(model.names))
        alone[outside] = np.clip(score, truth[inside].min(), truth[inside].max())
    assert np.allclose(found, alone)


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ("ray", "no backend 'ray'"),
        ("loky=1", "no backend"),
        ("dask=tcp://127.0.0.1:9", "no dask scheduler answers at tcp://127.0.0.1:9"),
    ],
)
def test_a_backend_that_is_none(backend: str, words: str, monkeypatch: pytest.MonkeyPatch):
    if "dask" in backend:
        pytest.importorskip("distributed", reason="dask's distributed is not installed: pip install 'pytest-joules[dask]'")
        monkeypatch.setattr("pytest_joules.predict.train.parallel.PATIENCE", 1)
    with pytest.raises(TrainingError, match=words), running(backend, 1):
        pass


@pytest.mark.slow
def test_a_scheduler_that_runs_is_used():
    distributed = pytest.importorskip(
        "distributed", reason="dask's distributed is not installed: pip install 'pytest-joules[dask]'"
    )
    import joblib

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with distributed.Client(cluster) as client:
            workers = set(client.run(os.getpid).values())
        with running(f"dask={cluster.scheduler_address}", -1):
            did = set(joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(9)))
    assert did <= workers and os.getpid() not in did


# Out of a history


def version(nodeid: str, session: int, joules: float | None, fingerprint: str = "f", **other: object) -> dict:
    functions = {"a.py::test_a": "1", "<python>": "3"}
    entry = {
        "nodeid": nodeid,
        "created": f"2026-01-{session + 1:02}T00:00:00+00:00",
        "session": session,
        "machine_id": "here",
        "source": "rapl",
        "provenance": "measured",
        "joules": joules,
        "seconds": 0.1,
        "tsc": None,
        "code": {"fingerprint": fingerprint, "functions": functions, "unknown": [], "counts": {"a.py::test_a": [1, 1]}},
    }
    return entry | other


def texts(pairs) -> dict:
    return dict.fromkeys(pairs, "def test_a():\n    return 1\n")


def test_one_row_a_test_with_the_code_it_had_last():
    versions = [
        version("a.py::test_a", 0, 5.0, "old"),
        *(version("a.py::test_a", number, joules) for number, joules in enumerate((1.0, 10.0, 100.0), 1)),
        version("a.py::test_b", 1, 0.0),
    ]
    (row,) = learning.rows(learning.history(versions, texts, "here"))
    assert row.facts.nodeid == "a.py::test_a"
    assert row.log10 == pytest.approx({"joules": 1.0, "seconds": -1.0})
    assert row.facts.sources == {"a.py::test_a": "def test_a():\n    return 1\n"}


def test_the_history_of_this_machine_and_the_source_that_measured_most():
    versions = [
        version("a.py::test_a", 0, 1.0),
        version("a.py::test_b", 0, 1.0),
        version("a.py::test_a", 1, 1.0, source="estimate"),
        version("a.py::test_a", 2, 1.0, machine_id="there", source="nvml"),
    ]
    found = learning.history(versions, texts, "here")
    assert found.facts == {"tests": 2, "sessions": 1, "machine": "here", "source": "rapl"}
    assert learning.history(versions, texts, "nowhere").machine == "there"


@pytest.mark.parametrize("versions", [[], [version("a.py::test_a", 0, None)], [version("a.py::test_a", 0, 1.0, source=None)]])
def test_a_history_of_nothing(versions: list):
    with pytest.raises(TrainingError, match="pytest --energy first"):
        learning.history(versions, texts, "here")


def test_the_measurement_before():
    versions = [
        version("a.py::test_a", 0, 1.0),
        version("a.py::test_b", 0, 1.0),
        version("a.py::test_a", 1, 10.0),
        version("a.py::test_a", 2, 100.0, "new"),
        version("a.py::test_a", 3, 1000.0, "new"),
    ]
    found = learning.history(versions, texts, "here")
    assert learning.last(found, unchanged=False) == ([0, 1, 2], [1, 2, 3], ["a.py::test_a"] * 3)
    assert learning.last(found, unchanged=True) == ([0, 2], [1, 3], ["a.py::test_a"] * 2)
