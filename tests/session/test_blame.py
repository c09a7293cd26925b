"""A regression names the functions whose text has changed: not what a test merely had not run before, not under another path."""

import json

import pytest

from pytest_joules import baseline as baselines
from pytest_joules.code.blame import blame
from pytest_joules.code.installed_copies import own_path
from pytest_joules.code.inventory import OnDisk, Stored
from pytest_joules.code.source_file import File

SHOP = """
from functools import lru_cache
from counter import draw
import stock

RATE = 1_000_000

def gather():
    return [1]

@lru_cache
def shelf():
    return gather()

def total():
    shelf()
    draw(1_000_000)

def often():
    one = 1
    two = 2

def loop():
    for _ in range(20):
        often()
    draw(1_000_000)

def rated():
    draw(RATE)

def lazily():
    draw(1_000_000)
"""
STOCK = """
from counter import draw
def count():
    draw(1_000_000)
def recount():
    draw(10)
"""
#: Nobody imports it at first, and nobody changes it.
SPARE = "from counter import draw\ndef spare():\n    draw(1_000_000)\n"
TESTS = """
import shop, stock
def test_first(): shop.shelf(); draw(1_000_000)
def test_total(): shop.total()
def test_loop(): shop.loop()
def test_rated(): shop.rated()
def test_lazily(): shop.lazily()
def test_moved(): stock.count()
def test_hook(): draw(1_000_000)
"""
HOOK = "\nimport shop\ndef pytest_runtest_setup(item):\n    {}\n"


@pytest.fixture
def saved(inner):
    """A project with a baseline of all its tests."""
    for name, text in (("shop", SHOP), ("stock", STOCK), ("spare", SPARE)):
        (inner.path / f"{name}.py").write_text(text)
    inner.file(test_shop=TESTS)
    inner.conftest(HOOK.format("pass"))
    assert inner.run("--energy-save=main", "--energy-rounds=6").ret == 0
    return inner


def edit(inner, name, *pairs):
    path = inner.path / name
    text = path.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def named(inner, *args):
    """What the tests that regressed against ``main`` name, by test."""
    inner.said = " ".join(inner.run("--energy-compare=main", "--energy-rounds=6", *args).stdout.str().split())
    found = {name: test["comparison"] for name, test in inner.tests().items()}
    return {name: entry["changed"] for name, entry in found.items() if entry["verdict"] == "regressed"}


def edits(inner):
    edit(
        inner,
        "shop.py",
        ("    shelf()\n    draw(1_000_000)", "    shelf()\n    import math\n    draw(2_000_000)"),
        ("two = 2", "two = 3"),
        ("range(20):\n        often()\n    draw(1_000_000)", "range(20):\n        often()\n    fresh()\n    draw(2_000_000)"),
        ("def rated", "def fresh(): pass\n\ndef rated"),
        ("RATE = 1_000_000", "RATE = 2_000_000"),
        ("def lazily():\n    draw(1_000_000)", "def lazily():\n    import spare\n    draw(1_000_000)\n    spare.spare()"),
        ("import stock", "import store"),
    )
    (inner.path / "stock.py").unlink()
    (inner.path / "store.py").write_text(STOCK.replace("draw(1_000_000)", "draw(2_000_000)"))
    edit(inner, "test_shop.py", ("import shop, stock", "import shop, store as stock"))


EXPECTED = {
    "test_total": ["shop.py::total"],  # neither the cache that it had to fill now nor the import
    "test_loop": ["shop.py::often", "shop.py::loop", "shop.py::fresh"],  # by what they do, new ones after edited ones
    "test_rated": ["shop.py::<module> RATE"],  # only here
    "test_lazily": ["shop.py::lazily"],  # not what it now reaches as well
    "test_moved": ["store.py::count"],  # renamed with its file
}


def test_only_what_says_something_else_now(saved):
    edits(saved)
    assert named(saved, "--deselect=test_shop.py::test_first") == EXPECTED


def test_as_another_python_hashes_functions(saved):
    """Its bytecode is another one, so all hashes of a test's functions differ."""
    (path,) = (saved.path / ".joules").glob("*/main.json")
    record = json.loads(path.read_text())
    record["functions"] = [[place, value[::-1]] for place, value in record["functions"]]
    path.write_text(json.dumps(record))
    edits(saved)
    assert named(saved, "--deselect=test_shop.py::test_first") == EXPECTED


def test_hooks_of_a_conftest_file(saved):
    saved.conftest(HOOK.format("shop.RATE = 2_000_000"))
    assert named(saved) == {"test_rated": ["conftest.py::pytest_runtest_setup"]}


def test_a_copy_of_the_project_is_the_project(inner):
    """A baseline of the tree, compared with a copy of it and with the tree again: a module is the same wherever it is."""
    (inner.path / "pyproject.toml").write_text('[project]\nname = "Shop.it"\n')
    inner.file(test_shop="from acme import shop\ndef test_total(): shop.total()\n")
    texts = {
        "acme/shop.py": (
            "from counter import draw\nRATE = 10\ndef rate():\n    return RATE\ndef total():\n    draw(rate() * {n})\n"
        ),
        "acme/data.json": "[1]",
    }
    site, tree = inner.path / "env" / "site-packages", inner.path / "src"
    info = site / "shop_it-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in texts))
    for folder, n in ((tree, 100_000), (site, 200_000)):
        for name, text in texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text.replace("{n}", str(n)))
    assert inner.run("--energy-save=main", "--energy-rounds=6", "-o", "pythonpath=src .").ret == 0
    copied = ("-o", f"pythonpath=. {site}")
    assert named(inner, *copied) == {"test_total": ["acme/shop.py::total"]}
    assert "changed in its path: acme.shop.total" in inner.said
    # What is kept of the copy is compared with the tree, where the same is edited the other way.
    assert inner.run("--energy-save=main", "--energy-rounds=6", *copied).ret == 0
    edit(inner, "src/acme/shop.py", ("100000", "300000"))
    assert named(inner, "-o", "pythonpath=src .") == {"test_total": ["src/acme/shop.py::total"]}
    # Only what the copy has been changed to is measured again.
    assert inner.run("--energy-rounds=2", *copied).ret == 0
    assert inner.run("--energy-changed-only", *copied).ret == 0
    assert inner.tests()["test_total"]["cached"]
    edit(inner, "env/site-packages/acme/shop.py", ("RATE = 10", "RATE = 11"))
    assert inner.run("--energy-changed-only", *copied).ret == 0
    assert not inner.tests()["test_total"]["cached"]


def test_an_old_baseline_and_one_that_was_mended(saved):
    """Without texts, what other tests had executed is known; with --energy-update, tests keep the texts of their values."""
    (path,) = (saved.path / ".joules").glob("*/main.json")
    whole = path.read_text()
    record = json.loads(whole)
    assert record.pop("texts")["shop.py"].keys() >= {"total", "<module> RATE"}
    path.write_text(json.dumps(record))
    assert baselines.load(path).texts == {}
    edits(saved)
    kept = {name: EXPECTED[name] for name in ("test_total", "test_rated")}
    ids = [f"test_shop.py::{name}" for name in kept]
    assert named(saved, *ids) == kept
    path.write_text(whole)
    assert saved.run("--energy-compare=main", "--energy-update", "--energy-rounds=6", "test_shop.py::test_rated").ret == 0
    assert named(saved, *ids) == {"test_total": ["shop.py::total"]}
    path.write_text(whole.replace('"texts": {', '"texts": {"a.py": {"f": 1}, '))
    with pytest.raises(baselines.BaselineError, match=r"'a.py': holds 1, which is no hash"):
        baselines.load(path)


# ------------------------------------------------------------------ what is compared

SAID = """
import pytest

class Cart:
    rate: int = 3

    @pytest.mark.slow
    def total(self, of: list[int], *, unit="g") -> int:
        "Of all."
        left: int = 0  # so far
        for one in of:
            left += f"{one!r:>{3}} {unit}" "x" != ""
        def inner(by=unit): return by
        return left
"""


def test_texts_do_not_depend_on_the_python():
    """These hashes came from Python 3.11; the same on every other one."""
    assert File(SAID.encode()).texts == {
        "Cart.total.<locals>.inner": "874510473155d5e5",
        "Cart.total": "b5420a46caf8ffaf",
        "<module> pytest": "1bf7596b2b90af34",
        "<module> Cart": "66d9793b68a75c07",
    }


@pytest.mark.parametrize(
    ("old", "new", "alike"),
    [
        ("of: list[int]", "of", True),
        ('        "Of all."\n', "", True),
        ("  # so far", "", True),
        ("    @pytest.mark.slow\n", "", True),
        ("left: int = 0", "left = 0", False),  # an annotated assignment is another statement
        ("return left", "return -left", False),
        ('unit="g"', 'unit="kg"', False),
        ("(by=unit)", "(by=3)", False),
        ("return by", "return -by", True),  # that of the function inside
        ("def total", "def whole", True),  # whatever it is called
    ],
)
def test_what_a_text_is(old, new, alike):
    assert old in SAID
    then, now = (File(text.encode()).texts for text in (SAID, SAID.replace(old, new)))
    name = "Cart.whole" if "whole" in new else "Cart.total"
    assert (then["Cart.total"] == now[name]) is alike


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("installed/acme/shop.py", "acme/shop.py"),
        ("src/acme/shop.py", "acme/shop.py"),
        ("packages/acme/src/acme/shop.py", "acme/shop.py"),
        ("acme/shop.py", "acme/shop.py"),
        ("src.py", "src.py"),
    ],
)
def test_a_modules_own_name(path, own):
    assert own_path(path) == own


def sides(then, now):
    """Both sides of one test that executes all functions of the given files."""
    files = [{path: File(text.encode()) for path, text in side.items()} for side in (then, now)]
    executed = [{f"{path}::{name}": text for path, file in side.items() for name, text in file.texts.items()} for side in files]
    texts = [OnDisk(side.get) for side in files]
    return blame({"t": executed[0]}, {"t": executed[1]}, ["t"], then=texts[0], present=texts[1])["t"]


F, G, H = ("def f(): return 1\n", "def g(): return 2\n", "def h(): return 3\n")


@pytest.mark.parametrize(
    ("then", "now", "named"),
    [
        ({"a.py": F + G}, {"a.py": F.replace("f()", "renamed()") + G}, []),
        ({"a.py": F + G}, {"b.py": F + G}, []),
        ({"a.py": F + G}, {"b.py": F + G.replace("2", "9")}, ["b.py::g"]),
        ({"a.py": F + G}, {"a.py": F + "def renamed(): return 9\n"}, ["a.py::renamed"]),
        ({"a.py": F + G}, {"a.py": F.replace("1", "9") + G + H}, ["a.py::f", "a.py::h"]),
        ({"a.py": "class A:\n" + "    " + F}, {"a.py": "class B:\n" + "    " + F}, []),
        ({"a.py": F + "N = 1\n"}, {"a.py": F + "N = 2\n"}, ["a.py::<module> N"]),
        ({"a.py": F + "print()\n"}, {"a.py": F + "print(1)\n"}, ["a.py::<module>"]),
        ({"a.py": F + G}, {"a.py": F}, ["a.py::g"]),
        ({"a.py": F + "import x\n"}, {"a.py": F.replace("1", "2")}, ["a.py::f"]),
        ({"src/a.py": F + G}, {"installed/a.py": F + G.replace("2", "9")}, ["a.py::g"]),
    ],
)
def test_what_is_named(then, now, named):
    assert sides(then, now) == named


def test_files_that_nothing_executed_are_known_by_their_content():
    file = File((F + G).encode())
    now = {"t": {"a.py::f": "2", "b.py::f": "3"}}
    for content, named in ((file.content[:8], ["a.py::f"]), ("0" * 8, ["a.py::f", "b.py::f"])):
        then = Stored({"a.py": {"f": "0"}, "b.py": content})
        found = blame({"t": {"a.py::f": "1"}}, now, ["t"], then=then, present=OnDisk({"a.py": file, "b.py": file}.get))
        assert found == {"t": named}
