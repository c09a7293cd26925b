"""What a test depends on and does not execute by itself: after a change of it, the test is measured again."""

from __future__ import annotations

import os
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from textwrap import dedent

import psutil
import pytest
from changing_shop import edit, measure
from inner import Inner

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


# What a test gets at in other ways than by a call of the project's functions


def replace(path: Path, data: bytes) -> None:
    """By a file of its own: what is loaded of the old one stays whole."""
    (new := path.with_name("new")).write_bytes(data)
    new.replace(path)


def zip_of(path: Path, text: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("member", text)


def database_of(path: Path, value: int) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS t (v)")
        connection.execute("INSERT INTO t VALUES (?)", [value])


LIBRARY = "native.so"
A_LIBRARY = next(Path(psutil.__file__).parent.glob("*.so"))
VALUE = "def value():\n    return 1\n"

#: Kind: files that there are, the body of a test, and what is changed.
KINDS: dict[str, tuple[dict[str, str], str, Callable[[Path], object]]] = {
    "configparser": (
        {"kiln.cfg": "[a]\nb = 1\n", ".gitignore": "*.cfg\n"},
        "import configparser; assert configparser.ConfigParser().read('kiln.cfg')",
        lambda path: (path / "kiln.cfg").write_text("[a]\nb = 23\n"),
    ),
    "ElementTree": (
        {"kiln.xml": "<a/>"},
        "from xml.etree import ElementTree; ElementTree.parse('kiln.xml')",
        lambda path: (path / "kiln.xml").write_text("<a><b/></a>"),
    ),
    "zipfile": (
        {},
        "import zipfile; zipfile.ZipFile('kiln.bundle').read('member')",
        lambda path: zip_of(path / "kiln.bundle", "another text"),
    ),
    "sqlite": (
        {},
        "import sqlite3; c = sqlite3.connect('kiln.rows'); c.execute('SELECT * FROM t').fetchall(); c.close()",
        lambda path: database_of(path / "kiln.rows", 2),
    ),
    "ctypes": (
        {},
        f"import ctypes; ctypes.CDLL('./{LIBRARY}')",
        lambda path: replace(path / LIBRARY, (path / LIBRARY).read_bytes() + b"\0"),
    ),
    "folder": (
        {"data/one": ""},
        "import os; assert os.listdir('data')",
        lambda path: (path / "data" / "two").write_text(""),
    ),
    "runpy": (
        {"script.py": VALUE + "found = value()\n"},
        "import runpy; runpy.run_path('script.py')",
        lambda path: (path / "script.py").write_text(VALUE.replace("1", "23") + "found = value()\n"),
    ),
    "by its path": (
        {"script.py": VALUE},
        "from importlib import util; spec = util.spec_from_file_location('script', 'script.py')\n"
        "    module = util.module_from_spec(spec); spec.loader.exec_module(module); module.value()",
        lambda path: (path / "script.py").write_text(VALUE.replace("1", "23")),
    ),
    "exec": (
        {"script.txt": VALUE},
        "names = {}; exec(compile(open('script.txt').read(), 'script.txt', 'exec'), names); names['value']()",
        lambda path: (path / "script.txt").write_text(VALUE.replace("1", "23")),
    ),
    "reload": (
        {"kiln.py": "HEAT = 1\n"},
        "import importlib, kiln; assert importlib.reload(kiln).HEAT",
        lambda path: (path / "kiln.py").write_text("HEAT = 23\n"),
    ),
    "named by a text": (
        {"kiln.py": VALUE},
        "import importlib; assert importlib.import_module('ki' + 'ln').value()",
        lambda path: (path / "kiln.py").write_text(VALUE.replace("1", "23")),
    ),
    "filled by another module": (
        {"core.py": "REGISTRY = {}\n", "filler.py": "import core\ncore.REGISTRY['a'] = list(range(10))\n"},
        "import core, filler; assert core.REGISTRY",
        lambda path: (path / "filler.py").write_text("import core\ncore.REGISTRY['a'] = list(range(99))\n"),
    ),
    "cached property": (
        {
            "kiln.py": "from functools import cached_property\n"
            "class Kiln:\n    @cached_property\n    def heat(self):\n        return 1\nKILN = Kiln()\n"
        },
        "import kiln; assert kiln.KILN.heat",
        lambda path: edit_text(path / "kiln.py", "return 1", "return 23"),
    ),
    "cache of a class": (
        {
            "kiln.py": "class Kiln:\n    made = {}\n    @classmethod\n    def get(cls, name):\n"
            "        if name not in cls.made:\n            cls.made[name] = build(name)\n        return cls.made[name]\n"
            "def build(name):\n    return name * 10\n"
        },
        "import kiln; assert kiln.Kiln.get('a')",
        lambda path: edit_text(path / "kiln.py", "name * 10", "name * 99"),
    ),
    "pool": (
        {
            "kiln.py": "from concurrent.futures import ThreadPoolExecutor\nPOOL = ThreadPoolExecutor(1)\n"
            "POOL.submit(int).result()\ndef value():\n    return 1\n"
        },
        "import kiln; assert kiln.POOL.submit(kiln.value).result()",
        lambda path: edit_text(path / "kiln.py", "return 1", "return 23"),
    ),
}


def edit_text(path: Path, before: str, after: str) -> None:
    path.write_text(path.read_text().replace(before, after))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_got_at_in_another_way(inner: Inner, kind: str) -> None:
    """After the change every test that gets at it is measured again, whoever was first; one that does not, is not."""
    files, body, change = KINDS[kind]
    for name, text in files.items():
        (inner.path / name).parent.mkdir(exist_ok=True)
        (inner.path / name).write_text(text)
    zip_of(inner.path / "kiln.bundle", "a text")
    database_of(inner.path / "kiln.rows", 1)
    replace(inner.path / LIBRARY, A_LIBRARY.read_bytes())
    inner.file(
        test_a=f"def test_first():\n    draw(1000)\n    {body}\ndef test_second():\n    draw(1000)\n    {body}\n",
        test_b="def test_alone():\n    draw(1000)\n",
    )
    assert measure(inner) == {"test_first", "test_second", "test_alone"}
    change(inner.path)
    for path in inner.path.glob("*.py"):  # bytecode of a file of the same size and second would be taken for the new one's
        os.utime(path, (path.stat().st_mtime + 10,) * 2)
    assert measure(inner) == {"test_first", "test_second"}


def test_what_feeds_has_feeders_of_its_own(inner: Inner) -> None:
    """Without a change nothing is measured again, however long the chain; a change at its end is."""
    (inner.path / "core.py").write_text("REGISTRY = {}\n")
    (inner.path / "near.py").write_text("import core\nNAMES = []\ncore.REGISTRY['a'] = NAMES\nNAMES = NAMES or list('a')\n")
    (inner.path / "far.py").write_text("import near\nnear.NAMES.append('b' * 10)\n")
    inner.file(test_a="import core, near, far\ndef test_a():\n    draw(1000)\n    assert core.REGISTRY\n")
    assert measure(inner) == {"test_a"}
    assert measure(inner) == set()
    edit(inner, "far.py", "'b' * 10", "'b' * 99")
    assert measure(inner) == {"test_a"}


def test_code_outside_of_rootdir(inner: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ini file lies in a folder of its own."""
    monkeypatch.setenv("HOME", str(inner.path / "home"))  # where pytester puts it, all would be the home folder's
    (inner.path / "kiln.py").write_text(VALUE)
    inner.file(test_a="import kiln\ndef test_a():\n    draw(1000)\n    kiln.value()\ndef test_alone():\n    draw(1000)\n")
    for folder, name in (("ci", "pytest.ini"), ("tests", "test_a.py")):
        (inner.path / folder).mkdir()
        (inner.path / name).rename(inner.path / folder / name)
    inner.pytester.syspathinsert()
    asked = ("-c", "ci/pytest.ini", "tests")
    assert len(measure(inner, *asked)) == 2
    assert measure(inner, *asked) == set()
    edit(inner, "kiln.py", "return 1", "return 23")
    assert measure(inner, *asked) == {"test_a"}


@pytest.mark.parametrize("compiled", [True, False])
def test_nothing_stands_in_for_a_function_while_rounds_are_measured(inner, compiled):
    """What tells of calls would be part of what is measured; an audit hook, which stays, would be part of all that follows."""
    inner.file(
        test_a=dedent("""
            import builtins, copy, io, os, sys, threading
            from os import listdir

            def functions():
                start = getattr(threading, "_start_new_thread", None) or threading._start_joinable_thread
                return [builtins.open, io.open, os.open, os.listdir, listdir, os.scandir, start]

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
    (inner.path / "uncompiled.py").write_text("import sys\nsys.modules['pytest_joules.code._standin'] = None\n")
    more = () if compiled else ("-p", "uncompiled")
    inner.run("--energy-rounds=3", *more, subprocess=True).assert_outcomes(passed=1)
    rounds = (inner.path / "rounds.txt").read_text().splitlines()
    assert rounds == ["1 False", *["1 True"] * 3]
