"""Two revisions in turn: what each draws, and which tests are run on either side."""

import os

import pytest
from two_revisions import SHOP, TESTS, against, commit, dearer, git, left_behind


def test_tells_the_two_apart(shop):
    """With counters that tick, whose joules are shared out to bodies that are too short for them."""
    shop.subprocess = True
    shop.conftest()
    commit(shop)
    dearer(shop)
    result = against(shop, "-v")
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    tests = shop.tests()
    total, rate = tests["test_total"], tests["test_rate"]
    assert total["comparison"]["verdict"] == "regressed"
    assert total["comparison"]["ratio"] == pytest.approx(1.3)
    short = git(shop.path, "rev-parse", "--short", "HEAD")
    assert total["comparison"]["baseline"] == f"main ({short})"
    assert total["comparison"]["blocks"] >= 2
    assert rate["comparison"]["verdict"] == "ok"
    assert rate["comparison"]["ratio"] == pytest.approx(1.0)
    # The record is this tree's: all blocks' samples.
    assert [sample["energy"] for sample in total["samples"]] == [pytest.approx(1.3)] * 20
    blocks = [sample["block"] for sample in total["samples"]]
    assert blocks == sorted(blocks) and set(blocks) == set(range(1, max(blocks) + 1)) and max(blocks) >= 4
    assert total["rounds"] == 20
    assert left_behind(shop) == []


ROASTING = """
from counter import draw
def roast():
    sorted(range(20_000, 0, -1))  # a body that tracing it, and the load of the machine, change little of
    draw(500_000)
def total(): {total}
def rate(): draw(2_000_000)
"""


def test_says_where(shop):
    """Both sides are traced, once: the parts that grew are named."""
    shop.file(shop=ROASTING.format(total="roast()"))
    commit(shop)
    shop.file(shop=ROASTING.format(total="roast(); roast(); roast()"))
    result = against(shop, "--energy-trace=functions")
    result.assert_outcomes(passed=1, failed=1)
    test = shop.tests()["test_total"]
    assert [sample["energy"] for sample in test["samples"]] == [pytest.approx(1.5)] * 20
    account = test["account"]
    assert account["joules"] == test["energy"]["median"]
    assert sum(part["joules"] for part in [*account["flat"], account["unattributed"]]) == pytest.approx(1.5)
    assert account["grown"][0]["name"] == "shop.py::roast"
    result.stdout.fnmatch_lines(["*grew: shop.py::roast*"])


def test_the_other_way_round(shop):
    dearer(shop, total=700_000)
    result = against(shop)
    result.assert_outcomes(passed=2)
    assert shop.tests()["test_total"]["comparison"]["verdict"] == "improved"
    assert shop.tests()["test_total"]["comparison"]["ratio"] == pytest.approx(0.7)


def test_a_clean_tree_against_itself(shop):
    result = against(shop, ref="HEAD")
    result.assert_outcomes(passed=2)
    for test in shop.tests().values():
        assert test["comparison"]["verdict"] == "ok"
        assert test["comparison"]["ratio"] == pytest.approx(1.0)


def test_in_step_in_alternating_order(shop):
    """Blocks alternate, begun by either side in turn; both sides have one hash seed."""
    shop.file(
        test_shop="""
import sys
def test_it():
    with open(os.environ["ORDER"], "a") as file:
        print(os.getcwd(), os.environ["PYTHONHASHSEED"], hash("x"), file=file)
    draw(5000)
"""
    )
    commit(shop)
    order = shop.temp / "order.txt"
    os.environ["ORDER"] = str(order)
    try:
        against(shop, "--energy-rounds=8", ref="HEAD").assert_outcomes(passed=1)
    finally:
        del os.environ["ORDER"]
    lines = [line.split() for line in order.read_text().splitlines()]
    sides = "".join("h" if folder == str(shop.path) else "t" for folder, _, _ in lines)
    # Two rounds a block, and one to warm up: a side that follows itself is no warmer than one that follows the other.
    assert sides == "hhhtttttthhhhhhtttttthhh"
    assert len({(seed, value) for _, seed, value in lines}) == 1
    assert shop.tests()["test_it"]["rounds"] == 8


def test_drift_hits_both_alike(shop):
    """Every body costs more than the one before it: 0.1 % each, 8 % from the first to the last."""
    shop.file(
        test_shop="""
def test_it():
    with open(os.environ["COUNT"], "a+") as file:
        file.write("x")
        file.flush()
        number = file.tell()
    draw(int(1e6 * 1.001 ** number))
"""
    )
    commit(shop)
    os.environ["COUNT"] = str(shop.temp / "count.txt")
    try:
        against(shop, ref="HEAD").assert_outcomes(passed=1)
    finally:
        del os.environ["COUNT"]
    comparison = shop.tests()["test_it"]["comparison"]
    assert comparison["verdict"] == "ok"
    assert comparison["ratio"] == pytest.approx(1.0, abs=0.005)


def test_dirty_and_untracked_files_are_this_side_s_only(shop):
    (shop.path / "extra.py").write_text("def more(): return 500_000\n")  # not in git
    (shop.path / "shop.py").write_text(SHOP.format(total="1_000_000 + __import__('extra').more()", rate=2_000_000))
    before = git(shop.path, "status", "--porcelain")
    against(shop).assert_outcomes(passed=1, failed=1)
    assert shop.tests()["test_total"]["comparison"]["ratio"] == pytest.approx(1.5)
    assert git(shop.path, "status", "--porcelain") == before


def test_ids_that_differ_in_each_process_are_run_once(shop):
    """The time of collection as a parameter, say: companions do not know such a test, whose outcome is the plain run's."""
    changing = """
import os, pytest
@pytest.fixture(scope="module")
def wide():
    print("wide up")
    yield
    print("wide down")
@pytest.mark.parametrize("number", [1, 2], ids=lambda number: f"{os.getpid()}-{number}")
def test_changing(number, wide):
    assert number == 1
"""
    shop.file(test_shop=TESTS + changing)
    commit(shop)
    result = against(shop, "-s")
    result.assert_outcomes(passed=3, failed=1)
    shown = result.stdout.str()
    assert "assert 2 == 1" in shown and shown.count("wide up") == shown.count("wide down") >= 1
    assert "its node id differs from one process to the next" in " ".join(shown.split())


def test_new_gone_and_renamed(shop):
    text = TESTS.replace("test_rate", "test_tax_rate") + "def test_new(): draw(7000)\n"
    shop.file(test_shop=text, test_gone="def test_gone(): draw(8000)\n")
    commit(shop)
    (shop.path / "test_gone.py").unlink()
    shop.file(test_shop=TESTS + "def test_new(): draw(7000)\ndef test_newer(): draw(9000)\n")
    result = against(shop, ref="HEAD")
    result.assert_outcomes(passed=4)
    comparison = shop.report()["comparison"]
    assert comparison["new"] == ["test_shop.py::test_newer"]
    assert comparison["gone"] == ["test_gone.py::test_gone"]
    assert comparison["renamed"] == {"test_shop.py::test_tax_rate": "test_shop.py::test_rate"}
    tests = shop.tests()
    assert tests["test_newer"]["comparison"] is None
    assert tests["test_newer"]["energy"]["median"] == pytest.approx(9e-3)
    assert tests["test_rate"]["comparison"]["verdict"] == "ok"


def test_selections(shop):
    shop.file(test_other="@pytest.mark.xfail\ndef test_x(): assert 0\ndef test_y(): draw(3000)\ndef test_z(): draw(1)\n")
    against(shop, "test_shop.py::test_total", "test_other.py", "-k", "total or _y").assert_outcomes(passed=2)
    comparison = shop.report()["comparison"]
    # A file that is not there at the revision is no mistake; what was not asked for is not gone.
    assert comparison["new"] == ["test_other.py::test_y"]
    assert comparison["gone"] == []
    result = against(shop, "test_other.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --energy-against: no test in common with main (*): *test_other.py::test_x*"])


def test_from_a_subfolder(shop):
    sub = shop.path / "sub"
    sub.mkdir()
    for name in ("pytest.ini", "conftest.py", "counter.py", "shop.py", "test_shop.py"):
        (shop.path / name).rename(sub / name)
    commit(shop)
    (sub / "shop.py").write_text(SHOP.format(total=1_300_000, rate=2_000_000))
    shop.pytester.chdir()
    os.chdir(sub)
    result = against(shop, "--energy-json=../report.json")
    result.assert_outcomes(passed=1, failed=1)
    assert shop.tests()["test_total"]["comparison"]["ratio"] == pytest.approx(1.3)


def test_others_use_the_machine(shop):
    shop.conftest(shop.plug, shared=True)
    commit(shop)
    dearer(shop)
    against(shop, ref="HEAD").assert_outcomes(passed=2)
    comparison = shop.tests()["test_total"]["comparison"]
    assert comparison["verdict"] == "cannot tell"
    assert "other processes used the machine" in comparison["why"]


def test_few_rounds_and_markers(shop):
    shop.file(
        test_shop="@pytest.mark.energy(rounds=6)\ndef test_six(): draw(1000)\n"
        "@pytest.mark.energy(skip=True)\ndef test_skip(): draw(1000)\n"
        "@pytest.mark.energy(iterations=3)\ndef test_many(): draw(1000)\n"
    )
    commit(shop)
    against(shop, ref="HEAD").assert_outcomes(passed=3)
    tests = shop.tests()
    assert tests["test_six"]["rounds"] == 6
    assert tests["test_six"]["comparison"]["verdict"] == "ok"
    assert tests["test_skip"]["energy"] is None
    assert tests["test_skip"]["comparison"] is None
    assert tests["test_many"]["energy"]["median"] == pytest.approx(1e-3)
    assert tests["test_many"]["iterations"] == 3
    against(shop, "--energy-rounds=1", ref="HEAD").assert_outcomes(passed=3)
    comparison = shop.tests()["test_six"]["comparison"]
    assert comparison["verdict"] == "cannot tell"
    assert "--energy-rounds" in comparison["why"]


def test_little_time(shop):
    """However slow a test is, both sides have two blocks: what drifts takes from one what it gives to the other."""
    shop.file(test_shop="import time\ndef test_it():\n    draw(1000)\n    time.sleep(0.3)\n")
    commit(shop)
    against(shop, "--energy-max-time=0.1", ref="HEAD").assert_outcomes(passed=1)
    test = shop.tests()["test_it"]
    assert test["rounds"] == 2
    assert test["comparison"]["verdict"] == "cannot tell"
