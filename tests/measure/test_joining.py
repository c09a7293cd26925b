"""Blocks become one measurement."""

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_joules.measure.joining import joined, undisturbed
from pytest_joules.model import empty_record

SETTINGS = settings(derandomize=True, deadline=None, max_examples=60)


def block(energies, provenance="measured", resolution="ok", notes=()):
    record = empty_record("test_a.py::test_it")
    record.update(
        provenance=provenance,
        resolution=resolution,
        notes=list(notes),
        rounds=len(energies),
        domains={"package-0": None, "psys": None},
        samples=[
            {"energy": energy, "duration": 2.0, "tsc": 5.0, "domains": {"package-0": energy, "psys": None}} for energy in energies
        ],
    )
    return record


joules = st.floats(1e-6, 1e3)
blocks = st.lists(st.lists(st.one_of(st.none(), joules), min_size=1, max_size=6), min_size=1, max_size=5)


@given(blocks)
@SETTINGS
def test_all_samples_in_order(given_blocks):
    record = joined([block(energies) for energies in given_blocks])
    every = [energy for energies in given_blocks for energy in energies]
    known = [energy for energy in every if energy is not None]
    assert [sample["energy"] for sample in record["samples"]] == every
    assert record["rounds"] == len(every)
    if len(given_blocks) > 1:
        assert (record["energy"]["median"] if known else record["energy"]) == (statistics.median(known) if known else None)
        assert record["domains"]["psys"] is None
        if known:
            assert record["domains"]["package-0"]["median"] == statistics.median(known)
            assert record["power"]["median"] == pytest.approx(statistics.median(known) / 2)


def test_what_a_reader_must_know_stays():
    record = joined(
        [
            block([1.0], notes=["apportioned, ±0.5 %"], resolution="apportioned"),
            block(
                [1.0],
                provenance="shared",
                notes=["apportioned, ±0.7 %", "2 of 5 rounds gave no number"],
                resolution="apportioned",
            ),
        ]
    )
    assert record["provenance"] == "shared"
    assert record["resolution"] == "apportioned"
    assert record["notes"] == ["apportioned, ±0.5 %", "2 of 5 rounds gave no number"]
    assert joined([block([1.0]), block([None], resolution="below")])["resolution"] == "below"
    with pytest.raises(ValueError, match="no records"):
        joined([])


def test_disturbed_blocks_are_left_out_on_both_sides():
    quiet, loud = block([1.0]), block([9.0], provenance="shared")
    assert undisturbed([(quiet, quiet), (quiet, loud), (loud, quiet), (quiet, quiet)]) == [(quiet, quiet)] * 2
    # Too few are left: better all of them, and said so.
    pairs = [(quiet, quiet), (quiet, loud), (loud, loud), (loud, quiet)]
    assert undisturbed(pairs) == pairs
