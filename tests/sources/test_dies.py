"""Dies of one package that show one counter, told apart by the values that they show while they move."""

from __future__ import annotations

import random

import pytest
from inner import Inner
from powercap import Zone

from pytest_joules.sources.mirrored_dies import Dies

NAMES = [f"package-{package}-die-{die}" for package in (0, 1) for die in (0, 1)]


def told(names: list[str], looks: list[tuple[float | None, ...]], *, relative: bool = False) -> dict[str, str]:
    mirrors: dict[str, str] = {}
    dies = Dies(names, mirrors, relative=relative)
    for look in looks:
        dies.note(look)
    return mirrors


@pytest.mark.parametrize("seed", range(5))
def test_one_counter_is_told_though_it_ticks_between_the_readings(seed: int) -> None:
    numbers = random.Random(seed)
    looks, value = [], 1000
    for _ in range(60):
        first = value
        value += numbers.choice((0, 0, 61, 122))  # perhaps a tick between the two
        looks.append((first, value))
    assert told(NAMES[:2], looks) == {NAMES[1]: NAMES[0]}


@pytest.mark.parametrize("seed", range(5))
def test_counters_of_their_own_are_added(seed: int) -> None:
    numbers = random.Random(seed)
    values, looks = [1000, 1000], []  # equal at first, by chance
    for _ in range(60):
        looks.append(tuple(values))
        values = [value + numbers.randrange(40, 90) for value in values]
    assert told(NAMES[:2], looks) == {}


def test_mirrors_are_of_one_package() -> None:
    looks = [(tick, tick, tick, tick) for tick in range(0, 6100, 61)]
    assert told(NAMES, looks) == {NAMES[1]: NAMES[0], NAMES[3]: NAMES[2]}


def test_what_stands_still_or_cannot_be_read_mirrors_nothing() -> None:
    assert told(NAMES[:2], [(7, 7)] * 50) == {}
    assert told(NAMES[:2], [(tick, None) for tick in range(50)]) == {}


def test_counted_since_they_were_opened() -> None:
    looks = [(100 + tick, 5 + tick) for tick in range(0, 610, 61)]
    assert told(NAMES[:2], looks, relative=True) == {NAMES[1]: NAMES[0]}
    assert told(NAMES[:2], looks) == {}


@pytest.mark.parametrize(("second", "joules"), [("tick", 2e-3), ("2 * tick", 6e-3)])
def test_a_run_counts_one_counter_once(inner: Inner, second: str, joules: float) -> None:
    """What no look at the start tells, as the counters stood still, is told by the readings of the rounds."""
    inner.counters([Zone("package-0-die-0"), Zone("package-0-die-1")])
    inner.file(
        test_a=f"""
@pytest.mark.parametrize("number", range(12))
def test_a(number):
    tick = 2000
    draw(tick, "package-0-die-0")
    draw({second}, "package-0-die-1")
"""
    )
    result = inner.run("--energy-rounds=3")
    assert inner.tests()["test_a[11]"]["energy"]["median"] == pytest.approx(joules)
    assert ("package-0-die-1 shows the counter of package-0-die-0: counted once" in result.stdout.str()) == (second == "tick")
    result.assert_outcomes(passed=12)
