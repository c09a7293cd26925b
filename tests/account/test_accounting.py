"""Accounts: whose joules they are, that they add up, and what is said where they cannot be told."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traces import MS, function, in_turn, timeline

from pytest_joules.account.accounting import account
from pytest_joules.account.in_sequence import Body, in_sequence
from pytest_joules.account.power import Power
from pytest_joules.account.timeline import NOBODY, Lane, Part, Timeline
from pytest_joules.account.traced_round import TracedRound


def power(domain, device, watts, milliseconds=200, every=10) -> Power:
    at = np.arange(0, milliseconds + 1, every, dtype=np.int64) * MS
    return Power(domain, device, at, at / 1e9 * watts)


def joules_of(record) -> dict[str, float]:
    return {each["name"]: each["joules"] for each in record["flat"]} | {"": record["unattributed"]["joules"]}


# ---- by regression -------------------------------------------------------------------------------------------------------------


def test_a_dear_part_gets_more_than_its_time():
    traced, truth = in_turn([20, 30, 90])
    record = account([traced], 8.0, [7.9, 8.1], what="functions")
    assert record["shared_by"] == "regression" and record["why"] is None
    found = joules_of(record)
    for number, own in enumerate(truth / truth.sum() * 8.0):
        assert found[f"part {number}"] == pytest.approx(own, rel=0.01)
    assert [each["name"] for each in record["flat"]] == ["part 2", "part 1", "part 0"]
    for each in record["flat"]:
        assert each["ci95"][0] <= each["joules"] <= each["ci95"][1]
        assert each["ci95"][1] - each["ci95"][0] > 0.02 * each["joules"], "no narrower than the test's own"
        assert each["watts"] == pytest.approx(each["joules"] / each["seconds"])
    assert record["conservation"] <= 1e-9
    assert record["against_counter"] == pytest.approx(1, abs=0.01)
    assert record["similarity"]["sparser"]["8"] > 0.99 and record["similarity"]["more_runs"] is None


def test_a_sleeping_part_has_the_idle_joules_of_its_seconds():
    traced, truth = in_turn([20, 30, 0], idle=10.0, load=[1.0, 1.0, 0.0])
    record = account([traced], float(truth.sum()), None, what="functions")
    assert record["idle_watts"] == pytest.approx(10, rel=0.05)
    found = joules_of(record)
    for number, own in enumerate(truth):
        assert found[f"part {number}"] == pytest.approx(own, rel=0.03)


def test_rounds_are_pooled_and_all_is_of_one_iteration():
    rounds = [in_turn([20, 60], seed=seed) for seed in range(3)]
    truth = np.sum([each for _, each in rounds], axis=0)
    record = account([each for each, _ in rounds], 3.0, None, what="functions", iterations=2)
    found = joules_of(record)
    assert found["part 1"] == pytest.approx(3.0 * truth[1] / truth.sum(), rel=0.01)
    assert math.fsum(each["seconds"] for each in record["flat"]) == pytest.approx(1.0, rel=0.02)
    assert math.fsum(each["calls"] for each in record["flat"]) == pytest.approx(1000)
    assert record["rounds"] == 3
    assert record["similarity"]["between_runs"] > 0.99 and record["similarity"]["more_runs"] > 0.99


def test_parts_that_cannot_be_told_apart_are_one():
    traced, truth = in_turn([20, 60], seconds=1.0, event=20e-6)
    line = traced.timeline
    # part 0 is really two, always in equal halves
    parts = (*line.parts, function("twin"))
    middle = (line.begin + line.end) // 2
    first = line.part == 0
    order = np.argsort(np.concatenate([line.begin, middle[first]]))
    twins = replace(
        line,
        parts=parts,
        calls=np.array([*line.calls, first.sum()]),
        begin=np.concatenate([line.begin, middle[first]])[order],
        end=np.concatenate([np.where(first, middle, line.end), line.end[first]])[order],
        busy=np.concatenate([np.where(first, line.busy / 2, line.busy), line.busy[first] / 2])[order],
        part=np.concatenate([line.part, np.full(first.sum(), 2)])[order].astype(np.int32),
        lane=np.zeros(len(order), np.int32),
    )
    record = account([replace(traced, timeline=twins)], float(truth.sum()), None, what="functions")
    assert record["shared_by"] == "regression"
    assert len(record["flat"]) == 2
    joint = next(each for each in record["flat"] if each["same"])
    assert {joint["name"], *joint["same"]} == {"part 0", "twin"}
    assert joint["joules"] == pytest.approx(truth[0], rel=0.02)
    tree = {each["name"]: each["joules"] for each in record["tree"]}
    assert tree["twin"] == pytest.approx(tree["part 0"], rel=0.01)
    assert record["conservation"] <= 1e-9


def test_a_gap_in_the_readings_costs_no_more_than_itself():
    traced, truth = in_turn([20, 60])
    whole = traced.powers[0]
    pieces = [
        Power("package-0", "cpu", whole.at[:80], whole.joules[:80]),
        Power("package-0", "cpu", whole.at[95:], whole.joules[95:] - whole.joules[95]),
    ]
    record = account([replace(traced, powers=pieces)], float(truth.sum()), None, what="functions")
    assert joules_of(record)["part 0"] == pytest.approx(truth[0], rel=0.01)


def test_late_readings_are_longer_intervals():
    traced, truth = in_turn([20, 60])
    whole = traced.powers[0]
    kept = np.ones(len(whole.at), bool)
    kept[20:24] = kept[50:52] = kept[100:103] = False
    late = Power("package-0", "cpu", whole.at[kept], whole.joules[kept])
    record = account([replace(traced, powers=[late])], float(truth.sum()), None, what="functions")
    assert joules_of(record)["part 0"] == pytest.approx(truth[0], rel=0.01)


# ---- where the counter tells nothing -------------------------------------------------------------------------------------------

PLAIN = timeline([function("one"), function("two")], [(0, 0, 50), (1, 50, 200, 0, 0.05)])


@pytest.mark.parametrize(
    "powers, why",
    [
        ([], "no power was sampled"),
        ([power("package-0", "cpu", 20, every=50)], "4 intervals of the counter"),
        ([Power("package-0", "cpu", np.arange(20) * MS + 10**15, np.arange(20.0))], "the clocks do not fit"),
        ([power("package-0", "cpu", 0)], "counted nothing"),
    ],
)
def test_poor_data_are_shared_out_by_busy_time(powers, why):
    record = account([TracedRound(PLAIN, powers, 0, 200 * MS)], 3.0, [2.9, 3.1], what="functions")
    assert record["shared_by"] == "busy time" and why in record["why"]
    assert joules_of(record) == pytest.approx({"one": 1.5, "two": 1.5, "": 0.0})
    assert all(each["ci95"] is None for each in record["flat"]), "nothing tells how wrong it is"
    assert record["idle_watts"] is None and record["against_counter"] is None and record["similarity"] is None


def test_without_busy_time_by_seconds():
    line = replace(PLAIN, busy=np.zeros(2))
    record = account([TracedRound(line, [], 0, 400 * MS)], 4.0, None, what="functions")
    assert record["shared_by"] == "seconds"
    assert joules_of(record) == pytest.approx({"one": 0.5, "two": 1.5, "": 2.0})


def test_an_empty_timeline_is_all_unattributed():
    record = account([TracedRound(timeline([], []), [], 0, 100 * MS)], 2.0, None, what="functions")
    assert record["flat"] == [] and record["tree"] == []
    assert record["unattributed"]["joules"] == 2.0
    assert "nothing was recorded" in record["notes"][-1]


def test_work_of_nobody_is_unattributed():
    line = timeline([function("one")], [(0, 0, 50), (NOBODY, 50, 100)])
    record = account([TracedRound(line, [], 0, 100 * MS)], 2.0, None, what="functions")
    assert joules_of(record) == pytest.approx({"one": 1.0, "": 1.0})


def test_a_test_of_no_joules():
    record = account([TracedRound(PLAIN, [], 0, 200 * MS)], 0.0, None, what="functions")
    assert joules_of(record) == {"one": 0, "two": 0, "": 0}
    assert record["conservation"] == 0 and all(each["share"] == 0 for each in record["flat"])


# ---- devices -------------------------------------------------------------------------------------------------------------------

MODEL = [Part("layer.0.linear", None, "module", "forward"), Part("layer.1.linear", None, "module", "forward")]
LANES = [Lane("main"), Lane("stream 7", "gpu-0")]


def test_a_devices_joules_go_to_what_ran_there():
    line = timeline(MODEL, [(0, 0, 100, 0), (1, 100, 200, 0), (0, 0, 50, 1), (1, 50, 200, 1)], LANES)
    record = account(
        [TracedRound(line, [], 0, 200 * MS)], 10.0, None, what="modules", domains_joules={"package-0": 2.0, "gpu-0": 8.0}
    )
    found = {(each["name"], each["device"]): each["joules"] for each in record["flat"]}
    assert found == pytest.approx(
        {
            ("layer.0.linear", "cpu"): 1.0,
            ("layer.1.linear", "cpu"): 1.0,
            ("layer.0.linear", "gpu-0"): 2.0,
            ("layer.1.linear", "gpu-0"): 6.0,
        }
    )
    assert [each["joules"] for each in record["tree"]] == pytest.approx([7.0, 3.0])
    summary = {(each["name"], each["device"]): each["joules"] for each in record["summarised"]}
    assert summary == pytest.approx({("layer.*.linear", "cpu"): 2.0, ("layer.*.linear", "gpu-0"): 8.0})


def test_a_device_on_which_nothing_ran_is_unattributed():
    line = timeline(MODEL, [(0, 0, 100)])
    record = account(
        [TracedRound(line, [], 0, 100 * MS)], 10.0, None, what="modules", domains_joules={"package-0": 2.0, "gpu-0": 8.0}
    )
    assert record["unattributed"]["joules"] == pytest.approx(8.0)
    assert "nothing was recorded on gpu-0: the joules of gpu-0 are unattributed" in record["notes"]


def test_the_total_is_split_as_the_counters_were():
    line = timeline(MODEL, [(0, 0, 200, 0), (1, 0, 200, 1)], LANES)
    powers = [power("package-0", "cpu", 10), power("gpu-0", "gpu-0", 30)]
    record = account([TracedRound(line, powers, 0, 200 * MS)], 8.0, None, what="modules")
    assert joules_of(record) == pytest.approx({"layer.0.linear": 2.0, "layer.1.linear": 6.0, "": 0.0}, abs=1e-9)


def test_forward_and_backward_are_apart():
    parts = [MODEL[0], Part("layer.0.linear", None, "module", "backward")]
    record = account([TracedRound(timeline(parts, [(0, 0, 50), (1, 50, 200)]), [], 0, 200 * MS)], 4.0, None, what="modules")
    assert {each["direction"]: each["joules"] for each in record["flat"]} == pytest.approx({"forward": 1.0, "backward": 3.0})
    assert record["summarised"] == []


# ---- the tree ------------------------------------------------------------------------------------------------------------------


def test_the_tree_has_own_joules_and_those_below():
    parts = [function("top"), function("cheap", 0), function("dear", 0), function("cheap", 2)]
    line = timeline(parts, [(0, 0, 10), (1, 10, 20), (2, 20, 80), (3, 80, 100)])
    record = account([TracedRound(line, [], 0, 100 * MS)], 10.0, None, what="functions")
    (top,) = record["tree"]
    assert (top["joules"], top["own"], top["seconds"]) == pytest.approx((10.0, 1.0, 0.1))
    assert [each["name"] for each in top["children"]] == ["dear", "cheap"]
    assert top["children"][0]["joules"] == pytest.approx(8.0) and top["children"][0]["own"] == pytest.approx(6.0)
    assert joules_of(record) == pytest.approx({"top": 1.0, "dear": 6.0, "cheap": 3.0, "": 0.0})


def test_a_chain_deeper_than_pythons_limit():
    depth = 5000
    parts = [function("again", number - 1 if number else None) for number in range(depth)]
    line = timeline(parts, [(number, number, number + 1) for number in range(depth)])
    record = account([TracedRound(line, [], 0, depth * MS)], 5.0, None, what="functions")
    assert len(record["flat"]) == 1 and record["flat"][0]["joules"] == pytest.approx(5.0)
    assert record["tree"][0]["joules"] == pytest.approx(5.0)
    # It is written, and what lies too deep for that is its caller's.
    node = json.loads(json.dumps(record))["tree"][0]
    own = node["own"]
    while node["children"]:
        (node,) = node["children"]
        own += node["own"]
    assert own == pytest.approx(5.0)


# ---- what cannot be ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, words",
    [
        ({"busy": np.array([0.05, math.nan])}, "stretch 1 has a busy time that is negative or no number"),
        ({"busy": np.array([-1.0, 0.05])}, "stretch 0 has a busy time that is negative"),
        ({"begin": np.array([0, 20 * MS])}, "stretches 0 and 1 of lane 'main' overlap"),
        ({"end": np.array([50 * MS, 10 * MS])}, "stretch 1 ends before it begins"),
        ({"part": np.array([0, 7], np.int32)}, "of a part that there is not"),
        ({"lane": np.array([0, 1], np.int32)}, "on a lane that there is not"),
        ({"lane": np.array([0], np.int32)}, "one a stretch each"),
        ({"calls": np.array([1])}, "1 counts of calls for 2 parts"),
        ({"parts": (function("one", 1), function("two"))}, "parents come first"),
    ],
)
def test_a_timeline_that_contradicts_itself_is_refused(change, words):
    with pytest.raises(ValueError, match="traced round 1") as error:
        account([TracedRound(replace(PLAIN, **change), [], 0, 200 * MS)], 1.0, None, what="functions")
    assert words in str(error.value)


@pytest.mark.parametrize(
    "at, joules, words",
    [
        ([0, 1, 1], [0.0, 1.0, 2.0], "reading 2 is not later"),
        ([0, 1, 2], [0.0, 2.0, 1.0], "reading 2 is lower"),
        ([0, 1, 2], [0.0, math.inf, 1.0], "reading 1 is no finite number"),
        ([0, 1], [0.0, 1.0, 2.0], "2 times for 3 readings"),
    ],
)
def test_readings_that_no_counter_gives_are_refused(at, joules, words):
    bad = Power("package-0", "cpu", np.array(at, dtype=np.int64), np.array(joules))
    with pytest.raises(ValueError, match="power of package-0") as error:
        account([TracedRound(PLAIN, [bad], 0, 200 * MS)], 1.0, None, what="functions")
    assert words in str(error.value)


@pytest.mark.parametrize(
    "joules, ci95, more, words",
    [
        (math.nan, None, {}, "the test's joules: nan"),
        (-1.0, None, {}, "the test's joules: -1.0"),
        (1.0, [2.0, 1.0], {}, "no interval"),
        (1.0, [0.0, math.inf], {}, "no interval"),
        (1.0, None, {"iterations": 0}, "0 iterations"),
        (1.0, None, {"domains_joules": {"dram": math.inf}}, "joules of dram"),
    ],
)
def test_numbers_that_are_none_are_refused(joules, ci95, more, words):
    with pytest.raises(ValueError, match=words):
        account([TracedRound(PLAIN, [], 0, 200 * MS)], joules, ci95, what="functions", **more)


def test_an_account_needs_a_round():
    with pytest.raises(ValueError, match="at least one"):
        account([], 1.0, None, what="functions")


# ---- whatever comes ------------------------------------------------------------------------------------------------------------


@st.composite
def anything(draw):
    """A round of any parts on any lanes, with any readings."""
    count = draw(st.integers(1, 6))
    parts = [
        function(draw(st.sampled_from("abc")), draw(st.none() | st.integers(0, number - 1)) if number else None)
        for number in range(count)
    ]
    lanes = [Lane("main"), Lane("thread"), Lane("stream", "gpu-0")]
    stretches = []
    for lane in range(3):
        now = 0
        for _ in range(draw(st.integers(0, 12))):
            now += draw(st.integers(0, 5))
            length = draw(st.integers(0, 30))
            stretches.append((draw(st.integers(NOBODY, count - 1)), now, now + length, lane, draw(st.floats(0, 0.1))))
            now += length
    powers = []
    for domain, device in (("package-0", "cpu"), ("gpu-0", "gpu-0")):
        if draw(st.booleans()):
            steps = draw(st.lists(st.tuples(st.integers(1, 20), st.floats(0, 1e6)), min_size=1, max_size=30))
            at = np.cumsum([each[0] for each in steps]) * MS
            powers.append(Power(domain, device, at, np.cumsum([0.0, *(each[1] for each in steps[1:])])))
    return TracedRound(timeline(parts, stretches, lanes), powers, 0, draw(st.integers(0, 300)) * MS)


@settings(max_examples=60, deadline=None)
@given(st.lists(anything(), min_size=1, max_size=3), st.just(0.0) | st.floats(1e-12, 1e9), st.booleans())
def test_parts_and_unattributed_add_up_and_none_is_negative(rounds, joules, split):
    domains = {"package-0": joules / 4, "gpu-0": joules / 2} if split else None
    record = account(rounds, joules, [joules * 0.9, joules * 1.1], what="functions", domains_joules=domains)
    assert record["conservation"] <= 1e-9
    everything = [*record["flat"], record["unattributed"]]
    assert math.fsum(each["joules"] for each in everything) == pytest.approx(joules, rel=1e-9)
    assert math.fsum([*(each["joules"] for each in record["tree"]), record["unattributed"]["joules"]]) == pytest.approx(
        joules, rel=1e-9
    )
    for each in [*everything, *record["summarised"]]:
        assert each["joules"] >= 0 and each["seconds"] >= 0 and each["busy"] >= 0 and math.isfinite(each["joules"])
        if each["ci95"] is not None:
            assert 0 <= each["ci95"][0] <= each["joules"] <= each["ci95"][1]


# ---- short rounds --------------------------------------------------------------------------------------------------------------


def test_short_rounds_are_told_by_the_counter_too():
    """Bodies of 4 ms, of which 3 are slept; between them 6 ms of work for something else. 10 W idle, 20 W for a CPU."""
    parts = [function("works"), function("sleeps")]
    bodies, edges, watts = [], [], []
    random = np.random.default_rng(1)
    now = 0
    for _ in range(200):
        begin = now
        work = int(random.uniform(0.5, 1.5) * MS)
        line = Timeline(
            tuple(parts),
            (Lane("main"),),
            np.array([1, 1]),
            np.array([begin, begin + work]),
            np.array([begin + work, begin + work + 3 * MS]),
            np.array([work / 1e9, 0.0]),
            np.array([0, 1], np.int32),
            np.array([0, 0], np.int32),
        )
        end = begin + work + 3 * MS
        # The process's CPU clock stands still while it sleeps.
        spent = bodies[-1].cpu_ended + 6e-3 if bodies else 0.0
        bodies.append(Body(line, begin, end, spent, spent + work / 1e9))
        now = end + 6 * MS
        edges += [(begin, 30.0), (begin + work, 10.0), (end, 30.0)]
        watts.append((work / 1e9 * 30, 3e-3 * 10))
    times = np.array([time for time, _ in edges] + [now]) / 1e9
    drawn = np.concatenate([[0.0], np.cumsum(np.diff(times) * [each for _, each in edges])])
    at = np.arange(0.0, bodies[-1].end / 1e9, 0.0137)
    power = Power("package-0", "cpu", np.round(at * 1e9).astype(np.int64), np.interp(at, times, drawn))
    traced = TracedRound(in_sequence(bodies), [power], 0, bodies[-1].end, len(bodies))
    works, sleeps = np.mean(watts, axis=0)
    record = account([traced], works + sleeps, None, what="functions", seconds=4e-3)
    # Too little of the time is the test's to give its parts watts of their own: idle ones are told all the same.
    assert record["rounds"] == 200 and record["shared_by"] == "busy time"
    assert record["idle_watts"] == pytest.approx(10.0, rel=0.05)
    found = {part["name"]: part for part in record["flat"]}
    assert set(found) == {"works", "sleeps"} == {node["name"] for node in record["tree"]}
    assert found["works"]["joules"] == pytest.approx(works, rel=0.05)
    assert found["sleeps"]["joules"] == pytest.approx(sleeps, rel=0.05)
    assert found["sleeps"]["seconds"] == pytest.approx(3e-3, rel=0.01) and found["sleeps"]["calls"] == 1
    assert joules_of(record)[""] == pytest.approx(0.0, abs=1e-6)


def test_idle_watts_of_a_model():
    """An estimate has no counter to look at, and idle watts of its own: what sleeps has them."""
    line = timeline([function("works"), function("sleeps")], [(0, 0, 50), (1, 50, 150, 0, 0.0)])
    record = account(
        [TracedRound(line, [], 0, 150 * MS)],
        0.15 * 2 + 0.05 * 8,
        None,
        what="functions",
        seconds=0.15,
        domains_joules={"cpu": 0.15 * 2 + 0.05 * 8},
        idle_watts={"cpu": 2.0},
    )
    assert joules_of(record) == pytest.approx({"works": 0.5, "sleeps": 0.2, "": 0.0})
    assert record["idle_watts"] == pytest.approx(2.0) and record["shared_by"] == "busy time"
