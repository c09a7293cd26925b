"""Which counters of RAPL there are, from a powercap tree of plain files."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess

import pytest
from powercap import Tree, Zone, make_tree
from zones import LAPTOP, names, opened, total

from pytest_joules.sources import powercap as reading
from pytest_joules.sources import rapl as module
from pytest_joules.sources.base import Unavailable

# ---- what is found -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["sysfs", "flat", "nested"])
def test_every_layout_gives_each_zone_once(tmp_path, layout):
    tree = make_tree(tmp_path / "powercap", LAPTOP, layout)
    source = opened(tree.root)
    assert names(source) == ["package-0", "core", "uncore", "dram", "psys"]
    assert total(source) == ["package-0"]
    source.close()


def test_zones_are_known_by_their_names_not_their_numbers(tmp_path):
    tree = make_tree(tmp_path / "powercap", {"psys": [], "package-1": ["dram", "core"], "package-0": ["dram", "core"]})
    source = opened(tree.root)
    assert names(source) == ["package-0", "dram-0", "core-0", "package-1", "dram-1", "core-1", "psys"]
    assert total(source) == ["package-0", "package-1"]
    before = source.read()
    tree.advance("package-0/dram", 3_000_000)
    tree.advance("package-1/dram", 4_000_000)
    after = source.read()
    joules = dict(zip(names(source), source.joules(before, after, 1.0), strict=True))
    assert (joules["dram-0"], joules["dram-1"]) == (3.0, 4.0)
    source.close()


def test_packages_of_several_dies(tmp_path):
    tree = make_tree(tmp_path / "powercap", {"package-0-die-0": ["dram"], "package-0-die-1": ["dram"], "package-10-die-0": []})
    source = opened(tree.root)
    assert names(source) == ["package-0-die-0", "dram-0-die-0", "package-0-die-1", "dram-0-die-1", "package-10-die-0"]
    assert total(source) == ["package-0-die-0", "package-0-die-1", "package-10-die-0"]
    source.close()


def test_a_second_control_type_that_shows_the_same_zones_is_dropped(tmp_path):
    tree = make_tree(tmp_path / "powercap", {"package-0": ["core"]})
    make_tree(tree.root, {"package-0": ["core", "dram"]}, control="intel-rapl-mmio")
    source = opened(tree.root)
    assert names(source) == ["package-0", "core", "dram"], "only what the first does not have"
    assert total(source) == ["package-0"]
    before = source.read()
    tree.advance_all(7_000_000)
    assert source.joules(before, source.read(), 1.0)[:2] == (7.0, 7.0)
    source.close()


@pytest.mark.parametrize("control", ["intel-rapl-mmio", "amd-rapl"])
def test_another_control_type_alone_is_used(tmp_path, control):
    tree = make_tree(tmp_path / "powercap", {"package-0": []}, control=control)
    source = opened(tree.root)
    assert total(source) == ["package-0"]
    source.close()


@pytest.mark.parametrize(
    ("zones", "expected"),
    [
        ({"psys": []}, ["psys"]),
        ({"psys": ["core"]}, ["psys"]),
        ([Zone("psys"), Zone("psys")], ["psys-0", "psys-1"]),
        ([Zone("package-0", energy=None, children=["core", "uncore", "dram"])], ["core", "uncore", "dram"]),
        ([Zone("package-0", energy=None, children=[Zone("core", children=["uncore"])])], ["core"]),
        ([Zone("package-0", children=[Zone("core", children=["uncore"])]), "psys"], ["package-0"]),
    ],
)
def test_the_total_never_holds_a_joule_twice(tmp_path, zones, expected):
    source = opened(make_tree(tmp_path / "powercap", zones).root)
    assert total(source) == expected
    source.close()


def test_two_packages_of_one_name_are_not_added_up(tmp_path):
    with pytest.raises(Unavailable, match="all named package-0"):
        opened(make_tree(tmp_path / "powercap", ["package-0", "package-0"]).root)


def test_a_name_that_is_no_name_leaves_the_zone_out(tmp_path):
    tree = make_tree(tmp_path / "powercap", {"package-0": ["core", "dram"]})
    tree.write("core", "\x00\x07", "name")
    source = opened(tree.root)
    assert names(source) == ["package-0", "dram"]
    source.close()


# ---- what cannot be opened -----------------------------------------------------------------------------------------------------


def refuse(monkeypatch, tree: Tree, *zones: str, error: int = errno.EACCES) -> None:
    """As for a user without permission: a mode would not stop root."""
    denied = {os.path.realpath(tree.path(zone)) for zone in zones}
    really = os.open

    def open_(path, *args, **kwargs):
        if os.path.realpath(path) in denied:
            raise OSError(error, os.strerror(error), str(path))
        return really(path, *args, **kwargs)

    monkeypatch.setattr(module.os, "open", open_)


@pytest.mark.parametrize("layout", ["sysfs", "flat", "nested"])
def test_no_permission_names_a_command_that_grants_it(tmp_path, monkeypatch, layout):
    tree = make_tree(tmp_path / "power cap", LAPTOP, layout)
    files = [tree.path(zone) for zone in tree.directories]
    for file in files:
        file.chmod(0o400)
    refuse(monkeypatch, tree, *tree.directories)
    with pytest.raises(Unavailable, match=r"no permission to read .*energy_uj") as caught:
        opened(tree.root)
    monkeypatch.undo()
    command, note = caught.value.remedy.splitlines()
    assert command.startswith("sudo chmod a+r ")
    assert "reboot" in note and "PLATYPUS" in note
    subprocess.run(["sh", "-c", command.removeprefix("sudo ")], check=True)
    assert all(file.stat().st_mode & 0o777 == 0o444 for file in files)


def test_the_command_for_the_systems_own_tree(tmp_path):
    tree = make_tree(tmp_path / "powercap", LAPTOP)
    zones = reading.find_zones(tree.root)
    command = module.grant(tree.root, [zone.path / "energy_uj" for zone in zones]).splitlines()[0]
    assert command == f"sudo chmod a+r {shlex.quote(str(tree.root))}/*/energy_uj"


def test_a_total_without_one_of_its_packages_is_no_total(tmp_path, monkeypatch):
    tree = make_tree(tmp_path / "powercap", {"package-0": [], "package-1": []})
    refuse(monkeypatch, tree, "package-1")
    with pytest.raises(Unavailable, match=r"no permission to read .*intel-rapl:1/energy_uj"):
        opened(tree.root)


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO])
def test_a_part_that_cannot_be_read_is_left_out_and_told(tmp_path, monkeypatch, error):
    tree = make_tree(tmp_path / "powercap", LAPTOP)
    refuse(monkeypatch, tree, "dram", error=error)
    source = opened(tree.root)
    assert names(source) == ["package-0", "core", "uncore", "psys"]
    assert f"dram left out: {os.strerror(error)}" in source.why
    source.close()


def test_a_package_whose_counter_holds_nothing(tmp_path):
    tree = make_tree(tmp_path / "powercap", {"package-0": []})
    tree.write("package-0", "")
    with pytest.raises(Unavailable, match="holds no number"):
        opened(tree.root)


def test_no_descriptor_is_left_open_by_a_failure(tmp_path, monkeypatch):
    tree = make_tree(tmp_path / "powercap", {"package-0": [], "package-1": []})
    refuse(monkeypatch, tree, "package-1")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count of descriptors
    with pytest.raises(Unavailable):
        opened(tree.root)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_no_tree_no_zones_no_directory(tmp_path, monkeypatch):
    with pytest.raises(Unavailable, match="no powercap tree at") as missing:
        opened(tmp_path / "missing")
    assert "intel-rapl:0" in missing.value.remedy
    (tmp_path / "empty").mkdir()
    with pytest.raises(Unavailable, match="holds no zone"):
        opened(tmp_path / "empty")
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="is not a directory"):
        opened(tmp_path / "file")

    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(module.os, "scandir", denied)
    with pytest.raises(Unavailable, match="may not be listed") as caught:
        opened(tmp_path)
    assert caught.value.remedy == f"sudo chmod a+rx {shlex.quote(str(tmp_path))}"


def test_a_missing_tree_has_the_remedy_that_there_is(tmp_path, monkeypatch):
    with pytest.raises(Unavailable) as caught:
        opened(tmp_path / "missing")
    assert "intel-rapl:0" in caught.value.remedy
    monkeypatch.setattr(reading, "POWERCAP", tmp_path / "missing")
    monkeypatch.setattr(reading, "load_module", lambda name: f"load {name}")
    monkeypatch.setattr(reading, "why_none", lambda: ": because")
    with pytest.raises(Unavailable, match="missing: because") as caught:
        opened(tmp_path / "missing")
    assert caught.value.remedy == "load intel_rapl_msr"


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_have_no_such_tree(tree, monkeypatch, platform):
    monkeypatch.setattr(module.sys, "platform", platform)
    with pytest.raises(Unavailable, match="Linux only"):
        opened(tree.root)


def test_facts_for_the_report(tree, source):
    facts = source.facts("perf not needed")
    assert (facts.name, facts.provenance, facts.domains) == ("rapl", "measured", ("package-0", "core", "dram"))
    assert facts.resolution_s == 0.001 and facts.uncertainty is None
    assert str(tree.root) in facts.why


def test_counters_that_run_by_themselves(tree, source):
    before = source.read()
    with tree.running({"package-0": 20.0, "dram": 5.0}):
        while tree.truth["package-0/dram"] < 100_000:
            source.read()  # never half a number
    joules = source.joules(before, source.read(), 1.0)
    assert joules[0] == pytest.approx(tree.truth["package-0"] / 1e6)
    assert joules[2] == pytest.approx(tree.truth["package-0/dram"] / 1e6)
    assert "package-0" not in source.trouble
