"""``--energy-changed-only``: what is measured again after a change and what is not, in projects that tests change."""

from __future__ import annotations

import itertools
import json
import os
import re
import sqlite3
import subprocess
import time
from contextlib import closing

import pytest
from inner import Inner
from test_comparison import COSTS

from pytest_joules.baseline import baselines

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


@pytest.fixture
def shop(inner: Inner) -> Inner:
    (inner.path / "shop.py").write_text(SHOP)
    (inner.path / "rates.py").write_text(RATES)
    inner.file(test_shop=TESTS)
    # Every test reads the counter's files; git knows that they, and what pytester writes, are none of the project's data.
    git(inner, "init", "-q")
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


def test_the_first_run_measures_all_and_says_why_the_next_none(shop):
    result = shop.run("--energy-changed-only", "--energy-rounds=3")
    assert says(result, "every test was measured: the history has no measurement")
    before = shop.tests()
    assert all(test["cached"] is None and test["code"]["unknown"] == [] for test in before.values())
    result = shop.run("--energy-changed-only", "--energy-rounds=3")
    result.assert_outcomes(passed=6)
    assert says(result, "cached: 6 of 6 tests, measured .* ago; their code has not changed since")
    created = shop.report()["created"]
    for name, test in shop.tests().items():
        assert test["cached"] is not None and test["cached"] <= created
        assert test["outcome"] == "passed"
        for key in ("energy", "duration", "samples", "provenance", "resolution", "rounds", "iterations", "code"):
            assert test[key] == before[name][key], key
    # What was not measured is not kept as if it had been.
    with closing(sqlite3.connect(shop.path / ".pytest_cache/d/joules/history.db")) as connection:
        assert connection.execute("SELECT count(*) FROM measurements").fetchone() == (6,)


def test_a_cached_test_runs_once(shop):
    shop.file(test_count="def test_one():\n    draw(1000)\n    with open('log', 'a') as file:\n        file.write('x')\n")
    measure(shop)
    before = (shop.path / "log").read_text()
    assert "test_one" not in measure(shop)
    assert (shop.path / "log").read_text() == before + "x"


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
def test_what_a_change_touches_is_measured_again(shop, name, before, after, expected):
    assert measure(shop) == ALL
    edit(shop, name, before, after)
    assert measure(shop) == expected
    # And then its code is known.
    assert measure(shop) == set()


def test_a_change_that_is_taken_back(shop):
    measure(shop)
    edit(shop, "shop.py", "LIMIT = 3", "LIMIT = 4")
    assert measure(shop) == {"test_limit"}
    edit(shop, "shop.py", "LIMIT = 4", "LIMIT = 3")
    # Only the newest measurement is asked: no more is needed, and it is the nearest in time.
    assert measure(shop) == {"test_limit"}


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


def test_an_autouse_fixture_that_is_added(shop):
    measure(shop)
    shop.conftest("import pytest\n@pytest.fixture(autouse=True)\ndef more():\n    pass\n")
    assert measure(shop) == ALL


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


def test_what_starts_threads_or_processes_is_measured_every_time(shop):
    shop.file(
        test_shop="import threading, subprocess, sys\n"
        "def test_thread():\n    draw(1000)\n    thread = threading.Thread(target=int)\n    thread.start()\n    thread.join()\n"
        "def test_process():\n    draw(1000)\n    subprocess.run([sys.executable, '-c', ''])\n"
        "def test_system():\n    draw(1000)\n    os.system('true')\n"
        "def test_none():\n    draw(1000)\n"
    )
    measure(shop)
    result = shop.run("--energy-changed-only", "--energy-rounds=3")
    tests = shop.tests()
    assert {name for name, test in tests.items() if test["cached"] is None} == {"test_thread", "test_process", "test_system"}
    assert tests["test_thread"]["code"]["unknown"] == ["starts a thread"]
    assert "starts a process" in tests["test_process"]["code"]["unknown"]
    assert tests["test_system"]["code"]["unknown"] == ["starts a process"]
    assert says(result, "measured every time, because not all of their code is known: .* starts a process")


def test_what_was_not_warmed_up_is_measured_every_time(shop):
    assert measure(shop, "--energy-warmup=0") == ALL
    assert all(test["code"]["fingerprint"] is None for test in shop.tests().values())
    assert measure(shop) == ALL
    assert measure(shop) == set()


def test_a_test_that_fails_now_fails(shop):
    (shop.path / "state").write_text("1")
    shop.file(test_shop="def test_state():\n    draw(1000)\n    assert os.stat('state').st_size == 1\n")
    measure(shop)
    (shop.path / "state").write_text("22")
    result = shop.run("--energy-changed-only")
    result.assert_outcomes(failed=1)
    test = shop.tests()["test_state"]
    assert (test["outcome"], test["energy"], test["cached"]) == ("failed", None, None)


def test_another_source_is_another_history(shop):
    measure(shop)
    result = shop.run("--energy-changed-only", "--energy-source=estimate", "--energy-rounds=3")
    assert says(result, "every test was measured: the history has no measurement by this machine and estimate")
    assert all(test["cached"] is None for test in shop.tests().values())


def test_budgets_are_judged_on_cached_joules(shop):
    measure(shop)
    result = shop.run("--energy-changed-only", "--energy-budget=*test_tax=0.5 mJ")
    result.assert_outcomes(passed=5, failed=1)
    tests = shop.tests()
    assert tests["test_tax"]["budget"]["verdict"] == "over budget"
    assert tests["test_tax"]["cached"] is not None


def test_workers_of_xdist(shop):
    pytest.importorskip("xdist")
    assert measure(shop, "-n2", "-p", "xdist") == ALL
    edit(shop, "shop.py", "LIMIT = 3", "LIMIT = 4")
    assert measure(shop, "-n2", "-p", "xdist") == {"test_limit"}
    result = shop.run("--energy-changed-only", "--energy-store=none.db", "-n2", "-p", "xdist")
    assert says(result, "every test was measured: ")


def test_without_the_cache_plugin_all_is_measured(shop):
    measure(shop)
    result = shop.run("--energy-changed-only", "-p", "no:cacheprovider")
    assert says(result, "every test was measured: there is no history: pytest's cache is switched off")


def test_a_function_imported_in_the_test(shop):
    (shop.path / "lazy.py").write_text("def work():\n    return 1\n")
    shop.file(test_shop="def test_lazy():\n    draw(1000)\n    import lazy\n    lazy.work()\ndef test_none():\n    draw(1000)\n")
    measure(shop)
    assert measure(shop) == set()
    (shop.path / "lazy.py").write_text("def work():\n    return 2\n")
    assert measure(shop) == {"test_lazy"}


# Together with --energy-compare


def costs(monkeypatch: pytest.MonkeyPatch, **millijoules: int) -> None:
    """What the tests cost from now on: outside of the project, so their code stays the same."""
    monkeypatch.setenv("COSTS", json.dumps({"a": 1000, "b": 200, "c": 3000, **millijoules}))


@pytest.fixture
def saved(inner, monkeypatch):
    """A project with a baseline."""
    inner.file(test_a=COSTS)
    git(inner, "init", "-q")
    costs(monkeypatch)
    assert inner.run("--energy-save=main", "--energy-rounds=10").ret == 0
    return inner


def compared(inner: Inner, *args: str, ret: int = 0) -> dict:
    """Verdicts of a run that takes what it can from the history; those of tests that were not measured end with ``cached``."""
    result = inner.run("--energy-changed-only", "--energy-compare=main", "--energy-rounds=10", *args)
    assert result.ret == ret, result.stdout.str()
    return {
        name: test["comparison"]["verdict"] + (", cached" if test["cached"] is not None else "")
        for name, test in inner.tests().items()
    }


ALL_OK = {"test_a": "ok, cached", "test_b": "ok, cached", "test_c": "ok, cached"}


def test_cached_tests_are_compared_by_their_cached_joules(saved, monkeypatch):
    costs(monkeypatch, a=9000)  # nobody looks
    assert compared(saved) == ALL_OK
    assert saved.report()["comparison"]["counts"] == {"ok": 3}
    for test in saved.tests().values():
        assert test["outcome"] == "passed"
        assert f"cached: measured {test['cached'][:10]}" in test["comparison"]["why"]
        assert test["comparison"]["ratio"] == pytest.approx(1) and test["comparison"]["blocks"] == 1


def test_cached_tests_that_became_cheaper_are_improved(saved, monkeypatch):
    costs(monkeypatch, c=1500)
    assert saved.run("--energy-rounds=10").ret == 0
    costs(monkeypatch)
    assert compared(saved) == {**ALL_OK, "test_c": "improved, cached"}


@pytest.mark.parametrize("workers", [[], ["-n2", "-p", "xdist"]], ids=["alone", "workers"])
def test_a_regression_fails_again_until_it_is_gone(saved, monkeypatch, workers):
    if workers:
        pytest.importorskip("xdist")
        # Other distributions are on the path of a worker than on that of a run inside this process.
        assert saved.run("--energy-save=main", "--energy-rounds=10", *workers).ret == 0
    costs(monkeypatch, a=1500)
    edit(saved, "test_a.py", 'def test_a(): cost("a")', "def test_a(): cost(str('a'))")
    assert compared(saved, *workers, ret=1) == {**ALL_OK, "test_a": "regressed"}
    # It failed, with joules that its code costs.
    kept = [entry for entry in saved.history() if entry[0] == "test_a.py::test_a"]
    assert kept[-1] == ("test_a.py::test_a", "passed", pytest.approx(1.5, rel=0.01))
    for _ in range(2):
        found = compared(saved, *workers, ret=1)
        assert found == {**ALL_OK, "test_a": "regressed"}
    assert saved.tests()["test_a"]["outcome"] == "failed"
    # Not compared with anything, that is what it costs.
    assert measure(saved, *workers) == set()
    assert saved.median("test_a") == pytest.approx(1.5, rel=0.01)
    costs(monkeypatch)
    assert compared(saved, *workers) == {**ALL_OK, "test_a": "ok"}
    assert compared(saved, *workers) == ALL_OK


def test_a_regression_that_nothing_was_compared_with_when_it_came(saved, monkeypatch):
    costs(monkeypatch, b=300)
    edit(saved, "test_a.py", 'def test_b(): cost("b")', "def test_b(): cost(str('b'))")
    assert measure(saved, "--energy-rounds=10") == {"test_b"}
    assert measure(saved) == set()
    assert compared(saved, ret=1) == {**ALL_OK, "test_b": "regressed"}


def test_a_test_whose_teardown_fails_while_it_waits_has_not_passed(saved, monkeypatch):
    costs(monkeypatch, a=1500)
    # The last round's: one that is warmed up, and ten.
    saved.conftest(
        "import pytest\nDONE = []\n@pytest.fixture(autouse=True)\ndef broken(request):\n    yield\n"
        "    DONE.append(request.node.name)\n    assert DONE != ['test_a'] * 11\n"
    )
    result = saved.run("--energy-compare=main", "--energy-rounds=10", "--energy-repeat-failures=fail")
    result.assert_outcomes(passed=2, failed=1, errors=1)
    assert [entry[1] for entry in saved.history()[3:] if entry[0] == "test_a.py::test_a"] == ["error"]


def test_a_baseline_of_another_machine(saved, monkeypatch):
    (path,) = (saved.path / ".joules").glob("*/main.json")
    text = path.read_text()
    cpu = json.dumps(json.loads(text)["machine"]["cpu"])
    folder = path.parent.parent / "0123456789ab"
    folder.mkdir()
    (folder / "main.json").write_text(text.replace(cpu, '"Another CPU"').replace(path.parent.name, folder.name))
    path.unlink()
    costs(monkeypatch, a=9000)
    assert set(compared(saved).values()) == {"cannot tell, cached"}
    assert "Another CPU" in saved.tests()["test_a"]["comparison"]["why"]


def test_what_is_saved_of_cached_tests_has_the_date_of_its_measurement(saved):
    time.sleep(1.1)  # dates are of a second
    edit(saved, "test_a.py", 'def test_b(): cost("b")', 'def test_b():\n    cost("b")\n    cost("b")')
    assert measure(saved, "--energy-save=later", "--energy-rounds=10") == {"test_b"}
    (first,) = (saved.path / ".joules").glob("*/main.json")
    (second,) = (saved.path / ".joules").glob("*/later.json")
    before, now = (baselines.load(path) for path in (first, second))
    assert now.created > before.created
    assert {nodeid: test.created for nodeid, test in now.tests.items()} == {
        "test_a.py::test_a": before.created,
        "test_a.py::test_b": None,
        "test_a.py::test_c": before.created,
    }
    for name in ("a", "c"):
        then, kept = before.tests[f"test_a.py::test_{name}"], now.tests[f"test_a.py::test_{name}"]
        assert (kept.samples, kept.functions, kept.fingerprint) == (then.samples, then.functions, then.fingerprint)
        assert kept.functions


def test_cached_joules_are_not_accepted_into_a_baseline(saved, monkeypatch):
    (path,) = (saved.path / ".joules").glob("*/main.json")
    costs(monkeypatch, a=1500, c=1500)
    assert saved.run("--energy-rounds=10").ret == 0
    # What looks dearer is measured now, and that is accepted.
    found = compared(saved, "--energy-update")
    assert found["test_b"] == "ok, cached" and found["test_c"] == "improved, cached"
    medians = {nodeid: test.energy["median"] for nodeid, test in baselines.load(path).tests.items()}
    assert medians == {
        "test_a.py::test_a": pytest.approx(1.5, rel=0.01),
        "test_a.py::test_b": pytest.approx(0.2, rel=0.01),
        "test_a.py::test_c": pytest.approx(3.0, rel=0.01),
    }
    result = saved.run("--energy-changed-only", "--energy-compare=main", "--energy-update", "--energy-rounds=10")
    assert says(result, "cached 3 that were not measured in this run")
