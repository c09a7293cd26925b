"""What a test depends on and does not execute by itself: after a change of it, the test is measured again."""

from __future__ import annotations

from textwrap import dedent

import pytest
from inner import Inner
from test_changed_only import measure

LAZY = """
import functools
@functools.lru_cache(maxsize=None)
def table():
    return build()
def build():
    return list(range(10))
_names = None
def names():
    global _names
    if _names is None:
        _names = make_names()
    return _names
def make_names():
    return ["a"] * 10
"""


def test_what_an_earlier_test_made_and_what_is_read(inner: Inner) -> None:
    (inner.path / "lazy.py").write_text(LAZY)
    (inner.path / "words.txt").write_text("one")
    inner.file(
        test_a="import lazy, pathlib\n"
        "def test_a():\n    draw(1000)\n    lazy.table()\n"
        "def test_b():\n    draw(1000)\n    lazy.table()\n"
        "def test_c():\n    draw(1000)\n    lazy.names()\n"
        "def test_d():\n    draw(1000)\n    lazy.names()\n"
        "def test_words():\n    draw(1000)\n    assert pathlib.Path(__file__).with_name('words.txt').read_text()\n"
        "def test_alone():\n    draw(1000)\n"
    )
    assert len(measure(inner)) == 6
    assert measure(inner) == set()
    (inner.path / "lazy.py").write_text(LAZY.replace("range(10)", "range(99)").replace('["a"] * 10', '["a"] * 99'))
    assert measure(inner) == {"test_a", "test_b", "test_c", "test_d"}
    (inner.path / "words.txt").write_text("one two")
    assert measure(inner) == {"test_words"}


@pytest.mark.parametrize("compiled", [True, False])
def test_nothing_stands_in_for_a_function_while_rounds_are_measured(inner, compiled):
    """What tells of calls would be part of what is measured; an audit hook, which stays, would be part of all that follows."""
    inner.file(
        test_a=dedent("""
            import builtins, copy, io, os, sys, threading
            from os import listdir

            def functions():
                return [builtins.open, io.open, os.open, os.listdir, listdir, os.scandir, threading._start_new_thread]

            def test_a():
                draw(1000)
                with open("rounds.txt", "a") as file:
                    alike = len({type(function).__name__ for function in functions()})
                    print(alike, isinstance(getattr(open, "__self__", None), type(os)), file=file)
                listdir(".")
            """)
    )
    (inner.path / "conftest.py").write_text(
        (inner.path / "conftest.py").read_text()
        + "\nimport sys\nadded = []\nadd = sys.addaudithook\nsys.addaudithook = lambda hook: added.append(hook) or add(hook)\n"
        + "def pytest_sessionfinish():\n    sys.addaudithook = add\n    assert not added\n"
    )
    (inner.path / "uncompiled.py").write_text("import sys\nsys.modules['pytest_joules._standin'] = None\n")
    more = () if compiled else ("-p", "uncompiled")
    inner.run("--energy-rounds=3", *more, subprocess=True).assert_outcomes(passed=1)
    rounds = (inner.path / "rounds.txt").read_text().splitlines()
    assert rounds == ["1 False", *["1 True"] * 3]
