"""Runs with ``--energy-share=own`` beside simulated others."""

from __future__ import annotations

import json
import statistics

import pytest
from inner import Inner, sentences

from pytest_joules.companion.child import pack, unpack
from pytest_joules.judge.attributed import held
from pytest_joules.judge.case import Comparison
from pytest_joules.judge.comparing import refusal
from pytest_joules.measure.joining import joined
from pytest_joules.model import Measurement, Sample, empty_record
from pytest_joules.settings.options import Settings
from pytest_joules.stats import summarise, widened

#: 10 W idle and 20 W a CPU second, ours (this process's) and that of others, who use half a processor all the time.
SHARED = """
import time
import pytest_joules.measure.other_load as other_load
from pytest_joules.sources.base import Domain, Source

now, cpu = time.perf_counter, time.process_time
other_load._busy_seconds = lambda: cpu() + 0.5 * now()

class Plug(Source):
    name, rank, shown, edge = "plug", 200, 0.0, 0
    def open(self):
        self.domains, self.tick, self.why = (Domain("plug", counts=True),), 0.001, "known"
    def read(self):
        if (edge := int(now() * 1000)) != self.edge:
            self.edge, self.shown = edge, 20 * now() + 20 * cpu()
        return (self.shown,)
    def joules(self, before, after, seconds):
        return (after[0] - before[0] or None,)

def pytest_joules_sources(config):
    return [Plug()]
"""
BURN = """
import time
now, cpu = time.perf_counter, time.process_time

def test_burn():
    began, used = now(), cpu()
    while cpu() - used < 0.15:
        pass
    with open("truth.txt", "a") as file:
        print(10 * (now() - began) + 20 * (cpu() - used), file=file)
"""


def record(inner: Inner) -> dict:
    return json.loads((inner.path / "report.json").read_text())


def test_a_run_beside_others(inner: Inner):
    inner.conftest(SHARED)
    inner.file(test_it=BURN)
    inner.ini("energy_share = own", "energy_rounds = 6", "energy_max_time = 60")
    result = inner.run("--energy-budget=*=1J", "--energy-save=shared")
    result.assert_outcomes(passed=1)
    said = sentences(result.outlines)
    assert any("own share: this process tree's part of the counters" in line for line in said)
    assert any(line.startswith("attributed: own share") for line in said)
    assert any("attributed, so it fails only with --energy-trust-estimates" in line for line in said)
    found = record(inner)
    test = found["tests"][0]
    truth = statistics.median(map(float, (inner.path / "truth.txt").read_text().split()[-6:]))
    assert test["provenance"] == "attributed"
    assert test["energy"]["median"] == pytest.approx(truth, rel=0.05)
    assert test["energy"]["ci95"][0] < truth < test["energy"]["ci95"][1]
    assert test["net_energy"] < test["energy"]["median"]  # the idle draw stands apart
    assert found["session"]["idle_watts"] == pytest.approx(10, abs=1.5)
    assert found["settings"]["share"] == "own"
    # What is a share is not held against what is none, and no earlier one stands for a test.
    result = inner.run("--energy-share=off", "--energy-compare=shared")
    assert "its own share of a counter then (--energy-share=own), and not now" in record(inner)["tests"][0]["comparison"]["why"]
    result = inner.run("--energy-changed-only", "--energy-compare=shared")
    assert record(inner)["tests"][0]["cached"] is None
    assert record(inner)["tests"][0]["comparison"]["verdict"] == "cannot tell"
    assert any("a share of a counter depends on who else used the machine" in line for line in sentences(result.outlines))


def test_an_estimate_is_an_own_share_already(inner: Inner):
    inner.file(test_it="def test_a(): pass")
    said = sentences(inner.run("--energy-share=own", "--energy-source=estimate", "--energy-rounds=1").outlines)
    assert any(
        "--energy-share=own changes nothing: an estimate is of this process tree's CPU time already" in line for line in said
    )
    assert record(inner)["tests"][0]["provenance"] == "estimated"
    said = sentences(inner.run("--energy-share=own", "--energy-source=tsc", "--energy-rounds=1").outlines)
    assert any("--energy-share=own changes nothing: there are no joules to divide" in line for line in said)


def comparison(verdict: str, *, suspect: bool = False) -> Comparison:
    return Comparison(verdict, 1.5, (1.4, 1.6), 1e-6, "1.50×", 1.0, 1.5, None, 0, 2, suspect)  # type: ignore[arg-type]  # a verdict


def test_a_verdict_goes_no_further_than_the_intervals():
    before, above, around = (0.9, 1.1), (1.2, 2.0), (1.0, 2.0)
    assert held(comparison("regressed"), before, above, 0.05).verdict == "regressed"
    overlapping = held(comparison("regressed"), before, around, 0.05)
    assert overlapping.verdict == "cannot tell"
    assert "its own share is 1.00 J to 2.00 J now, 900 mJ to 1.10 J before" in overlapping.why
    assert held(comparison("improved"), above, before, 0.05).verdict == "improved"
    assert held(comparison("improved"), around, before, 0.05).verdict == "cannot tell"
    assert held(comparison("ok"), before, before, 0.05).verdict == "cannot tell"
    assert held(comparison("ok"), (1.0, 1.02), (1.0, 1.03), 0.05).verdict == "ok"
    assert held(comparison("ok"), (0.0, float("inf")), (1.0, 1.03), 0.05).verdict == "cannot tell"
    given_up = held(comparison("cannot tell", suspect=True), before, around, 0.05)
    assert not given_up.suspect and "its own share is" in given_up.why
    assert held(comparison("cannot tell"), before, around, 0.05).why == "1.50×"
    assert held(comparison("cannot tell", suspect=True), before, above, 0.05).suspect


def test_companions_have_the_option():
    assert unpack(pack(Settings(own_share=True))).own_share
    assert not unpack(pack(Settings())).own_share


def measured(*energies: float, factors: tuple[float, float]) -> Measurement:
    summary = widened(summarise(energies), factors)
    samples = [Sample(joules, 0.1, None, {"package-0": joules}) for joules in energies]
    return Measurement(
        "t::a", "rapl", "attributed", "ok", len(samples), 1, samples, summary, None, None, None, {"package-0": summary}
    )


def test_blocks_together_keep_what_others_may_have_drawn():
    blocks = [measured(1.0, 1.01, factors=(0.8, 1.3)).as_record(), measured(1.02, 1.0, factors=(0.7, 1.2)).as_record()]
    plain = summarise([1.0, 1.01, 1.02, 1.0])
    found = joined(blocks)
    for summary in (found["energy"], found["domains"]["package-0"]):
        assert summary["ci95"] == pytest.approx([plain["ci95"][0] * 0.7, plain["ci95"][1] * 1.3])
    assert found["provenance"] == "attributed"
    # One sample each has no interval, and so nobody knows how far it may be off.
    assert joined([measured(1.0, factors=(0.7, 1.2)).as_record()] * 2)["energy"]["ci95"] is None


def test_a_share_is_held_against_a_share():
    share = measured(1.0, 1.1, factors=(0.8, 1.3)).as_record()
    whole = {**share, "provenance": "measured"}
    assert refusal(share, share, random=False) is None
    assert "its own share of a counter now (--energy-share=own), and not then" in str(refusal(whole, share, random=False))
    assert "not measured now" in str(refusal(share, empty_record("t::a"), random=False))
