"""The model against the figures it is made of, and its CPU seconds against what the system says independently."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
import textwrap
import time
from importlib import resources

import pytest
from freezegun import freeze_time
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import wait_until

from pytest_joules.sources import estimate, process_tree
from pytest_joules.sources.cpu_power import normalise, tdp
from pytest_joules.sources.estimate import CURVE, Estimate, Hardware, relative_power
from pytest_joules.sources.process_tree import ProcessTree

posix = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX system hands a child's CPU time on to its parent")

BARE = Hardware("AMD EPYC 7763 64-Core Processor", cpus=256, sockets=2, virtual=False)
GUEST = Hardware("AMD EPYC 7763 64-Core Processor", cpus=2, sockets=1, virtual=True)
UNKNOWN = Hardware("Neoverse-N1", cpus=80, sockets=1, virtual=None)


def opened(hardware=BARE, **watts):
    source = Estimate(hardware=hardware, **watts)
    source.open()
    return source


# ---- the table


@pytest.mark.parametrize(
    ("model", "watts"),
    [
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", 120),
        ("Intel(R) Xeon(R) CPU E5-2680 0 @ 2.70GHz", 130),
        ("Intel(R) Xeon(R) CPU           E5620  @ 2.40GHz", 80),
        ("Intel(R) Xeon(R) Gold 6230 CPU @ 2.10GHz", 125),
        ("Intel(R) Core(TM) i7-1185G7 @ 3.00GHz", 28),
        ("11th Gen Intel(R) Core(TM) i7-1185G7 @ 3.00GHz", 28),
        ("12th Gen Intel(R) Core(TM) i7-12700K", 125),
        ("Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", 95),
        ("Intel(R) Core(TM) i7 CPU         920  @ 2.67GHz", 130),
        ("Intel(R) Core(TM)2 Duo CPU     E8400  @ 3.00GHz", 65),
        ("AMD EPYC 7763 64-Core Processor", 280),
        ("AMD Ryzen 7 5800X 8-Core Processor", 105),
        ("AMD Ryzen 5 5600G with Radeon Graphics", 65),
        ("AMD Ryzen Threadripper 3990X 64-Core Processor", 280),
        ("AMD FX(tm)-8350 Eight-Core Processor", 125),
        ("AMD A10-7850K Radeon R7, 12 Compute Cores 4C+8G", 95),
        ("AMD Opteron(tm) Processor 6278", 115),
        ("Apple M1", 10),
    ],
)
def test_known_models(model, watts):
    assert tdp(model) == watts


@pytest.mark.parametrize(
    "model",
    [
        "",
        "AMD EPYC",
        "AMD EPYC-Rome Processor",
        "AMD EPYC 7R32",
        "AMD EPYC 776",
        "AMD EPYC 77630",
        "Intel(R) Xeon(R) CPU @ 2.20GHz",
        "Intel(R) Xeon(R) Processor @ 2.80GHz",
        "Intel(R) Core(TM) i7-12700KX",
        "Apple M1 Pro",
        "Neoverse-N1",
        "ARMv8 Processor rev 0 (v8l)",
        "QEMU Virtual CPU version 2.5+",
        "AMD Phenom(tm) II X4 955 Processor",  # sold with 95 W and with 125 W
    ],
)
def test_what_the_table_does_not_list_exactly_is_unknown(model):
    assert tdp(model) is None


def test_every_row_is_found_by_its_own_name():
    with resources.files("pytest_joules.data").joinpath("cpu_power.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 4500
    assert all(normalise(row["name"]) == row["key"] for row in rows)
    assert len({row["key"] for row in rows}) == len(rows)
    assert all(0.5 <= float(row["tdp_watts"]) <= 600 for row in rows)


@given(st.text(max_size=80))
def test_noise_has_a_stable_name(name):
    assert normalise(normalise(name)) == normalise(normalise(normalise(name)))


@settings(deadline=None)
@given(st.text(alphabet="Intel(R)AMD@-, 0123456789vGHz", max_size=40))
def test_noise_is_looked_up_without_error(name):
    watts = tdp(name)
    assert watts is None or watts > 0


# ---- power


@given(st.floats(0, 1))
def test_the_curve_goes_through_its_points_and_rises(utilisation):
    assert [relative_power(tenth / 10) for tenth in range(11)] == pytest.approx(list(CURVE))
    assert CURVE[0] <= relative_power(utilisation) <= relative_power(min(1, utilisation + 0.01)) <= 1


@given(st.floats(allow_nan=False))
def test_utilisation_is_clamped(utilisation):
    assert 0.2 <= relative_power(utilisation) <= 1


def test_bare_metal_takes_the_tables_tdp_for_every_socket():
    source = opened(BARE)
    assert source.power(1) == pytest.approx(560)
    assert source.power(0) == pytest.approx(112)
    assert source.power(0.5) == pytest.approx(560 * 0.529)
    assert source.uncertainty == 0.40
    for words in ("EPYC 7763", "280 W TDP", "2 sockets", "CodeCarbon", "MIT", "±40 %"):
        assert words in source.why


def test_a_virtual_machine_is_never_charged_the_whole_chip():
    source = opened(GUEST)
    assert (source.power(0), source.power(1)) == pytest.approx((1.48, 7.0))
    assert source.power(0.5) == pytest.approx(1.48 + (7.0 - 1.48) * (0.529 - 0.2) / 0.8)
    for words in ("virtual machine", "2 CPUs", "Cloud Carbon Footprint", "±60 %"):
        assert words in source.why


def test_an_unknown_model_takes_the_labelled_generic_figure():
    source = opened(UNKNOWN)
    assert source.power(1) == pytest.approx(80 * 3.5)
    assert "Neoverse-N1 is in no table" in source.why


@pytest.mark.parametrize("hardware", [BARE, GUEST, UNKNOWN])
def test_the_users_own_watts_come_first(hardware):
    both = opened(hardware, idle_watts=10, max_watts=65)
    assert (both.power(0), both.power(1), both.uncertainty) == (10, 65, 0.20)
    assert both.power(0.1) == pytest.approx(10 + 55 * (0.325 - 0.2) / 0.8)
    assert "your own 10 W idle and 65 W" in both.why
    top = opened(hardware, max_watts=50)
    assert (top.power(0), top.power(1), top.uncertainty) == pytest.approx((10, 50, 0.40))
    idle = opened(hardware, idle_watts=10)
    assert (idle.power(0), idle.power(1), idle.uncertainty) == pytest.approx((10, 50, 0.40))


def test_the_declared_uncertainties_cover_what_they_are_derived_from():
    line = [0.2 + 0.8 * tenth / 10 for tenth in range(11)]
    assert (
        max(abs(curve - straight) / min(curve, straight) for curve, straight in zip(CURVE, line, strict=True))
        <= estimate.OWN_UNCERTAINTY
    )
    by_processor = (1.69, 5.42)  # Cloud Carbon Footprint: AMD EPYC 2nd generation, Coffee Lake
    assert max(abs(watts / estimate.GENERIC_MAX_WATTS - 1) for watts in by_processor) <= estimate.GENERIC_UNCERTAINTY


@pytest.mark.parametrize("watts", [0, -1, math.nan, math.inf])
@pytest.mark.parametrize("which", ["idle_watts", "max_watts"])
def test_impossible_watts(which, watts):
    with pytest.raises(ValueError, match=f"energy_estimate_{which} is"):
        Estimate(**{which: watts})


@pytest.mark.parametrize(("idle", "most"), [(50, 50), (60, 50)])
def test_idle_must_be_below_full_load(idle, most):
    with pytest.raises(ValueError, match="not below energy_estimate_max_watts"):
        Estimate(idle_watts=idle, max_watts=most)


def test_joules():
    source = opened(GUEST)
    assert source.joules((1.0,), (2.0,), 1.0) == pytest.approx((source.power(0.5),))
    assert source.joules((1.0,), (5.0,), 1.0) == pytest.approx((7.0,))
    assert source.joules((1.0,), (1.0,), 2.0) == pytest.approx((2 * 1.48,))
    assert source.joules((None,), (1.0,), 2.0) == (None,)
    assert source.joules((1.0,), (None,), 2.0) == (None,)
    assert source.joules((1.0,), (2.0,), 0.0) == (None,)


def test_facts():
    facts = opened(GUEST).facts()
    assert (facts.name, facts.provenance, facts.domains, facts.resolution_s) == ("estimate", "estimated", ("cpu",), 0.0)


def test_it_opens_on_this_machine():
    source = Estimate()
    source.open()
    assert 0 < source.idle_watts < source.max_watts
    assert source.why.startswith("model: ")


# ---- CPU seconds

BURN = """
import sys, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
"""

CHILD = BURN + "burn(float(sys.argv[1])); print(time.process_time(), flush=True); sys.stdin.read()"


def child(script=CHILD, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_own_time():
    tree = ProcessTree()
    before, then = tree.seconds(), time.process_time()
    burn(0.1)
    used = time.process_time() - then
    assert tree.seconds() - before == pytest.approx(used, abs=0.03)


def test_a_child_alive_and_after_it_ended():
    tree = ProcessTree()
    before, then = tree.seconds(), time.process_time()
    with child(CHILD, "0.3") as process:
        says = float(process.stdout.readline())
        alive = tree.seconds() - before - (time.process_time() - then)
        process.communicate("")
        ended = tree.seconds() - before - (time.process_time() - then)
    assert says - 0.03 <= alive <= ended + 0.01
    if sys.platform != "win32":
        # Above what the child says of itself: the interpreter's end.
        assert ended <= says + 0.3


@posix
def test_a_child_that_came_and_went_is_counted_as_the_system_counts_it():
    import resource

    def waited_for():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    tree = ProcessTree()
    before, then, start = tree.seconds(), time.process_time(), waited_for()
    with child(CHILD, "0.1") as process:
        process.communicate("")
    counted = tree.seconds() - before - (time.process_time() - then)
    assert counted == pytest.approx(waited_for() - start, abs=0.02)
    assert counted >= 0.1


def test_a_grandchild():
    parent = f"""
    import subprocess, sys
    below = subprocess.Popen([sys.executable, "-c", {CHILD!r}, "0.2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    print(below.stdout.readline(), flush=True)
    sys.stdin.readline()
    below.communicate("")
    print("gone", flush=True)
    sys.stdin.read()
    """
    tree = ProcessTree()
    before, then = tree.seconds(), time.process_time()
    with child(parent) as process:
        says = float(process.stdout.readline())
        alive = tree.seconds() - before - (time.process_time() - then)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() in ("", "gone")
        after = tree.seconds() - before - (time.process_time() - then)
        process.communicate("")
        ended = tree.seconds() - before - (time.process_time() - then)
    assert says <= alive + 0.02
    assert alive <= after + 0.01 <= ended + 0.02
    if sys.platform != "win32":
        assert ended <= says + 0.3


def test_the_sum_never_goes_down():
    tree = ProcessTree()
    readings = [tree.seconds()]
    processes = [child(CHILD, "0.05") for _ in range(3)]
    for process in processes:
        process.stdin.close()
    while any(process.poll() is None for process in processes):
        readings.append(tree.seconds())
    for process in processes:
        process.stdout.close()
    readings.append(tree.seconds())
    assert readings == sorted(readings)


@posix
def test_looking_for_children_does_not_reap_them():
    tree = ProcessTree()
    with child("raise SystemExit(7)") as process:
        for _ in range(100):
            tree.seconds()
            time.sleep(0.005)
        assert process.wait() == 7


@posix
def test_a_child_that_nobody_waits_for_stays_in_the_sum():
    script = (
        BURN
        + """
import os, signal
from pytest_joules.sources.process_tree import ProcessTree
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
tree = ProcessTree()
out, into = os.pipe()
pid = os.fork()
if pid == 0:
    burn(0.2)
    os.write(into, b"x")
    signal.pause()
os.read(out, 1)
seen = tree.seconds()
os.kill(pid, signal.SIGKILL)
try:
    os.waitpid(pid, 0)
except ChildProcessError:
    pass
after = tree.seconds()
burn(0.1)
print(seen, after, tree.seconds() - after)
"""
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    seen, after, more = map(float, done.stdout.split())
    assert seen >= 0.2
    assert after >= seen
    assert 0.1 <= more <= 0.15


def test_both_ways_to_look_at_descendants_agree():
    with child(CHILD, "0.2") as process:
        process.stdout.readline()

        def agree():
            # What other tests have left may run on between the two.
            quick = sum(process_tree._descendants()())
            return quick >= 0.2 and quick == pytest.approx(sum(process_tree._psutil_descendants()), abs=0.03)

        wait_until(agree, "agreeing")
        process.communicate("")


def test_a_child_missed_for_a_moment_is_not_counted_twice():
    # Read 2 falls between the child's leaving the living and its arrival among the waited-for.
    living, waited = iter([[1.0], [], []]), iter([0.0, 0.0, 1.0])
    tree = ProcessTree(
        own=lambda: 0, waited_for=lambda: next(waited), has_children=lambda: True, descendants=lambda: next(living)
    )
    assert [tree.seconds(), tree.seconds()] == [1.0, 1.0]
    tree._waited_for, tree._descendants = lambda: 1.5, list
    assert tree.seconds() == 1.5


def test_without_children_nothing_is_searched():
    def never():
        raise AssertionError("searched")

    tree = ProcessTree(own=lambda: 2_000_000_000, waited_for=lambda: 0.5, has_children=lambda: False, descendants=never)
    assert tree.seconds() == 2.5


def test_a_failing_clock_is_trouble_not_an_error():
    def broken():
        raise RuntimeError("no clock")

    source = Estimate(hardware=GUEST, tree=ProcessTree(own=broken))
    source.open()
    assert source.read() == (None,)
    assert "no clock" in source.trouble["cpu"]
    source._tree = ProcessTree()
    assert source.read() != (None,)
    assert source.trouble == {}


def test_a_frozen_time_does_not_stop_the_cpu_clock():
    source = opened(GUEST)
    with freeze_time("2020-01-01"):
        (before,) = source.read()
        sum(range(3_000_000))
        (after,) = source.read()
    assert after > before
