"""Tuning from end to end, on tests whose costs are known and on a machine whose power is known."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from pathlib import Path

import pytest
from simulated import Machine
from tuned import PARSED, Small, metering, seconds, write

from pytest_joules.collect import dataset
from pytest_joules.predict.train.fitting import TrainingError
from pytest_joules.predict.train.parallel import running
from pytest_joules.tune.configurations import CALLS, CONSTANT
from pytest_joules.tune.halving import Search
from pytest_joules.tune.problem import problem, sample
from pytest_joules.tune.run import TuneError, TuneSettings, tune
from pytest_joules.tune.state import State

try:
    import distributed
except ImportError:
    distributed = None

TARGETS = ("error", "bytes", "seconds", "joules")


def tuning(data: Path, state: Path, machine: Machine | None = None, told=lambda spent, what: None, **changed):
    machine = machine or Machine(look=5e-5)
    settings = TuneSettings(data, 1e6, TARGETS, state, families=(Small,))
    estimated = changed.pop("estimated", False)
    return tune(dataclasses.replace(settings, **changed), lambda: metering(machine, estimated=estimated), told)


def decided(front) -> object:
    """What was found out and decided, without the joules themselves."""
    keys = ("number", "label", "error", "bytes", "verdict", "by", "blocks")
    return front["knee"]["number"], front["folds"], [{key: point[key] for key in keys} for point in front["points"]]


def points_of(front) -> dict:
    return {point["label"]: point for point in front["points"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("state") / "state"


@pytest.fixture(scope="module")
def front(data: Path, kept: Path):
    return tuning(data, kept)


def test_the_front_of_tests_that_cost_what_they_call(front):
    points = points_of(front)
    assert front["complete"] and front["folds"] == front["held_out"] == 5 and front["provenance"] == "measured"
    assert front["points"][0]["label"] == "constant" and points["constant"]["verdict"] == "front"
    calls = points["linear calls"]
    assert calls["verdict"] == "front" and calls["error"]["median"] < 0.03 and points["constant"]["error"]["median"] > 0.3
    # Words of the test alone say nothing of its calls: dearer, larger and worse than the calls themselves.
    words = points["linear text"]
    assert words["verdict"] == "dominated" and calls["number"] in words["by"]
    assert front["knee"]["number"] == calls["number"] or calls["number"] in front["knee"]["tied"]
    assert points["trees 3x2 ast+bytecode ran"]["verdict"] != "front"


def test_moved_by_measured_tests_the_package_is_known(front):
    points = points_of(front)
    assert points["linear calls +20"]["error"]["median"] < 0.5 * points["linear calls"]["error"]["median"]


def test_joules_are_those_of_the_machine(front):
    """10 W idle and 20 W more while it works: 30 W for the time that each takes."""
    by_text = {point["configuration"]["text"]: point for point in front["points"]}
    for configuration in (CONSTANT, CALLS, PARSED, dataclasses.replace(PARSED, adapted=True)):
        point = by_text[configuration.text]
        took = seconds(configuration)
        assert point["joules"]["median"] == pytest.approx(30 * took, rel=0.01)
        assert point["net_joules"] == pytest.approx(20 * took, rel=0.02)
        assert point["seconds"]["median"] == pytest.approx(took, rel=0.01)
        assert point["blocks"] >= 10 and point["half_width"] <= 0.05


def test_a_student_is_held_against_its_teacher(front):
    numbers = {point["number"]: point["label"] for point in front["points"]}
    (lesson,) = front["distilled"]
    assert numbers[lesson["student"]].startswith("taught") and numbers[lesson["teacher"]] == "trees 3x2 ast+bytecode ran"
    assert lesson["joules"] == pytest.approx(1.1 * 4e-4 / 2e-2, rel=0.05)
    # Three small trees know little of what the counts say plainly.
    assert lesson["gain"] > 0.9 and lesson["met"]


def test_an_estimate_says_so(front, data: Path, kept: Path, tmp_path: Path):
    state = Path(shutil.copy(kept, tmp_path))
    heard: list[str] = []
    found = tuning(data, state, estimated=True, told=lambda spent, what: heard.append(what))
    # What a counter measured before is no part of it.
    assert found["provenance"] == "estimated" and any(what.startswith("block 1,") for what in heard)
    assert any("estimated by a model" in note for note in found["notes"])


@pytest.mark.parametrize("when", ["teaching", "block 4"])
def test_who_stops_it_goes_on_where_it_stopped(when: str, front, data: Path, tmp_path: Path):
    def stop(spent: float, what: str) -> None:
        if when in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuning(data, tmp_path / "state", told=stop)
    heard: list[str] = []
    found = tuning(data, tmp_path / "state", told=lambda spent, what: heard.append(what))
    assert decided(found) == decided(front)
    for point, other in zip(found["points"], front["points"], strict=True):
        # The counter ticks at other moments of the blocks.
        assert point["joules"]["median"] == pytest.approx(other["joules"]["median"], rel=1e-3)
    if when == "block 4":
        assert not any("fold" in what or "teaching" in what for what in heard)
        assert next(what for what in heard if "block" in what).startswith("block 4")


def ticking(step: float):
    """A clock that goes on by so many seconds each time somebody looks."""
    times = itertools.count()
    return lambda: round(next(times) * step * 1e9)


def test_the_budget_ends_it_with_the_best_so_far(front, data: Path, tmp_path: Path):
    state = tmp_path / "state"
    found = tuning(data, state, budget=40.0, clock=ticking(2.0))
    assert not found["complete"] and found["folds"] < 5 and {"constant", "linear calls"} <= points_of(found).keys()
    assert any("the budget ended the search" in note for note in found["notes"])
    # What was spent is spent: more of it goes on, to the same front.
    longer = tuning(data, state, budget=1e6, clock=ticking(2.0))
    assert longer["complete"] and longer["spent"] > found["spent"]
    assert decided(longer) == decided(front)


def test_a_budget_too_short_for_anything(data: Path, tmp_path: Path):
    with pytest.raises(TuneError, match="budget of 3 s ended before one configuration was tried on 80 tests"):
        tuning(data, tmp_path / "state", budget=3.0, clock=ticking(2.0))


def test_a_state_of_another_search_is_of_no_use(front, kept: Path):
    state, said = State.load(kept, "another")
    assert not state.folds and "of another data set, seed or version: the search begins anew" in said


def test_another_seed_has_the_same_knee_or_a_tie_and_a_damaged_state_is_said(front, data: Path, kept: Path, tmp_path: Path):
    (tmp_path / "state").write_bytes(kept.read_bytes()[:-40])
    other = tuning(data, tmp_path / "state", seed=5)
    assert "cannot be read" in other["notes"][0] and "begins anew" in other["notes"][0]
    assert taken(front) & taken(other)


def taken(front) -> set[str]:
    """The knee and what cannot be told from it."""
    labels = {point["number"]: point["label"] for point in front["points"]}
    return {labels[number] for number in (front["knee"]["number"], *front["knee"]["tied"])}


@pytest.mark.slow
def test_dask_and_loky_find_the_same(data: Path, tmp_path: Path):
    if distributed is None:
        pytest.skip("dask's distributed is not installed: pip install 'pytest-joules[dask]'")
    given = problem(list(dataset.rows(data)), 0)
    family, found = Small(given), {}
    for name in ("dask", "loky"):
        state = State(tmp_path / name, "")
        with running(name, 2):
            search = Search(given, state, lambda unit: family, lambda: False, lambda what: None)
            assert search.tried([CALLS, PARSED], 2, "") == [CALLS, PARSED]
        found[name] = {place: values.tolist() for place, values in state.folds.items()}
    assert found["dask"] == found["loky"] and len(found["dask"]) == 4


def test_without_counts_there_is_nothing_that_ran(tmp_path: Path):
    # Without counts a record is no row: too few are left.
    with pytest.raises(TrainingError, match="0 tests of 0 packages are too few"):
        tuning(write(tmp_path / "data", counts=False), tmp_path / "state")


def test_too_few_packages(tmp_path: Path):
    with pytest.raises(TrainingError, match="64 tests of 4 packages are too few to hold packages out"):
        tuning(write(tmp_path / "data", "abcd"), tmp_path / "state")


def test_nobody_is_judged_by_measured_tests(data: Path):
    given = problem(list(dataset.rows(data)), 3)
    assert given.measured.sum() == 5 * 8
    assert not given.measured[given.judged(given.folds)].any() and len(given.judged(given.folds)) == 5 * 8
    for batch in sample(given):
        assert {one.nodeid for one in batch.asked}.isdisjoint(one.nodeid for one, _ in batch.measured)
        assert not any(one.counts for one in batch.static().asked)
