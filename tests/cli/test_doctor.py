"""What the doctor finds and how it says it."""

from __future__ import annotations

import json

import pytest
from powercap import make_tree

from pytest_joules.cli import doctor
from pytest_joules.sources.base import Domain, Source, Unavailable
from pytest_joules.sources.rapl import Rapl


class Scripted(Source):
    """Reads what it was given, one after the other."""

    def __init__(self, name, domains, joules, rank=100):
        super().__init__()
        type(self).name, type(self).rank = name, rank
        self._domains, self._joules = domains, joules
        self.closed = False

    def open(self):
        if isinstance(self._joules, Exception):
            raise self._joules
        self.domains = tuple(Domain(name, counts=name.startswith("package")) for name in self._domains)
        self.why = "scripted"

    def read(self):
        return self._joules

    def joules(self, before, after, seconds):
        for name, value in zip(self._domains, self._joules, strict=True):
            if value is None:
                self.trouble[name] = "it stood still"
        return self._joules

    def close(self):
        self.closed = True


def scripted(name, domains, joules, rank=100):
    return type(name, (Scripted,), {})(name, domains, joules, rank)


def examine(tmp_path, *candidates, seconds=0.002):
    findings = doctor.examine(tmp_path, None, None, seconds=seconds, candidates=candidates)
    json.dumps(findings, allow_nan=False)
    return findings


@pytest.mark.parametrize(
    ("ours", "theirs", "agree"),
    [
        ((15.0, 1.0), (15.0, 1.0), True),
        ((15.0, 1.0), (15.1, 1.0), True),
        ((15.0, 1.0), (30.0, 1.0), False),
        ((15.0, 1.0), (15.0, 0.4), False),
        ((15.0, None), (15.0, 1.0), True),
        ((None, None), (15.0, 1.0), None),
    ],
)
def test_rapl_and_pyrapl_over_one_window(tmp_path, ours, theirs, agree):
    both = scripted("rapl", ("package-0", "dram"), ours), scripted("pyrapl", ("package-0", "dram"), theirs, None)
    for each in both:
        each.tick = 0.0
    findings = examine(tmp_path, *both)
    assert findings["agreement"]["agree"] is agree
    text = doctor.render(findings, 80)
    assert {True: "rapl and pyrapl: agree", False: "rapl and pyrapl: DISAGREE", None: "rapl and pyrapl: not compared"}[
        agree
    ] in text
    assert all(each.closed for each in both)


def test_a_difference_of_one_update_of_the_counter_is_agreement(tmp_path):
    ours, theirs = scripted("rapl", ("package-0",), (10.0,)), scripted("pyrapl", ("package-0",), (15.0,), None)
    ours.tick = 1.0  # far longer than the window
    assert examine(tmp_path, ours, theirs)["agreement"]["agree"] is True


def test_what_does_not_work_has_a_reason_and_a_remedy(tmp_path):
    broken = scripted("rapl", (), Unavailable("no permission to read it", "sudo chmod a+r it\nuntil the next reboot"))
    working = scripted("estimate", ("package-0", "core"), (None, 2.0), 10)
    findings = examine(tmp_path, broken, working)
    assert findings["auto"] == ["estimate"]
    rapl, estimate = findings["sources"]
    assert (rapl["available"], rapl["reason"], rapl["remedy"]) == (
        False,
        "no permission to read it",
        "sudo chmod a+r it\nuntil the next reboot",
    )
    assert estimate["domains"][0]["watts"] is None and estimate["domains"][0]["trouble"] == "it stood still"
    assert findings["agreement"] == {"agree": None, "why": "rapl and pyrapl not available", "domains": {}}
    text = doctor.render(findings, 80)
    assert "rapl: not available: no permission to read it" in text
    assert "remedy: sudo chmod a+r it\n" in text
    assert "package-0: unavailable just now: it stood still, counts towards the total" in text
    assert " 0 W" not in text


def test_nothing_works(tmp_path):
    findings = examine(tmp_path, scripted("rapl", (), Unavailable("none")), scripted("mine", (), OSError("bang")))
    assert findings["auto"] == []
    text = doctor.render(findings, 80)
    assert "auto takes: nothing" in text and "it failed to open: OSError: bang" in text


def test_load_clock_and_machine(tmp_path):
    findings = examine(tmp_path)
    assert findings["foreign_load"] is None, "too short to tell"
    assert findings["clock"]["overhead_ns"] > 0
    assert {"cpu", "cores", "virtual"} <= set(findings["machine"])
    longer = examine(tmp_path, seconds=0.25)
    assert 0 <= longer["foreign_load"] <= 1.1
    assert "others on this machine use" in doctor.render(longer, 80)
    longer["foreign_load"] = 0.3
    assert "use 30.0 % of it now: samples would be marked shared" in doctor.render(longer, 200)


def test_our_own_sources_on_a_tree(tmp_path):
    tree = make_tree(tmp_path / "powercap", {"package-0": ["dram"]})
    with tree.running({"package-0": 20.0, "dram": 2.0}):
        findings = doctor.examine(tree.root, None, None, seconds=0.5)
    json.dumps(findings, allow_nan=False)
    by_name = {source["name"]: source for source in findings["sources"]}
    assert list(by_name) == ["rapl", "pyrapl", "perf", "nvml", "tsc", "estimate"]
    assert by_name["rapl"]["available"] and by_name["rapl"]["domains"][0]["joules"] > 0
    assert not by_name["pyrapl"]["available"] and "only" in by_name["pyrapl"]["reason"]
    assert findings["auto"][0] == "rapl"
    assert findings["powercap"] == str(tree.root)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_text_fits(tmp_path, width):
    tree = make_tree(tmp_path / "p", {"package-0": ["dram"], "psys": []})
    text = doctor.render(examine(tree.root, Rapl(tree.root), scripted("perf", (), Unavailable("reason " * 30))), width)
    too_long = [line for line in text.splitlines() if len(line) > width and " " in line.strip().replace(str(tree.root), "")]
    assert too_long == []


@pytest.mark.parametrize(("virtual", "text"), [(True, "virtual machine"), (False, "bare metal"), (None, "cannot tell")])
def test_what_kind_of_machine(tmp_path, virtual, text):
    findings = examine(tmp_path)
    findings["machine"]["virtual"] = virtual
    assert text in doctor.render(findings, 120)
