"""What is accepted is accepted for these tests alone, and not with the values of another machine."""

import os

import pytest
from baseline_data import FACTS, MACHINE, OTHER, RAPL, around, record_of, report_of, saved

from pytest_joules import baseline as baselines
from pytest_joules.baseline import BaselineError
from pytest_joules.machine import differences
from pytest_joules.model import DISTURBED, empty_record
from pytest_joules.report import json_file


class TestReports:
    def test_a_report_is_read_as_a_baseline(self, tmp_path):
        tests = [record_of("t.py::a", *around(1.0)), record_of("t.py::b", *around(2.0), outcome="failed")]
        report = report_of(*tests)
        json_file.write(report, tmp_path / "report.json")
        assert baselines.load(tmp_path / "report.json").tests == baselines.load(saved(tmp_path, *tests)).tests

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"energy": -1.0}, "'energy' holds -1.0"),
            ({"duration": "x"}, "'duration' holds 'x'"),
        ],
    )
    def test_one_that_was_tampered_with(self, tmp_path, change, says):
        record = record_of("t.py::a", *around(1.0))
        record["samples"][0].update(change)
        json_file.write(report_of(record), tmp_path / "report.json")
        with pytest.raises(BaselineError, match=f"'t.py::a': {says}"):
            baselines.load(tmp_path / "report.json")


class TestOtherMachines:
    def test_an_estimate_by_another_model(self):
        def estimate(watts):
            why = f"model: {watts} W TDP, ±40 %; rapl not taken: no counters"
            return {"name": "estimate", "provenance": "estimated", "why": why}

        assert baselines.other_models([RAPL, estimate(65)], [RAPL, estimate(65) | {"why": "model: 65 W TDP, ±40 %"}]) == []
        assert baselines.other_models([RAPL, estimate(65)], [RAPL, estimate(15)]) == [
            "model: 65 W TDP, ±40 %, now model: 15 W TDP, ±40 %"
        ]
        assert baselines.other_models([RAPL], [{**RAPL, "why": "through another library"}]) == []

    def test_another_python_is_said_but_forbids_nothing(self, tmp_path):
        baseline = baselines.load(saved(tmp_path, record_of("t.py::a", 1.0)))
        assert baselines.remarks(baseline, MACHINE) == []
        (remark,) = baselines.remarks(baseline, {**MACHINE, "python": "CPython 3.13.0"})
        assert "CPython 3.12.1, now CPython 3.13.0" in remark
        assert differences(MACHINE, {**MACHINE, "python": "CPython 3.13.0"}) == []


class TestRatchet:
    def test_what_moved_is_said_and_the_rest_stays(self, tmp_path):
        names = ("dearer", "cheaper", "same", "gone", "failed", "beside")
        code = {"fingerprint": "f", "unknown": []}
        functions = {f"t.py::{name}": {"m.py::x": "1", f"m.py::{name}": "1"} for name in names}
        path = saved(tmp_path, *(record_of(f"t.py::{name}", *around(2.0), code=code) for name in names), functions=functions)
        before = path.read_text("utf-8").splitlines()
        changed = {**functions, "t.py::dearer": {"m.py::a_new_one": "2", "m.py::x": "1"}}
        now = report_of(
            record_of("t.py::dearer", *around(2.24), code=code),
            record_of("t.py::cheaper", *around(1.0)),
            record_of("t.py::same", *around(2.06)),
            record_of("t.py::failed", *around(9.0), outcome="failed"),
            record_of("t.py::beside", *around(9.0), provenance="shared"),
            record_of("t.py::fresh", *around(0.5)),
            empty_record("t.py::skipped") | {"outcome": "skipped"},
            created="2026-11-21T08:00:00+00:00",
            commit="ffee",
        )
        assert baselines.update(path, now, changed) == [
            "loosened   t.py::dearer  2.00 J -> 2.24 J (+12 %)",
            "tightened  t.py::cheaper  2.00 J -> 1.00 J (-50 %)",
            "new        t.py::fresh  500 mJ",
            "unchanged  1 within 5 %, which keep their values",
            "left       2 that did not pass, were measured beside others, below the resolution or not at all",
        ]
        found = baselines.load(path)
        medians = {nodeid.partition("::")[2]: round(test.energy["median"], 3) for nodeid, test in found.tests.items()}
        assert medians == {"dearer": 2.24, "cheaper": 1.0, "same": 2.0, "gone": 2.0, "failed": 2.0, "beside": 2.0, "fresh": 0.5}
        assert found.created == "2026-11-20T10:30:00+00:00" and found.commit["id"] == "1a2b3c4d5e6f"
        assert (found.tests["t.py::dearer"].created, found.tests["t.py::dearer"].commit) == ("2026-11-21T08:00:00+00:00", "ffee")
        assert found.tests["t.py::dearer"].functions == changed["t.py::dearer"]
        assert found.tests["t.py::same"].created is None
        after = path.read_text("utf-8").splitlines()
        kept = [
            line.rstrip(",") for line in before if any(f"t.py::{name}" in line for name in ("same", "gone", "failed", "beside"))
        ]
        assert len(kept) == 4
        assert all(line in [text.rstrip(",") for text in after] for line in kept), "other tests' lines stay as they were"

    def test_small_steps_do_not_creep(self, tmp_path):
        path = saved(tmp_path, record_of("t.py::a", *around(1.0)))
        kinds = []
        for step in range(1, 6):
            lines = baselines.update(path, report_of(record_of("t.py::a", *around(1.04**step))), {})
            kinds += [line.split()[0] for line in lines]
        assert kinds == ["unchanged", "loosened", "unchanged", "loosened", "unchanged"], "two steps of 4 % are said: 8 %"

    def test_nothing_to_accept_writes_nothing(self, tmp_path):
        path = saved(tmp_path, record_of("t.py::a", *around(1.0)))
        os.utime(path, (1, 1))
        baselines.update(path, report_of(record_of("t.py::a", *around(1.0)), created="2027-01-01T00:00:00+00:00"), {})
        assert path.stat().st_mtime == 1

    def test_what_was_not_measured_now_is_not_accepted(self, tmp_path):
        path = saved(tmp_path, record_of("t.py::a", *around(1.0)))
        cached = record_of("t.py::a", *around(2.0), cached="2026-01-01T00:00:00+00:00")
        assert [line.split()[0] for line in baselines.update(path, report_of(cached), {})] == ["cached"]
        below = record_of("t.py::a", *around(2.0), resolution="below")
        assert [line.split()[0] for line in baselines.update(path, report_of(below), {})] == ["left"]

    def test_what_nobody_can_tell_keeps_its_value(self, tmp_path):
        """Beside others an estimate is anything, and what the comparison cannot tell is nothing to accept."""
        names = ("busy", "undecided", "dearer", "alike")
        old = [record_of(f"t.py::{name}", *around(1.0)) for name in names]
        few = record_of("t.py::few", *around(1.0, n=3))
        noisy = record_of("t.py::noisy", *around(1.0), provenance="estimated", notes=[DISTURBED])
        path = saved(tmp_path, *old, few, noisy)

        def judged(name, joules, verdict, **other):
            return record_of(f"t.py::{name}", *around(joules), comparison={"verdict": verdict, "held": None}, **other)

        now = report_of(
            judged("busy", 0.6, "improved", provenance="estimated", notes=[DISTURBED]),
            judged("undecided", 0.6, "cannot tell"),
            judged("dearer", 1.5, "regressed"),
            judged("alike", 1.08, "ok"),  # over the level of all sessions it is no change
            judged("few", 0.9, "cannot tell"),
            judged("noisy", 0.9, "cannot tell"),
            record_of("t.py::new", *around(1.0), provenance="estimated", notes=[DISTURBED]),
        )
        assert baselines.update(path, now, {}) == [
            "loosened   t.py::dearer  1.00 J -> 1.50 J (+50 %)",
            "replaced   t.py::few  1.00 J (rapl, 3 samples) -> 900 mJ (rapl)",
            "replaced   t.py::noisy  1.00 J (rapl, beside others) -> 900 mJ (rapl)",
            "unchanged  1 within 5 %, which keep their values",
            "undecided  1 of which nothing could be told, which keep their values",
            "left       2 that did not pass, were measured beside others, below the resolution or not at all",
        ]
        medians = {nodeid: round(test.energy["median"], 2) for nodeid, test in baselines.load(path).tests.items()}
        assert medians == dict.fromkeys(("t.py::busy", "t.py::undecided", "t.py::alike"), 1.0) | {
            "t.py::dearer": 1.5,
            "t.py::few": 0.9,
            "t.py::noisy": 0.9,
        }

    def test_another_source_is_no_step(self, tmp_path):
        path = saved(tmp_path, record_of("t.py::a", *around(1.0)))
        lines = baselines.update(path, report_of(record_of("t.py::a", *around(3.0), source="perf")), {})
        assert lines == ["replaced   t.py::a  1.00 J (rapl) -> 3.00 J (perf)"]

    @pytest.mark.parametrize(
        ("machine", "says"),
        [(OTHER, "CPU: Some CPU, now Other CPU"), ({**MACHINE, "facts": {**FACTS, "turbo": "off"}}, "turbo: on, now off")],
    )
    def test_not_with_the_values_of_another_machine(self, tmp_path, machine, says):
        path = saved(tmp_path, record_of("t.py::a", *around(1.0)))
        before = path.read_bytes()
        with pytest.raises(BaselineError, match=says):
            baselines.update(path, report_of(record_of("t.py::a", *around(3.0)), machine=machine), {})
        assert path.read_bytes() == before
