"""Joules of RAPL's counters whose truth the test wrote: wraps, resets, and counters that fail and come back."""

from __future__ import annotations

import errno
import itertools
import os
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from powercap import RANGE, Zone, make_tree
from zones import opened

from pytest_joules.sources import rapl as module
from pytest_joules.sources.base import Unavailable
from pytest_joules.sources.rapl import Rapl, corrected

# ---- differences ---------------------------------------------------------------------------------------------------------------


def test_joules_of_a_plain_difference(tree, source):
    before = source.read()
    tree.advance("package-0", 2_500_000)
    tree.advance("core", 1_500_000)
    tree.advance("dram", 500_000)
    assert source.joules(before, source.read(), 1.0) == (2.5, 1.5, 0.5)
    assert source.trouble == {}


def test_three_wraps_in_a_session(tmp_path):
    tree = make_tree(tmp_path / "powercap", [Zone("package-0", energy=RANGE - 1_000_000)])
    source = opened(tree.root)
    joules, before = 0.0, source.read()
    for _ in range(13):  # a quarter of the range at a time
        tree.advance("package-0", RANGE // 4)
        after = source.read()
        (difference,) = source.joules(before, after, 600.0 / 4)
        assert difference is not None and difference > 0
        joules, before = joules + difference, after
    assert tree.truth["package-0"] > 3 * RANGE
    assert joules == pytest.approx(tree.truth["package-0"] / 1e6, rel=1e-9)
    source.close()


@given(
    span=st.integers(2, 2**63),
    start=st.integers(0),
    steps=st.lists(st.fractions(Fraction(1, 2**64), 1).filter(lambda share: share < 1), max_size=30),
)
def test_any_sequence_with_less_than_a_range_between_readings_sums_to_the_truth(span, start, steps):
    shown, truth, summed = start % span, 0, 0.0
    for share in steps:
        step = max(1, int(share * span))
        after = (shown + step) % span
        difference = corrected(shown, after, span, seconds=max(1.0, step / 1e9), watts=0.0)
        assert isinstance(difference, (int, float)), difference
        assert difference == step
        shown, truth, summed = after, truth + step, summed + difference
    assert summed == truth or summed == pytest.approx(truth, rel=1e-12)


@given(
    before=st.integers(-5, 2**40),
    after=st.integers(-5, 2**40),
    span=st.none() | st.integers(1, 2**40),
    seconds=st.floats(0, 1e6),
    watts=st.floats(0, 1e4),
)
def test_never_negative_never_zero(before, after, span, seconds, watts):
    difference = corrected(before, after, span, seconds, watts)
    assert isinstance(difference, str) or difference > 0


def test_a_counter_that_stands_still_is_not_zero_joules(tree, source):
    before = source.read()
    tree.advance("dram", 1)
    assert source.joules(before, source.read(), 0.3) == (None, None, 1e-6)
    assert source.trouble == dict.fromkeys(["package-0", "core"], "the counter did not move in 0.3 s")
    tree.advance_all(1_000_000)
    assert source.joules(before, source.read(), 0.3)[0] == 1.0
    assert source.trouble == {}


def test_counters_of_the_kernel_move_by_themselves_or_are_none(tmp_path, monkeypatch):
    """Files that somebody writes may stand still; the kernel's own do so where a virtual machine has nothing behind them."""
    tree = make_tree(tmp_path / "powercap", {"package-0": ["dram"], "psys": []})
    monkeypatch.setattr(Rapl, "kernel", tmp_path)  # the tree lies where the kernel's would
    dead = Rapl(tree.root)
    with pytest.raises(Unavailable, match=r"stand still \(package-0\)"):
        dead.open()
    assert dead._descriptors == [-1, -1, -1]
    looks, real = itertools.count(), os.pread
    monkeypatch.setattr(module.os, "pread", lambda *place: b"%d" % (int(real(*place)) + next(looks)))
    live = Rapl(tree.root)
    live.open()
    live.close()


def test_a_reset_is_not_a_wrap(tmp_path):
    tree = make_tree(tmp_path / "powercap", [Zone("package-0", energy=50_000_000_000)])
    source = opened(tree.root)
    before = source.read()
    tree.set("package-0", 2_000_000)
    assert source.between(before, source.read(), 1.0) == (None,)
    assert "reset" in source.trouble["package-0"]
    # the same two values 100 s apart may be a wrap: 2.1 kW
    assert source.between(before, source.read(), 100.0) == (pytest.approx((RANGE - 50_000_000_000 + 2_000_000) / 1e6),)
    source.close()


@pytest.mark.parametrize(
    ("zone", "longest"),
    [
        (Zone("package-0"), 262),  # 1 kW where nothing is stated
        (Zone("package-0", max_power=125_000_000), 1048),
        (Zone("package-0", power_limit=125_000_000), 1048),
        (Zone("package-0", max_power=0, power_limit=0), 262),
        (Zone("package-0", max_power=15_000_000, power_limit=125_000_000), 1048),
        (Zone("package-0", power_limit=4_095_875_000), 262),  # how boards write "no limit"
        (Zone("package-0", range=1_000_000), 60),  # a second wrap within a minute is not believed
    ],
)
def test_readings_more_than_one_possible_wrap_apart_are_unavailable(tmp_path, zone, longest):
    tree = make_tree(tmp_path / "powercap", [zone])
    source = opened(tree.root)
    before = source.read()
    tree.set("package-0", tree.value("package-0") + 1)
    after = source.read()
    assert source.joules(before, after, longest - 0.5) == (1e-6,)
    assert source.joules(before, after, longest + 1.5) == (None,)
    assert "more than once" in source.trouble["package-0"]
    source.close()


@pytest.mark.parametrize("layout", ["sysfs", "flat", "nested"])
def test_a_part_without_a_limit_has_that_of_its_package(tmp_path, layout):
    zone = Zone("package-0", max_power=125_000_000, children=[Zone("core", power_limit=0)])
    source = opened(make_tree(tmp_path / "powercap", [zone], layout).root)
    assert source.joules((0, 0), (1, 1), 1000.0) == (1e-6, 1e-6)
    source.close()


@pytest.mark.parametrize("span", [None, 0, -1])
def test_without_a_range_a_wrap_cannot_be_mended(tmp_path, span):
    source = opened(make_tree(tmp_path / "powercap", [Zone("package-0", range=span)]).root)
    assert source.joules((5,), (3,), 1.0) == (None,)
    assert "max_energy_range_uj" in source.trouble["package-0"]
    assert source.joules((3,), (5,), 1.0) == (2e-6,)
    source.close()


def test_a_counter_above_its_own_maximum(tmp_path):
    source = opened(make_tree(tmp_path / "powercap", [Zone("package-0", range=100)]).root)
    assert source.joules((500,), (450,), 1.0) == (None,)
    assert source.joules((-4,), (450,), 1.0) == (None,)
    source.close()


# ---- what fails mid-run --------------------------------------------------------------------------------------------------------


def test_a_counter_that_vanishes_costs_only_itself(tree, source):
    before = source.read()
    tree.remove("core")
    tree.advance("package-0", 5_000_000)
    tree.advance("dram", 1_000_000)
    assert source.joules(before, source.read(), 1.0) == (5.0, None, 1.0)
    assert "core" in source.trouble


@pytest.mark.parametrize("content", ["", "garbage\n", "12 34\n", "\x00\xff"])
def test_a_counter_that_is_empty_or_garbage(tree, source, content):
    tree.write("core", content)
    before = source.read()
    assert before == (1_000_000, None, 1_000_000)
    assert source.trouble["core"].endswith("energy_uj: holds no number")
    tree.set("core", 2_000_000)
    middle = source.read()
    tree.advance_all(1_000_000)
    after = source.read()
    assert source.joules(before, after, 1.0) == (1.0, None, 1.0)
    assert "core" in source.trouble, "a reading that failed is told until one succeeds"
    assert source.joules(middle, after, 1.0) == (1.0, 1.0, 1.0)
    assert source.trouble == {}


class Faulty:
    """``os.pread`` that fails on chosen descriptors."""

    def __init__(self, error: int, descriptors: set[int]) -> None:
        self.error, self.descriptors = error, descriptors

    def __call__(self, descriptor: int, size: int, offset: int) -> bytes:
        if descriptor in self.descriptors:
            raise OSError(self.error, os.strerror(self.error))
        return os.pread(descriptor, size, offset)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENODATA, errno.ENOENT, errno.EAGAIN])
def test_an_error_mid_run_is_told_and_tried_again(tree, source, error):
    before = source.read()
    source._pread = faulty = Faulty(error, {source._descriptors[0]})
    tree.advance_all(1_000_000)
    failed = source.read()
    assert failed[0] is None and failed[1:] == (2_000_000, 2_000_000)
    assert source.joules(before, failed, 1.0) == (None, 1.0, 1.0)
    assert os.strerror(error) in source.trouble["package-0"]
    faulty.descriptors.clear()
    assert source.joules(before, source.read(), 1.0) == (1.0, 1.0, 1.0)
    assert source.trouble == {}


@pytest.mark.parametrize("error", [errno.ENODEV, errno.ESTALE, errno.EBADF])
def test_a_device_that_comes_back_is_opened_again(tree, source, error):
    before = source.read()
    old = source._descriptors[1]
    path = tree.path("core")
    content = path.read_bytes()
    path.unlink()
    source._pread = Faulty(error, {old})
    assert source.read()[1] is None
    blocker = os.open(os.devnull, os.O_RDONLY)  # takes the freed number, so that the new descriptor is another
    path.write_bytes(content)
    tree.advance_all(1_000_000)
    assert source.joules(before, source.read(), 1.0) == (1.0, 1.0, 1.0)
    os.close(blocker)


def test_a_file_that_is_replaced_is_not_read_as_it_was_for_ever(tree, source, monkeypatch):
    """As when a container mounts another tree there: what is open still has its last value."""
    monkeypatch.setattr(module, "_AGAIN", 0)
    before = source.read()
    path = tree.path("package-0")
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    tree.advance_all(5_000_000)
    assert source.joules(before, source.read(), 1.0) == (None, 5.0, 5.0)
    between = source.read()
    assert between[0] is None and "replaced" in source.trouble["package-0"]
    after = source.read()
    tree.advance_all(2_000_000)
    assert source.joules(after, source.read(), 1.0) == (2.0, 2.0, 2.0)
    assert source.trouble == {}


def test_a_device_that_comes_back_as_another_is_not_taken_for_the_old(tree, source):
    tree.write("core", "uncore\n", "name")
    source._pread = Faulty(errno.ENODEV, {source._descriptors[1]})
    assert source.read()[1] is None
    assert "no longer the counter of core" in source.trouble["core"]


def test_a_descriptor_that_the_tests_closed_is_opened_again_and_theirs_left_alone(tree, source, tmp_path):
    before = source.read()
    number = source._descriptors[2]
    os.close(number)
    (tmp_path / "theirs").write_text("not a number")
    theirs = os.open(tmp_path / "theirs", os.O_RDONLY)
    assert theirs == number, "the lowest free number is taken"
    tree.advance_all(4_000_000)
    assert source.joules(before, source.read(), 1.0) == (4.0, 4.0, 4.0)
    assert os.pread(theirs, 3, 0) == b"not"
    source.close()
    assert os.pread(theirs, 3, 0) == b"not"
    os.close(theirs)


def test_reading_and_closing_after_the_end(tree, source):
    source.close()
    source.close()
    assert source.read() == (None, None, None)
    assert set(source.trouble) == {"package-0", "core", "dram"}
    source.open()
    assert source.read() == (1_000_000,) * 3
