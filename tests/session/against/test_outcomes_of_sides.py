"""Tests that fail, crash or stop on either side."""

import os

import pytest
from two_revisions import against, commit, left_behind


def test_outcomes_are_this_side_s(shop):
    shop.file(
        test_shop="""
import shop
def test_fails():
    print("before it fell")
    assert 1 == 2
@pytest.mark.skip(reason="not today")
def test_skipped(): pass
@pytest.mark.xfail(reason="known")
def test_xfail(): assert 0
def test_fixed(): draw(1000)
def test_crash_there(): draw(1000)
def test_after(): draw(1000)
"""
    )
    commit(shop)
    text = (shop.path / "test_shop.py").read_text()
    shop.file(
        test_shop=text.partition("import shop")[2]
        .replace("def test_fixed(): draw(1000)", "def test_fixed(): assert 0")
        .replace("def test_crash_there(): draw(1000)", "def test_crash_there(): os._exit(7)")
    )
    commit(shop)
    (shop.path / "test_shop.py").write_text(text)
    result = against(shop, "--junitxml=junit.xml", ref="HEAD")
    result.assert_outcomes(passed=3, failed=1, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines(["*assert 1 == 2*", "*Captured stdout call*", "before it fell"])
    tests = shop.tests()
    assert tests["test_fails"]["comparison"] is None
    assert tests["test_fixed"]["comparison"]["verdict"] == "cannot tell"
    assert "failed at HEAD (" in tests["test_fixed"]["comparison"]["why"]
    assert "exit status 7" in tests["test_crash_there"]["comparison"]["why"]
    assert tests["test_after"]["comparison"]["verdict"] == "ok"
    cases = shop.junit()
    assert set(cases) == set(tests)
    properties = {entry.get("name"): entry.get("value") for entry in cases["test_after"].iter("property")}
    assert float(properties["energy_joules"]) == pytest.approx(1e-3)
    assert properties["energy_rounds"] == "20"
    assert cases["test_fails"].find("failure") is not None


def test_a_crash_here_costs_that_test_only(shop):
    shop.file(test_shop="def test_a(): draw(1000)\ndef test_b(): draw(1)\ndef test_c(): draw(1000)\n")
    commit(shop)
    shop.file(test_shop="def test_a(): draw(1000)\ndef test_b(): os._exit(7)\ndef test_c(): draw(1000)\n")
    result = against(shop)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*this tree: ended with exit status 7 while it ran test_shop.py::test_b*"])
    assert {name: test["outcome"] for name, test in shop.tests().items()} == {
        "test_a": "passed",
        "test_b": "crashed",
        "test_c": "passed",
    }
    assert shop.tests()["test_c"]["comparison"]["verdict"] == "ok"
    assert left_behind(shop) == []


@pytest.mark.parametrize("wanted", ["note", "fail"])
def test_a_later_block_fails(shop, wanted):
    """A test that fails in its third block has passed, or has failed where that is wanted; its fixtures come down before the
    next test."""
    shop.file(
        test_shop="""
COUNT = []
@pytest.fixture(scope="module")
def wide():
    yield
    draw(10)
    with open(os.environ["DOWN"], "a") as file:
        file.write("down")

def test_it(wide):
    draw(1000)
    COUNT.append(1)
    assert len(COUNT) < 12
"""
    )
    shop.file(test_zz="def test_next(): draw(1000)\n")
    commit(shop)
    down = shop.temp / "down.txt"
    os.environ["DOWN"] = str(down)
    try:
        result = against(shop, f"--energy-repeat-failures={wanted}", ref="HEAD")
    finally:
        del os.environ["DOWN"]
    if wanted == "fail":
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["*shared state*"])
    else:
        result.assert_outcomes(passed=2)
        (note,) = (note for note in shop.tests()["test_it"]["notes"] if "did not pass" in note)
        assert note.startswith("round 12 did not pass (call: assert 12 < 12")
        assert shop.tests()["test_it"]["samples"]
    assert down.read_text() == "down" * 2


@pytest.mark.parametrize("side", ["here", "there"])
def test_a_later_block_begins_with_a_failure(shop, side):
    """There are no more blocks; those before are the measurement, and are compared."""
    shop.conftest("BLOCKS = []\ndef pytest_runtest_logstart(): BLOCKS.append(1)\n")
    body = "def test_it():\n    draw(1000)\n"
    fails = "    from conftest import BLOCKS\n    assert len(BLOCKS) < 3\n"
    shop.file(test_shop=body + fails if side == "there" else body)
    commit(shop)
    shop.file(test_shop=body + fails if side == "here" else body)
    against(shop, "--energy-rounds=8", ref="HEAD").assert_outcomes(passed=1)
    test = shop.tests()["test_it"]
    (note,) = (note for note in test["notes"] if "did not pass" in note)
    assert note.startswith("block 3 did not pass (call: assert 3 < 3" if side == "here" else "block 3 at HEAD (")
    assert len(test["samples"]) == 4
    assert test["comparison"]["verdict"] in ("ok", "cannot tell")


def test_exit_first_and_budgets(shop):
    shop.file(
        test_shop="@pytest.mark.energy_budget(joules='1 mJ')\ndef test_over(): draw(5000)\n"
        "@pytest.mark.energy_budget(joules='1 mJ')\ndef test_under(): draw(500)\ndef test_never(): draw(1)\n"
    )
    commit(shop)
    against(shop, "--deselect=test_shop.py::test_over").assert_outcomes(passed=2, deselected=1)
    assert shop.tests()["test_under"]["budget"]["verdict"] == "ok"
    result = against(shop, "-x")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["OVER BUDGET test_shop.py::test_over 5.00 mJ > 1.00 mJ*"])
    assert list(shop.tests()) == ["test_over"]


def test_module_fixtures_stay_between_tests(shop):
    shop.file(
        test_shop="""
def log(text):
    with open(os.environ["LOG"], "a") as file:
        print(os.getpid(), text, file=file)

@pytest.fixture(scope="module")
def wide():
    log("up")
    yield
    log("down")

def test_a(wide): draw(1000)
def test_b(wide): draw(1000)
"""
    )
    commit(shop)
    log = shop.temp / "log.txt"
    os.environ["LOG"] = str(log)
    try:
        against(shop, ref="HEAD").assert_outcomes(passed=2)
    finally:
        del os.environ["LOG"]
    lines = [line.split() for line in log.read_text().splitlines()]
    for pid in {pid for pid, _ in lines}:
        assert [text for other, text in lines if other == pid] == ["up", "down"]


def test_the_revision_cannot_be_started_again(shop):
    """It dies in one test, and then for good: the others are this tree's, without verdicts."""
    shop.file(test_shop="def test_a(): draw(1000)\ndef test_b(): draw(1000)\ndef test_c(): draw(1000)\n")
    good = (shop.path / "conftest.py").read_text()
    flag = shop.temp / "flag"
    (shop.path / "conftest.py").write_text(f"{good}\nimport os\nif os.path.exists({str(flag)!r}): raise ValueError('for good')\n")
    text = f"def test_b():\n    open({str(flag)!r}, 'w').close()\n    os._exit(5)\n"
    here = (shop.path / "test_shop.py").read_text()
    (shop.path / "test_shop.py").write_text(here.replace("def test_b(): draw(1000)\n", text))
    commit(shop)
    (shop.path / "test_shop.py").write_text(here)
    (shop.path / "conftest.py").write_text(good)
    against(shop, ref="HEAD").assert_outcomes(passed=3)
    tests = shop.tests()
    assert tests["test_a"]["comparison"]["verdict"] == "ok"
    assert "ended with exit status 5 while it ran test_shop.py::test_b" in tests["test_b"]["comparison"]["why"]
    assert "cannot be run any more" in tests["test_c"]["comparison"]["why"]
    assert tests["test_c"]["energy"]["median"] == pytest.approx(1e-3)
