"""Which sources are taken, and what is said of the others."""

from __future__ import annotations

import pytest
from powercap import make_tree

from pytest_joules.sources import choose as module
from pytest_joules.sources.base import Domain, Source, Unavailable
from pytest_joules.sources.choose import Choice, Refused, builtin, choose, header_lines


class Quiet(Unavailable):
    quiet = True


def source(name, rank=50, *, beside=False, domains=("cpu",), error=None):
    class Made(Source):
        opened = 0
        closed = 0

        def open(self):
            if error is not None:
                raise error
            type(self).opened += 1
            self.domains = tuple(Domain(domain, counts=True) for domain in domains)

        def read(self):
            return (1,) * len(self.domains)

        def joules(self, before, after, seconds):
            return (1.0,) * len(self.domains)

        def close(self):
            type(self).closed += 1

    Made.name, Made.rank, Made.beside = name, rank, beside
    return Made()


def names(choice: Choice) -> list[str]:
    return [each.name for each in choice.sources]


def test_auto_takes_the_best_that_opens_and_what_stands_beside_it():
    low = source("estimate", 10)
    choice = choose(
        [
            low,
            source("nvml", 80, beside=True, domains=("gpu-0",)),
            source("perf", 90),
            source("rapl", 100, error=Unavailable("no permission", "sudo chmod")),
            source("pyrapl", None),
        ],
        ("auto",),
    )
    assert names(choice) == ["perf", "nvml"]
    assert choice.refused == (Refused("rapl", "no permission", "sudo chmod"),)
    assert low.opened == 0, "what is not needed is not opened"


def test_auto_with_nothing_that_works():
    choice = choose(
        [source("rapl", 100, error=Unavailable("none")), source("nvml", beside=True, error=Quiet("no driver"))], ("auto",)
    )
    assert choice == Choice((), (Refused("rapl", "none"), Refused("nvml", "no driver", quiet=True)))
    assert header_lines(choice) == ["energy: unavailable: no source works here", "  rapl not taken: none"]


def test_a_source_that_fails_in_its_own_way_does_not_end_the_run():
    choice = choose([source("mine", 200, error=KeyError("volts")), source("rapl", 100)], ("auto",))
    assert names(choice) == ["rapl"]
    assert choice.refused[0].reason == "it failed to open: KeyError: 'volts'"


def test_auto_leaves_out_what_stands_beside_under_a_name_that_is_taken():
    beside = source("mine", beside=True, domains=("cpu",))
    choice = choose([source("rapl", 100), beside], ("auto",))
    assert names(choice) == ["rapl"] and beside.closed == 1
    assert "both have a domain 'cpu'" in choice.refused[0].reason


def test_named_sources_each_opened_the_processors_first():
    choice = choose(
        [source("nvml", beside=True, domains=("gpu-0",)), source("rapl", 100), source("tsc", None, domains=())],
        ("nvml", "tsc", "rapl", "rapl"),
    )
    assert names(choice) == ["tsc", "rapl", "nvml"]
    assert choice.refused == ()


def test_a_named_source_that_does_not_work_is_no_silent_fall_back():
    good = source("rapl", 100)
    bad = source("nvml", beside=True, error=Unavailable("GPU is lost", "nvidia-smi"))
    with pytest.raises(Unavailable, match="nvml: GPU is lost") as caught:
        choose([good, bad], ("rapl", "nvml"))
    assert caught.value.remedy == "nvidia-smi"
    assert good.closed == 1


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            ("rpal",),
            r"unknown energy source 'rpal'; did you mean rapl\? \(there are: auto, rapl, perf, pyrapl, estimate, nvml, mine\)",
        ),
        (("zzz",), r"unknown energy source 'zzz' \(there are"),
        (("auto", "nvml"), "auto chooses by itself: write auto alone, or only nvml"),
        ((), "no energy source named"),
        (("rapl", "perf"), "rapl and perf count the same energy and would be added up twice"),
        (("estimate", "pyrapl"), "would be added up twice"),
        (("rapl", "mine"), "would be added up twice.*beside = True"),
    ],
)
def test_what_makes_no_sense(wanted, message):
    candidates = [source(name) for name in ("rapl", "perf", "pyrapl", "estimate")]
    candidates += [source("nvml", beside=True, domains=("gpu-0",)), source("mine", domains=("meter",))]
    with pytest.raises(ValueError, match=message):
        choose(candidates, wanted)
    assert all(each.opened == each.closed for each in candidates)


def test_two_sources_beside_with_one_domain():
    with pytest.raises(ValueError, match="a and b both have a domain 'x'"):
        choose([source("a", beside=True, domains=("x",)), source("b", beside=True, domains=("x",))], ("a", "b"))


def test_two_sources_of_one_name():
    with pytest.raises(ValueError, match="two energy sources are named 'rapl'"):
        choose([source("rapl"), source("rapl")], ("auto",))


def test_our_own(tmp_path):
    sources = builtin(tmp_path, 5.0, 20.0)
    assert {each.name: each.rank for each in sources} == {
        "rapl": 100,
        "pyrapl": None,
        "perf": 90,
        "nvml": 80,
        "tsc": None,
        "estimate": 10,
    }
    assert [each.name for each in sources if each.beside] == ["nvml"]


def test_our_own_on_a_tree(tmp_path):
    tree = make_tree(tmp_path / "powercap", {"package-0": ["core", "dram"]})
    choice = choose(builtin(tree.root, None, None), ("rapl",))
    assert header_lines(choice) == ["energy: rapl (package-0, core, dram; total: package-0)"]
    choice.sources[0].close()


# ---- the header ----------------------------------------------------------------------------------------------------------------


def test_the_header_fits_and_leaves_commands_whole():
    estimate = source("estimate", 10)
    estimate.open()
    estimate.uncertainty = 0.4
    command = "sudo chmod a+r /sys/class/powercap/*/energy_uj"
    refused = Refused(
        "rapl",
        "no permission to read " + ", ".join(f"/sys/class/powercap/intel-rapl:{n}/energy_uj" for n in range(3)),
        command + "\nuntil the next reboot; " + "because " * 12,
    )
    lines = header_lines(Choice((estimate,), (refused, Refused("nvml", "none here", quiet=True))))
    assert lines[0] == "energy: estimate (cpu; ±40 %)"
    assert lines[1].startswith("  rapl not taken: no permission")
    assert f"    remedy: {command}" in lines
    assert max(map(len, lines)) <= 80
    assert not any("nvml" in line for line in lines)


def test_the_header_of_several_sources():
    made = [source("rapl", domains=("package-0", "package-1")), source("nvml", domains=("gpu-0",)), source("tsc", domains=())]
    for each in made:
        each.open()
    assert header_lines(Choice(tuple(made))) == [
        "energy: rapl (package-0, package-1; total: package-0 + package-1) + nvml (gpu-0)",
        "  + tsc (no joules)",
    ]


def test_remedies():
    assert module.remedy_lines("", "  ") == []
    assert module.remedy_lines("do this", "  ") == ["  remedy: do this"]
