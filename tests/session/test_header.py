"""What the head of a run says: the sources, why no better one was taken, and what to do about it."""

import re
import sys

import pytest
from powercap import Zone


@pytest.fixture(autouse=True)
def _untraced():
    """That these tests are traced, by coverage, would be said in each head."""
    before = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(before)


def head(result):
    lines = result.outlines
    return lines[2 : next(place for place, line in enumerate(lines) if line.startswith("rootdir:"))]


PASSING = "def test_a(): draw(1000)\n"


def test_source_domains_and_total(inner):
    inner.counters({"package-0": ["core", "dram"], "psys": []})
    inner.file(test_a=PASSING)
    assert head(inner.run()) == ["energy: rapl (package-0, core, dram, psys; total: package-0)"]


def test_a_long_line_is_wrapped(inner):
    inner.counters([Zone(f"package-{n}", children=["core", "dram"]) for n in range(4)])
    inner.file(test_a=PASSING)
    lines = head(inner.run())
    assert len(lines) > 1 and max(map(len, lines)) <= 80
    assert "total: package-0 + package-1 + package-2 + package-3)" in " ".join(line.strip() for line in lines)


def test_why_not_a_better_one_and_the_remedy(inner):
    inner.powercap = inner.path / "no where"
    inner.file(test_a=PASSING)
    lines = head(inner.run())
    assert re.fullmatch(r"energy: estimate \(cpu; ±\d+ %\)", lines[0])
    assert lines[1].startswith("  rapl not taken: no powercap tree at")
    assert any(line.startswith("    remedy: ") for line in lines)
    # What needs hardware that is not here is not worth a line.
    assert "nvml" not in "\n".join(lines)


def test_one_that_was_asked_for_needs_no_reasons(inner):
    inner.file(test_a=PASSING)
    lines = head(inner.run("--energy-source=estimate", "--energy-estimate-idle-watts=3", "--energy-estimate-max-watts=9"))
    assert lines == ["energy: estimate (cpu; ±20 %)"]
    why = inner.report()["sources"][0]["why"]
    assert "3 W idle" in why and "9 W" in why


def test_what_changes_all_numbers(inner):
    inner.conftest(
        """
import sys
def pytest_configure(config):
    config.before, _ = sys.gettrace(), sys.settrace(lambda *_: None)
def pytest_unconfigure(config):
    sys.settrace(config.before)
"""
    )
    inner.file(test_a=PASSING)
    said = " ".join(line.strip() for line in head(inner.run()))
    assert "energy: a tracer (coverage or a debugger) is active: its joules are in every number" in said


def test_quiet_has_no_header(inner):
    inner.file(test_a=PASSING)
    for args in (["-q"], ["--no-header"]):
        assert "energy: rapl" not in inner.run(*args).stdout.str()


def test_without_energy_no_line(inner):
    inner.file(test_a=PASSING)
    assert head(inner.run(energy=False)) == []
