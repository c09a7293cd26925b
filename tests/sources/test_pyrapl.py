"""The pyRAPL library itself, with the paths that it has as literals led to a tree of plain files."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
import types
import warnings
from pathlib import Path

import pytest
from powercap import RANGE, Tree, Zone, make_tree

from pytest_joules.sources import pyrapl as module
from pytest_joules.sources.base import Unavailable
from pytest_joules.sources.pyrapl import PyRapl
from pytest_joules.sources.rapl import Rapl

REAL = "/sys/class/powercap"


class Machine:
    """What pyRAPL sees of a machine: a powercap tree, and one processor a socket."""

    def __init__(self, tree: Tree, cpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tree, self.cpus = tree, cpus
        self.denied: set[str] = set()
        self.calls = 0
        device_api = module._load().device_api
        monkeypatch.setattr(device_api, "open", self.open, raising=False)
        path = types.SimpleNamespace(exists=lambda path: os.path.exists(self.lead(path)))  # noqa: PTH110 - stands for os.path
        monkeypatch.setattr(device_api, "os", types.SimpleNamespace(path=path))
        monkeypatch.setattr(PyRapl, "reads", tree.root)

    def lead(self, path: str) -> str:
        if path.startswith(REAL):
            return str(self.tree.root) + path.removeprefix(REAL)
        return path.replace("/sys/devices/system/cpu", str(self.cpus))

    def open(self, path, mode="r"):
        real = self.lead(path)
        if os.path.realpath(real) in self.denied:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return Path(real).open(mode)

    def deny(self, *zones: str) -> None:
        self.denied |= {os.path.realpath(self.tree.path(zone)) for zone in zones}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    def make(zones, sockets: int = 1) -> Machine:
        cpus = tmp_path / "cpu"
        for socket in range(sockets):
            (cpus / f"cpu{socket}/topology").mkdir(parents=True)
            (cpus / f"cpu{socket}/topology/physical_package_id").write_text(f"{socket}\n")
        (cpus / "present").write_text(f"0-{sockets - 1}\n" if sockets > 1 else "0\n")
        return Machine(make_tree(tmp_path / "powercap", zones), cpus, monkeypatch)

    return make


def opened(machine: Machine) -> PyRapl:
    source = PyRapl(machine.tree.root)
    source.open()
    return source


def names(source: PyRapl) -> list[str]:
    return [domain.name for domain in source.domains]


def test_package_and_dram_as_our_own_reader_sees_them(machine):
    here = machine({"package-0": ["core", "dram"], "psys": []})
    source, own = opened(here), Rapl(here.tree.root)
    own.open()
    assert names(source) == ["package-0", "dram"]
    assert [domain.counts for domain in source.domains] == [True, False]
    before, own_before = source.read(), own.read()
    here.tree.advance("package-0", 5_000_000)
    here.tree.advance("dram", 2_000_000)
    assert source.joules(before, source.read(), 1.0) == (5.0, 2.0)
    assert own.joules(own_before, own.read(), 1.0)[0] == 5.0
    source.close()
    own.close()


@pytest.mark.parametrize("sockets", [1, 2])
def test_the_wrap_that_the_library_gets_wrong(machine, sockets):
    here = machine([Zone(f"package-{number}", energy=RANGE - 10, children=["dram"]) for number in range(sockets)], sockets)
    source = opened(here)
    before = source.read()
    here.tree.advance_all(3_000_000)
    assert source.joules(before, source.read(), 1.0) == (3.0,) * 2 * sockets
    assert source.trouble == {}
    source.close()


def test_two_sockets_whose_zones_are_numbered_the_other_way(machine):
    here = machine([Zone("package-1", energy=10, children=["dram"]), Zone("package-0", energy=10, children=["dram"])], 2)
    source = opened(here)
    assert names(source) == ["package-0", "package-1", "dram-0", "dram-1"]
    before = source.read()
    here.tree.advance("package-1", 7_000_000)
    assert source.joules(before, source.read(), 1.0) == (None, 7.0, None, None)
    assert "did not move" in source.trouble["package-0"]
    source.close()


def test_counters_of_the_kernel_that_stand_still(machine, monkeypatch):
    here = machine({"package-0": ["dram"]})
    monkeypatch.setattr(PyRapl, "kernel", here.tree.root)
    with pytest.raises(Unavailable, match=r"stand still \(package-0\)"):
        opened(here)


def test_no_dram_is_no_failure(machine):
    source = opened(machine({"package-0": ["core"]}))
    assert names(source) == ["package-0"]
    source.close()


def test_a_counter_that_fails_mid_run(machine):
    here = machine({"package-0": ["dram"]})
    source = opened(here)
    before = source.read()
    here.tree.write("dram", "")
    assert source.read() == (None, None)
    assert source.joules(before, (None, None), 1.0) == (None, None)
    assert source.trouble == dict.fromkeys(["package-0", "dram"], "pyRAPL read no number")
    here.tree.set("dram", 4_000_000)
    here.tree.advance("package-0", 1_000_000)
    assert source.joules(before, source.read(), 1.0) == (1.0, 3.0)
    assert source.trouble == {}

    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    source.close()
    source._apis = [types.SimpleNamespace(energy=fail)] * 2
    assert source.read() == (None, None)
    assert source.trouble["dram"] == os.strerror(errno.EIO)


def test_after_the_end(machine):
    source = opened(machine({"package-0": ["dram"]}))
    source.close()
    source.close()
    assert source.read() == (None, None)
    source.open()
    assert source.read() == (1_000_000, 1_000_000)
    source.close()


# ---- its bare failures, explained ----------------------------------------------------------------------------------------------


def test_another_root_is_refused(tmp_path):
    tree = make_tree(tmp_path / "powercap", {"package-0": []})
    with pytest.raises(Unavailable, match="pyRAPL reads /sys/class/powercap only") as caught:
        PyRapl(tree.root).open()
    assert "rapl" in caught.value.remedy


@pytest.mark.parametrize("zones", [["package-0"], ["dram"], ["package-0", "dram"]])
def test_no_permission(machine, zones):
    here = machine({"package-0": ["core", "dram"]})
    here.deny(*zones)
    with pytest.raises(Unavailable, match="no permission to read") as caught:
        opened(here)
    assert caught.value.remedy.startswith("sudo chmod a+r ")


def test_several_dies(machine):
    with pytest.raises(Unavailable, match="several dies") as caught:
        opened(machine({"package-0-die-0": [], "package-0-die-1": []}))
    assert "rapl" in caught.value.remedy


def test_fewer_packages_than_sockets(machine):
    with pytest.raises(Unavailable, match=r"one package .* for every processor socket"):
        opened(machine({"package-0": []}, sockets=2))


def test_no_tree(tmp_path, monkeypatch):
    monkeypatch.setattr(PyRapl, "reads", tmp_path / "missing")
    with pytest.raises(Unavailable, match="no powercap tree"):
        PyRapl(tmp_path / "missing").open()


def test_no_list_of_processors(machine):
    here = machine({"package-0": []})
    (here.cpus / "present").unlink()
    with pytest.raises(Unavailable, match="No such file"):
        opened(here)


def test_a_failure_of_another_kind(machine):
    here = machine({"package-0": []})
    (here.cpus / "cpu0/topology/physical_package_id").write_text("")
    with pytest.raises(Unavailable, match="pyRAPL failed: ValueError"):
        opened(here)


def test_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(PyRapl, "reads", tmp_path / "powercap")
    make_tree(tmp_path / "powercap", {"package-0": []})
    monkeypatch.setitem(sys.modules, "pyRAPL", None)
    with pytest.raises(Unavailable, match="cannot be imported") as caught:
        PyRapl(tmp_path / "powercap").open()
    assert caught.value.remedy == f"{sys.executable} -m pip install pyRAPL"


# ---- nothing of it reaches the user --------------------------------------------------------------------------------------------


def test_importing_it_says_nothing_and_leaves_logging_alone(tmp_path):
    program = """
import logging, sys
from pytest_joules.sources.pyrapl import _load
real = logging.warning
_load()
assert "pyRAPL" in sys.modules
assert logging.getLogger().handlers == [] and logging.warning is real
"""
    # compiled afresh, so that its SyntaxWarning is due; every warning is an error
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_other_peoples_warnings_pass_while_it_is_imported(monkeypatch, caplog):
    import logging

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "pyRAPL":
                logging.warning("somebody else's")
                raise RuntimeError("enough")

    monkeypatch.delitem(sys.modules, "pyRAPL", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(Unavailable, match="RuntimeError: enough"):
        module._load()
    assert "somebody else's" in caplog.text


def test_opening_leaves_no_resource_warning(machine):
    here = machine({"package-0": ["dram"]})
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        opened(here).close()
        here.deny("dram")
        with pytest.raises(Unavailable):
            opened(here)
        gc.collect()
    assert [str(warning.message) for warning in seen] == []
