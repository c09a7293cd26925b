"""Sums over a run and over texts."""

from __future__ import annotations

from pytest_joules.code import sums
from pytest_joules.model import OTHER

COUNTS = {"a.py::f": [3, 3, 30, 0], "a.py::g": [1, 1], OTHER: [7], "a.py::gone": []}


def test_calls_of_the_project_alone():
    assert sums.calls(COUNTS) == {"total:calls": 4}
    assert sums.calls({}) == {} == sums.counted({})


def test_what_ran_and_the_most_of_it():
    assert sums.counted(COUNTS) == {
        "total:calls": 4,
        "total:statements": 34,
        "total:functions": 2,
        "total:other calls": 7,
        "most calls": 3,
        "most of a statement": 30,
        "most of a function": 33,
    }


def test_words_are_of_the_test_itself():
    found = sums.text({"t.py::test_a": "def test_a():\n    sort(sort)\n", "a.py::sort": "def sort(x): ..."}, "t.py::test_a")
    assert found["total:functions"] == 2 and found["total:characters"] == 45 and found["test:characters"] == 29
    words = {name: value for name, value in found.items() if name.startswith("word:")}
    # The same everywhere, whatever the hash seed of the interpreter.
    assert words == {"word:353": 1.0, "word:482": 1.0, "word:546": 2.0}
    assert not [name for name in sums.text({"a.py::f": "def f(): ..."}, None) if name.startswith("word:")]
