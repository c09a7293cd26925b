"""A project that tests change, measured with ``--energy-changed-only``."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import time
from collections.abc import Callable

import pytest
from inner import Inner, Make

SHOP = '''
"""A shop."""
from rates import RATE, lookup
import rates

LIMIT = 3

class Cart:
    currency = "EUR"
    def __init__(self):
        self.prices = []
    def add(self, price):
        self.prices.append(price)
    def total(self):
        return sum(with_tax(price) for price in self.prices)

def with_tax(price):
    return price * (1 + RATE)

def limited(n):
    return min(n, LIMIT)

def from_table(name):
    return lookup[name]

def loud():
    return rates.VOLUME

def untested():
    return 1
'''

RATES = """
RATE = 0.2
VOLUME = 11
def make():
    return {"a": base()}
def base():
    return 1
lookup = make()
"""

TESTS = """
import shop

def test_total():
    draw(1000)
    cart = shop.Cart()
    cart.add(2)
    assert cart.total() > 2

def test_tax():
    draw(1000)
    assert shop.with_tax(1) > 1

def test_limit():
    draw(1000)
    assert shop.limited(9) < 9

def test_table():
    draw(1000)
    assert shop.from_table("a")

def test_loud():
    draw(1000)
    assert shop.loud()

def test_alone():
    draw(1000)
"""
ALL = {"test_total", "test_tax", "test_limit", "test_table", "test_loud", "test_alone"}


def _made(inner: Inner) -> None:
    (inner.path / "shop.py").write_text(SHOP)
    (inner.path / "rates.py").write_text(RATES)
    inner.file(test_shop=TESTS)
    # Every test reads the counter's files; git knows that they, and what pytester writes, are none of the project's data.
    git(inner, "init", "-q")


def _measured(inner: Inner) -> None:
    _made(inner)
    assert measure(inner) == ALL


@pytest.fixture
def shop(inner: Inner) -> Inner:
    """The project as it begins."""
    _made(inner)
    return inner


@pytest.fixture
def measured(inner: Inner, begin: Callable[[Inner, Make], None]) -> Inner:
    """The project when all of its tests have been measured once."""
    begin(inner, _measured)
    return inner


def git(inner: Inner, *args: str) -> None:
    subprocess.run(["git", *args], cwd=inner.path, check=True)


def measure(inner: Inner, *args: str) -> set[str]:
    """Run; the tests that were measured."""
    result = inner.run("--energy-changed-only", "--energy-rounds=3", *args)
    assert result.ret == 0, result.stdout.str()
    return {name for name, test in inner.tests().items() if test["cached"] is None and test["samples"]}


def edit(inner: Inner, name: str, before: str, after: str) -> None:
    path = inner.path / name
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))
    # Bytecode of a file of the same size and second would be taken for the new one's.
    os.utime(path, (time.time() + 10 * next(_LATER),) * 2)


_LATER = itertools.count(1)


def says(result: pytest.RunResult, pattern: str) -> bool:
    """Whether the terminal says it, wherever it broke the lines."""
    return re.search(pattern, " ".join(result.stdout.str().split())) is not None
