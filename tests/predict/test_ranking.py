"""The order of tests by what is at risk, and what a share of the joules is spent on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_joules.predict import ranking


def entry(state="changed", *, chance=0.5, at_risk=1.0, flagged=False, last=1.0, **facts):
    known = {"state": state, "chance": chance, "at_risk": at_risk, "flagged": flagged, "last": last, "dearer": None}
    return known | {"interval": None, "limit": None} | facts


ENTRIES = st.builds(
    entry,
    st.sampled_from(["unchanged", "changed", "new", "unknown"]),
    chance=st.none() | st.floats(0, 1),
    at_risk=st.none() | st.floats(0, 10),
    flagged=st.booleans(),
    last=st.none() | st.floats(1e-6, 10),
)


def test_the_order():
    predictions = {
        "unchanged": entry("unchanged", chance=0.0),
        "little": entry(chance=0.1, at_risk=9.0),
        "likely": entry(chance=0.6, at_risk=0.1),
        "dear": entry(chance=0.6, at_risk=0.2),
        "flagged": entry(chance=0.9, flagged=True),
        "worse": entry(chance=1.0, flagged=True),
        "unknown": entry("unknown", chance=None),
        "new": entry("new", chance=None),
        "with a chance": entry("unknown", chance=0.3),
        "also unchanged": entry("unchanged", chance=0.0),
    }
    said = ["unknown", "new", "with a chance", "worse", "flagged", "dear", "likely", "little", "unchanged", "also unchanged"]
    assert ranking.ranked(predictions) == said


@given(st.lists(ENTRIES, max_size=8), st.none() | st.floats(0.01, 1))
def test_nobody_is_left_out_unseen(entries, share):
    """What is flagged, new or unknown runs always, what is unchanged never; a share is kept but for those."""
    predictions = {str(number): one for number, one in enumerate(entries)}
    run = ranking.to_run(predictions, share)
    must = {
        name
        for name, one in predictions.items()
        if one["state"] != "unchanged" and (one["flagged"] or one["state"] in ("new", "unknown") or one["chance"] is None)
    }
    assert must <= run
    assert not any(predictions[name]["state"] == "unchanged" for name in run)
    if share is None:
        assert all(predictions[name]["chance"] >= 0.05 for name in run - must)
        left_out = [one for name, one in predictions.items() if name not in run and one["state"] != "unchanged"]
        assert not any((one["chance"] or 0) >= 0.05 for one in left_out)
    else:
        sure, others = (sum(predictions[name]["last"] or 0 for name in names) for names in (must, run - must))
        assert others <= max(share * ranking.affected(entries) - sure, 0) + 1e-6
    if share == 1:
        assert run == {name for name, one in predictions.items() if one["state"] != "unchanged"}


def test_what_does_not_fit_makes_room():
    predictions = {"a": entry(chance=0.9, last=6.0), "b": entry(chance=0.4, last=3.0), "c": entry(chance=0.1, last=1.0)}
    assert ranking.to_run(predictions, 0.4) == {"b", "c"}
    assert ranking.to_run(predictions, 0.6) == {"a"}


def test_the_likelier_for_each_joule_comes_first():
    predictions = {"dear": entry(chance=0.9, last=10.0), "cheap": entry(chance=0.5, last=1.0)}
    assert ranking.ranked(predictions) == ["cheap", "dear"]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1), st.integers(0, 3), st.booleans()), max_size=12))
def test_groups_stay_together(rows):
    """Nothing is lost; a group is one run of neighbours, placed by its best; alone, the order is the rank's."""
    items = list(enumerate(rows))

    def wide(item):
        return item[1][1] or None

    def narrow(item):
        return (item[1][1], item[1][2]) if item[1][3] else None

    ordered = ranking.in_groups(items, lambda item: (item[1][0],), [wide, narrow])
    assert sorted(ordered) == items
    for group in (wide, narrow):
        named = [found for item in ordered if (found := group(item)) is not None]
        places = {}
        for place, item in enumerate(ordered):
            if (found := group(item)) is not None:
                places.setdefault(found, []).append(place)
        assert all(found == list(range(found[0], found[-1] + 1)) for found in places.values()), named
    assert ranking.in_groups(items, lambda item: (item[1][0],), []) == sorted(items, key=lambda item: item[1][0])


def test_found_within_a_share():
    """Of 10 J the first three: the whole of the first test and half of the second, which takes 4 J."""
    found = ranking.found_within(
        0.3,
        [
            entry(chance=0.5, last=4.0, dearer=True),
            entry(chance=0.9, last=1.0, dearer=True),
            entry(chance=0.1, last=5.0, dearer=True),
            entry("unchanged", chance=0.0, last=9.0, dearer=True),
        ],
    )
    assert found == pytest.approx((1.5, 3))
    assert ranking.found_within(0.3, []) == (0.0, 0)


@pytest.mark.parametrize(("high", "limit", "reaches"), [(2.0, 1.05, True), (1.05, 1.05, False), (2.0, None, False)])
def test_reaching_beyond_the_limit(high, limit, reaches):
    assert ranking.reaches(entry(interval=[0.5, high], limit=limit)) is reaches
    assert not ranking.reaches(entry(limit=1.0))
