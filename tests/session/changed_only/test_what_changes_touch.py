"""What a change touches is measured again, and nothing else."""

from __future__ import annotations

import pytest
from changing_shop import ALL, edit, git, measure


@pytest.mark.parametrize(
    ("name", "before", "after", "expected"),
    [
        ("shop.py", "(1 + RATE)", "(1 + 2 * RATE)", {"test_total", "test_tax"}),
        ("shop.py", "self.prices.append(price)", "self.prices += [price]", {"test_total"}),
        ("shop.py", '"EUR"', '"USD"', {"test_total"}),
        ("shop.py", "LIMIT = 3", "LIMIT = 4", {"test_limit"}),
        ("rates.py", "RATE = 0.2", "RATE = 0.3", {"test_total", "test_tax"}),
        ("rates.py", "VOLUME = 11", "VOLUME = 12", {"test_loud"}),
        # It ran when the module was imported.
        ("rates.py", "return 1", "return 2", {"test_table"}),
        ("rates.py", "lookup = make()", "lookup = make()\nprint('hello')", {"test_total", "test_tax", "test_table", "test_loud"}),
        ("shop.py", "def untested():\n    return 1", "def untested():\n    return 2", set()),
        ("shop.py", "def untested():", "def another():\n    return 1\n\ndef untested():", set()),
        ("shop.py", "    def total(self):", "    def unused(self): pass\n    def total(self):", set()),
        # A name that stood for a builtin.
        ("shop.py", "def untested():", "def min(a, b):\n    return 1\n\ndef untested():", {"test_limit"}),
        # A method that may take the place of an inherited one.
        ("shop.py", "    def total(self):", "    def __len__(self): return 1\n    def total(self):", {"test_total"}),
        ("shop.py", "def with_tax(price):", "# why\ndef with_tax(\n    price: float,\n) -> float:\n    '''Taxed.'''", set()),
        ("test_shop.py", "shop.limited(9) < 9", "shop.limited(8) < 9", {"test_limit"}),
    ],
)
def test_what_a_change_touches_is_measured_again(measured, name, before, after, expected):
    edit(measured, name, before, after)
    assert measure(measured) == expected
    # And then its code is known.
    assert measure(measured) == set()


def test_a_change_that_is_taken_back(measured):
    edit(measured, "shop.py", "LIMIT = 3", "LIMIT = 4")
    assert measure(measured) == {"test_limit"}
    edit(measured, "shop.py", "LIMIT = 4", "LIMIT = 3")
    # Only the newest measurement is asked: no more is needed, and it is the nearest in time.
    assert measure(measured) == {"test_limit"}


FIXTURES = """
import pytest, shop

@pytest.fixture(scope="module")
def wide():
    return shop.limited(5)

@pytest.fixture
def near():
    yield shop.with_tax(1)
    shop.loud()

def test_first(wide):
    draw(1000)

def test_second(wide):
    draw(1000)

def test_near(near):
    draw(1000)

def test_dynamic(request):
    draw(1000)
    request.getfixturevalue("wide")

def test_none():
    draw(1000)
"""


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("min(n, LIMIT)", "min(n, LIMIT + 1)", {"test_first", "test_second", "test_dynamic"}),
        ("price * (1 + RATE)", "price * (2 + RATE)", {"test_near"}),
    ],
)
def test_what_a_fixture_executes_belongs_to_all_tests_that_use_it(shop, before, after, expected):
    shop.file(test_shop=FIXTURES)
    assert measure(shop) == {"test_first", "test_second", "test_near", "test_dynamic", "test_none"}
    edit(shop, "shop.py", before, after)
    assert measure(shop) == expected


def test_an_autouse_fixture_that_is_added(measured):
    measured.conftest("import pytest\n@pytest.fixture(autouse=True)\ndef more():\n    pass\n")
    assert measure(measured) == ALL


def test_a_hook_in_a_conftest_concerns_the_tests_below_it(shop):
    folder = shop.path / "inside"
    folder.mkdir()
    (folder / "conftest.py").write_text("def pytest_runtest_setup(item):\n    pass\n")
    (folder / "test_inside.py").write_text("from counter import draw\ndef test_inside():\n    draw(1000)\n")
    shop.ini("pythonpath = .")
    measure(shop)
    (folder / "conftest.py").write_text("def pytest_runtest_setup(item):\n    item.x = 1\n")
    assert measure(shop) == {"test_inside"}


PARAMETERS = """
import pytest

class Plain:
    def __init__(self, size):
        self.size = size

class Slotted:
    __slots__ = ("size",)
    def __init__(self, size):
        self.size = size

@pytest.mark.parametrize("n", [1, [2, {"a": (3,)}]])
def test_n(n):
    draw(1000)

@pytest.mark.parametrize("plain", [Plain(1), Plain(2)], ids=["a", "b"])
def test_plain(plain):
    draw(1000)

@pytest.mark.parametrize("slotted", [Slotted(1), Slotted(2)], ids=["a", "b"])
def test_slotted(slotted):
    draw(1000)
"""


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("(3,)", "(4,)", {"test_n[n1]"}),
        ("[1, [2,", "[1, 7, [2,", {"test_n[7]", "test_n[n2]"}),  # another id is another test
        ("Plain(1)", "Plain(5)", {"test_plain[a]"}),
        ("Slotted(1)", "Slotted(5)", {"test_slotted[a]", "test_slotted[b]"}),  # nothing tells the two apart
    ],
)
def test_parameters(shop, before, after, expected):
    shop.file(test_shop=PARAMETERS)
    assert len(measure(shop)) == 6
    assert measure(shop) == set()
    edit(shop, "test_shop.py", before, after)
    assert measure(shop) == expected


def test_data_files_concern_the_tests_that_read_files(shop):
    (shop.path / "data.json").write_text("[1]")
    shop.file(
        test_shop="import json, pathlib\n"
        "def test_open():\n    draw(1000)\n    with open('data.json') as file:\n        json.load(file)\n"
        "def test_path():\n    draw(1000)\n    pathlib.Path('data.json').read_text()\n"
        "def test_none():\n    draw(1000)\n"
    )
    git(shop, "add", "data.json", "test_shop.py")
    # ``draw`` of the counter that is there reads files itself.
    (shop.path / "counter.py").write_text("def draw(microjoules):\n    sum(range(10_000))\n")
    estimated = "--energy-source=estimate"
    assert measure(shop, estimated) == {"test_open", "test_path", "test_none"}
    assert measure(shop, estimated) == set()
    (shop.path / "README.md").write_text("text")
    git(shop, "add", "README.md")
    assert measure(shop, estimated) == set()
    (shop.path / "data.json").write_text("[1, 2]")
    assert measure(shop, estimated) == {"test_open", "test_path"}
