"""The ring of readings: its process on trees of plain files, and what it makes of values that are known."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from powercap import RANGE, Zone, make_tree

from pytest_joules.clock import CLOCKS
from pytest_joules.model import Counters
from pytest_joules.sources import power_ring, ring_process, sampling_process
from pytest_joules.sources.base import Domain, Source
from pytest_joules.sources.estimate import Estimate
from pytest_joules.sources.power_ring import PowerRing, Readings
from pytest_joules.sources.rapl import Rapl
from pytest_joules.sources.ring_process import GAP, HEAD, SIZE, Counter, Failed


def opened(root: Path) -> Rapl:
    source = Rapl(root)
    source.open()
    return source


def written(ring: PowerRing, begin: int, more: int) -> list[Readings]:
    """Wait for so many readings from ``begin`` on."""
    until = time.monotonic() + 60
    while True:
        found = ring.readings(begin, CLOCKS.wall())
        if sum(len(each.at) for each in found) >= more:
            return found
        assert time.monotonic() < until, ring.why
        time.sleep(0.01)


# ---- the process ---------------------------------------------------------------------------------------------------------------


def test_it_counts_what_the_counters_of_the_total_count(tmp_path):
    tree = make_tree(tmp_path / "powercap", {"package-0": ["core", "dram"]})
    source = opened(tree.root)
    ring = PowerRing([source])
    with tree.running({"package-0": 40.0, "core": 10.0}):
        begin = CLOCKS.wall()
        found = written(ring, begin, 12)
    ring.close()
    source.close()
    assert ring.why == "it is closed"
    assert [(each.domain, each.device) for each in found] == [("package-0", "cpu")]
    (each,) = found
    assert all(sooner < later for sooner, later in pairwise(each.at))
    assert each.joules[0] == 0 and all(sooner <= later for sooner, later in pairwise(each.joules))
    # the file is never ahead of its clock, and what is read of it never exceeds what was written
    assert 0 < each.joules[-1] <= tree.truth["package-0"] / 1e6


def test_it_sums_over_a_wrap(tmp_path):
    tree = make_tree(tmp_path / "powercap", [Zone("package-0", energy=RANGE - 20_000)])
    source = opened(tree.root)
    ring = PowerRing([source])
    with tree.running({"package-0": 40.0}):
        found = written(ring, CLOCKS.wall(), 12)
    ring.close()
    source.close()
    assert tree.value("package-0") < RANGE - 20_000, "it has wrapped"
    (each,) = found
    assert all(sooner <= later for sooner, later in pairwise(each.joules)) and each.joules[-1] < 100


def test_it_is_nobodys_child_and_ends_when_closed(tmp_path):
    tree = make_tree(tmp_path / "powercap", {"package-0": []})
    source = opened(tree.root)
    before = psutil.Process().children(recursive=True)
    ring = PowerRing([source])
    assert psutil.Process().children(recursive=True) == before
    assert not Path(ring._process.file).exists()
    begin = CLOCKS.wall()
    assert written(ring, begin, 2)
    words = ring._process.words
    ring._process.words = memoryview(bytes(words)).cast("q")  # what it was, to be read when the memory is gone
    words.release()
    ring.close()
    ring.close()
    assert ring.readings(0, CLOCKS.wall()) == []
    source.close()


def test_it_ends_with_the_process_it_serves(tmp_path):
    tree = make_tree(tmp_path / "powercap", {"package-0": []})
    program = (
        "import sys, os; from pathlib import Path; from pytest_joules.sources.rapl import Rapl; "
        "from pytest_joules.sources.power_ring import PowerRing; s = Rapl(Path(sys.argv[1])); s.open(); r = PowerRing([s]); "
        "print(r._process.file, flush=True); os._exit(0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tree.root)], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    file = done.stdout.strip()
    until = time.monotonic() + 60
    while any(file in process.info["cmdline"] for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"]):
        assert time.monotonic() < until, "it still runs"
        time.sleep(0.05)


def test_one_that_does_not_start_has_a_reason_and_no_readings(tmp_path, monkeypatch):
    tree = make_tree(tmp_path / "powercap", {"package-0": []})
    source = opened(tree.root)
    monkeypatch.setattr(sampling_process.sys, "executable", "/nonexistent/python")
    ring = PowerRing([source])
    assert "does not start" in ring.why
    assert ring.readings(0, CLOCKS.wall()) == []
    ring.close()
    source.close()


def test_one_that_stopped_says_so(tmp_path, monkeypatch):
    tree = make_tree(tmp_path / "powercap", {"package-0": []})
    source = opened(tree.root)
    ring = PowerRing([source])
    monkeypatch.setattr(power_ring, "_STALE", -1.0)
    ring.readings(0, CLOCKS.wall())
    assert ring.why == "the process that samples the power has stopped"
    ring.close()
    source.close()


class Elsewhere(Source):
    name = "elsewhere"

    def open(self) -> None:
        self.domains = (Domain("rack", counts=True),)

    def read(self) -> Counters:
        return (1,)

    def joules(self, before: Counters, after: Counters, seconds: float) -> Counters:
        return (1.0,)


@pytest.mark.parametrize("source", [Estimate(5.0, 50.0), Elsewhere()])
def test_a_source_without_a_counter_for_others_is_named(source):
    source.open()
    ring = PowerRing([source])
    assert ring.why == f"{source.name}: no counter that another process could read"
    assert ring.readings(0, CLOCKS.wall()) == []
    ring.close()
    source.close()


# ---- what it makes of values ---------------------------------------------------------------------------------------------------


class Simulated:
    """A counter of 20 W that steps every ``tick`` nanoseconds, on a clock that each look moves on."""

    def __init__(self, monkeypatch, tick: int = 1_000_000, look: int = 5_000) -> None:
        self.now, self.tick, self.look, self.looks = 10_000, tick, look, 0
        self.fails = False
        self.extra = 0
        monkeypatch.setattr(ring_process, "_wall", self.wall)
        monkeypatch.setattr(ring_process.time, "sleep", self.sleep)
        self.words = memoryview(bytearray(8 * (1 + SIZE))).cast("q")

    def counter(self, span=None) -> Counter:
        self.span = span
        return Counter(self.read, span, 10_000.0, self.words, 1)

    def wall(self) -> int:
        self.now += 500
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += int(seconds * 1e9)

    def read(self) -> int:
        self.looks += 1
        self.now += self.look
        if self.fails:
            raise Failed
        value = self.now // self.tick * self.tick * 20 // 1_000 + self.extra
        return value % self.span if self.span else value

    def run(self, counter: Counter, seconds: float, late: int = 60_000) -> None:
        """Look whenever it is due, ``late`` nanoseconds after that."""
        until = self.now + int(seconds * 1e9)
        while self.now < until:
            self.now = max(self.now, counter.due) + late
            counter.look(10_000_000)

    def entries(self) -> list[tuple[int, int]]:
        return [(self.words[1 + HEAD + 2 * n], self.words[2 + HEAD + 2 * n]) for n in range(self.words[1])]


def test_readings_are_taken_just_after_a_step(monkeypatch):
    simulated = Simulated(monkeypatch)
    counter = simulated.counter()
    counter.learn()
    simulated.run(counter, 1.0)
    entries = simulated.entries()
    assert 80 <= len(entries) <= 125
    assert max(min(at % 1_000_000, -at % 1_000_000) for at, _ in entries) < 20_000, "within 20 µs of the step"
    assert simulated.looks < 30 * len(entries)
    (first, begin), (last, end) = entries[0], entries[-1]
    assert (end - begin) == pytest.approx((last - first) * 20e-3, rel=1e-4)


def test_a_late_look_is_a_longer_interval(monkeypatch):
    simulated = Simulated(monkeypatch)
    counter = simulated.counter()
    counter.learn()
    simulated.run(counter, 0.3)
    simulated.now += 33_300_000
    simulated.run(counter, 0.3)
    watts = [(b - a) / (later - sooner) * 1e3 for (sooner, a), (later, b) in pairwise(simulated.entries())]
    assert max(later - sooner for (sooner, _), (later, _) in pairwise(simulated.entries())) > 33_000_000
    assert all(each == pytest.approx(20, rel=0.01) for each in watts)


def test_a_slow_counter_is_found_by_sleeping(monkeypatch):
    simulated = Simulated(monkeypatch, tick=50_000_000)
    counter = simulated.counter()
    counter.learn()
    simulated.looks = 0
    simulated.run(counter, 3.0)
    entries = simulated.entries()
    assert 50 <= len(entries) <= 61
    assert max(min(at % 50_000_000, -at % 50_000_000) for at, _ in entries) < 1_500_000
    assert simulated.looks < 20 * len(entries)


def test_a_wrap_is_no_jump_and_a_jump_is_a_gap(monkeypatch):
    simulated = Simulated(monkeypatch)
    counter = simulated.counter(span=5_000_000)
    counter.learn()
    simulated.run(counter, 1.0)
    assert all(value != GAP for _, value in simulated.entries())
    simulated.span = None
    counter.span = None
    simulated.extra = 90_000_000_000
    simulated.run(counter, 0.2)
    assert [value for _, value in simulated.entries()].count(GAP) == 1


def test_a_failing_counter_leaves_a_gap_and_goes_on(monkeypatch):
    simulated = Simulated(monkeypatch)
    counter = simulated.counter()
    counter.learn()
    simulated.run(counter, 0.1)
    simulated.fails = True
    simulated.run(counter, 0.1)
    simulated.fails = False
    simulated.run(counter, 0.1)
    values = [value for _, value in simulated.entries()]
    assert values.count(GAP) == 1 and len(values) - values.index(GAP) > 5


def test_a_counter_that_stands_still_is_read_all_the_same(monkeypatch):
    simulated = Simulated(monkeypatch, tick=10**15)
    counter = simulated.counter()
    counter.learn()
    simulated.run(counter, 0.5)
    assert 30 <= len(simulated.entries()) <= 51


def test_a_file_that_comes_back_is_opened_again(tmp_path):
    file = tmp_path / "energy_uj"
    read = ring_process._file(str(file))
    with pytest.raises(Failed):
        read()
    file.write_text("17\n")
    assert read() == 17
    os.truncate(file, 0)
    with pytest.raises(Failed):
        read()
    file.write_text("18\n")
    assert read() == 18


class Words:
    """What stands for a process: its memory."""

    def __init__(self, entries: list[tuple[int, int]], written: int | None = None) -> None:
        self.words = memoryview(bytearray(8 * (1 + SIZE))).cast("q")
        self.words[0] = CLOCKS.wall()
        for place, (at, value) in enumerate(entries):
            self.words[1 + HEAD + 2 * place], self.words[2 + HEAD + 2 * place] = at, value
        self.words[1] = len(entries) if written is None else written

    def close(self) -> None:
        pass


def ring_of(tmp_path, words: Words) -> PowerRing:
    tree = make_tree(tmp_path / "powercap", {"package-0": []})
    source = opened(tree.root)
    ring = PowerRing([])
    ring._places = list(source.places())
    ring._process = words
    source.close()
    return ring


def test_pieces_end_at_gaps_and_reach_one_reading_beyond(tmp_path):
    entries = [(n * 10, n * 1_000_000) for n in range(1, 6)] + [(55, GAP)] + [(n * 10, n * 1_000_000) for n in range(6, 12)]
    found = ring_of(tmp_path, Words(entries)).readings(25, 85)
    assert [each.at for each in found] == [[20, 30, 40, 50], [60, 70, 80, 90]]
    assert [each.joules for each in found] == [[0, 1, 2, 3], [0, 1, 2, 3]]


def test_a_ring_that_went_round_has_the_newest(tmp_path):
    count = ring_process.CAPACITY
    entries = [(n * 10, n) for n in range(count)]
    words = Words(entries, written=count + 3)
    for place in range(3):
        words.words[1 + HEAD + 2 * place], words.words[2 + HEAD + 2 * place] = (count + place) * 10, count + place
    (found,) = ring_of(tmp_path, words).readings(0, 10**9)
    assert found.at[-1] == (count + 2) * 10 and all(later - sooner == 10 for sooner, later in pairwise(found.at))
    assert len(found.at) in (count - 1, count)
