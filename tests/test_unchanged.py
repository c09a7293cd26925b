"""What a test depends on and does not execute by itself: after a change of it, the test is measured again."""

from __future__ import annotations

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
