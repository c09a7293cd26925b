"""Two revisions in turn: what each draws is known, since each draws it from the same counters."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PATIENCE, ended, wait_for, wait_until

IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A"), ("EMAIL", "a@example.org"), ("DATE", "2024-01-01T00:00:00Z"))
}


def git(folder, *arguments):
    env = {**os.environ, **IDENTITY, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(["git", *arguments], cwd=folder, env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(inner, message="a change"):
    git(inner.path, "add", "-A")
    git(inner.path, "commit", "-qm", message)


SHOP = "from counter import draw\ndef total(): draw({total})\ndef rate(): draw({rate})\n"
TESTS = """
import shop
def test_total(): shop.total()
def test_rate(): shop.rate()
"""


#: The counter, read at every body's borders: no ticks to wait for, which takes most of the time of a run with counters that tick.
PLUG = """
from pytest_joules.sources.base import Domain, Source

class Plug(Source):
    name, rank = "plug", 200
    def open(self):
        self.domains, self.tick, self.why = (Domain("plug", counts=True),), 0.0, "moved by the tests"
    def read(self):
        with open({path!r}) as file:
            return (int(file.read()),)
    def joules(self, before, after, seconds):
        return ((after[0] - before[0]) / 1e6,)

def pytest_joules_sources(config):
    return [Plug()]
"""


@pytest.fixture
def shop(inner, monkeypatch):
    """A repository whose ``main`` has a package that draws 1 J and 2 J."""
    inner.plug = PLUG.format(path=str(inner.tree.path("package-0")))
    inner.conftest(inner.plug)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(inner.path.parent))
    temp = inner.path.parent / f"{inner.path.name}-temp"
    temp.mkdir()
    monkeypatch.setenv("TMPDIR", str(temp))
    monkeypatch.setattr("tempfile.tempdir", None)  # which knows the one before
    inner.temp = temp
    # The two sides are processes of their own in any case.
    inner.subprocess = False
    (inner.path / ".gitignore").write_text(
        "/.powercap*\n__pycache__/\n.pytest_cache/\n/report.json\n/runpytest-*\n/stdout\n/stderr\n"
    )
    (inner.path / "shop.py").write_text(SHOP.format(total=1_000_000, rate=2_000_000))
    inner.file(test_shop=TESTS)
    git(inner.path, "init", "-qb", "main")
    commit(inner, "the first")
    return inner


def dearer(inner, total=1_300_000, rate=2_000_000):
    (inner.path / "shop.py").write_text(SHOP.format(total=total, rate=rate))


def against(inner, *args, ref="main", **kwargs):
    # A number of rounds that does not depend on how quick this machine is.
    return inner.run(f"--energy-against={ref}", "-o", "energy_rounds=20", *args, subprocess=inner.subprocess, **kwargs)


def left_behind(inner):
    """What is there that was not before: worktrees, temporary folders."""
    listed = git(inner.path, "worktree", "list", "--porcelain").split("\n\n")
    return listed[1:] + [path.name for path in inner.temp.iterdir() if path.name.startswith("pytest-joules-")]


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
    for name in ("pytest.ini", "conftest.py", "quiet.py", "counter.py", "shop.py", "test_shop.py"):
        (shop.path / name).rename(sub / name)
    commit(shop)
    (sub / "shop.py").write_text(SHOP.format(total=1_300_000, rate=2_000_000))
    shop.pytester.chdir()
    os.chdir(sub)
    result = against(shop, "--energy-json=../report.json")
    result.assert_outcomes(passed=1, failed=1)
    assert shop.tests()["test_total"]["comparison"]["ratio"] == pytest.approx(1.3)


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


# What can go wrong with the revision


def test_unknown_revision(shop):
    git(shop.path, "tag", "v1.0")
    git(shop.path, "branch", "feature/speed")
    shop.refused("--energy-against=v1.1", says=["--energy-against: 'v1.1' is not a revision", "is it v1.0?"])
    shop.refused("--energy-against=speed", says=["is it feature/speed?"])
    shop.refused("--energy-against=0123456", says=["write a branch, a tag or a commit"])


def test_not_a_repository(inner, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(inner.path.parent))
    inner.file(test_a="def test_it(): draw(1)\n")
    inner.refused("--energy-against=main", says=["is not in a git repository", "--energy-compare"])


def test_without_git(inner, monkeypatch):
    monkeypatch.setenv("PATH", str(inner.path))
    inner.file(test_a="def test_it(): draw(1)\n")
    inner.refused("--energy-against=main", says=["git is not there: install it"])


def test_no_commit_yet(inner, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(inner.path.parent))
    git(inner.path, "init", "-qb", "main")
    inner.file(test_a="def test_it(): draw(1)\n")
    inner.refused("--energy-against=main", says=["'main': the repository has no commit yet"])


def test_hooks_of_git_do_not_mislead(shop, monkeypatch):
    """Run from a git hook, whose variables name another index; the user's checkout hook is not run."""
    hook = shop.path / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {shop.temp / 'hooked'}\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_DIR", str(shop.temp / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(shop.temp / "index"))
    against(shop).assert_outcomes(passed=2)
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert not (shop.temp / "hooked").exists()
    assert left_behind(shop) == []


def test_shallow_clone_says_what_to_fetch(shop, monkeypatch):
    """And what it says works."""
    git(shop.path, "checkout", "-qb", "work")
    dearer(shop)
    commit(shop)
    git(shop.path, "tag", "v2")
    dearer(shop, total=1_600_000)
    commit(shop)
    clone = shop.temp / "clone"
    git(shop.temp, "clone", "-q", "--depth=1", "--branch=work", f"file://{shop.path}", str(clone))
    os.chdir(clone)
    for ref, command in (
        ("origin/main", "git fetch --depth=1 origin main:refs/remotes/origin/main"),
        ("HEAD~2", "git fetch --deepen=2"),
        ("v2", "git fetch --depth=1 origin tag v2"),
        (git(shop.path, "rev-parse", "main"), f"git fetch --depth=1 origin {git(shop.path, 'rev-parse', 'main')}"),
    ):
        result = against(shop, ref=ref)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        errors = [line for line in result.errlines if line.startswith("ERROR")]
        assert len(errors) == 1
        assert f"{ref!r} is not in this shallow clone: {command}" in errors[0]
        fresh = shop.temp / f"clone-{len(ref)}"
        git(shop.temp, "clone", "-q", "--depth=1", "--branch=work", f"file://{shop.path}", str(fresh))
        git(shop.path, "config", "uploadpack.allowAnySHA1InWant", "true")
        git(fresh, *command.split()[1:])
        assert git(fresh, "rev-parse", "--verify", f"{ref}^{{commit}}")
    git(clone, "fetch", "-q", "--depth=1", "origin", "main:refs/remotes/origin/main")
    against(shop, ref="origin/main", energy=True).assert_outcomes(passed=1, failed=1)


def test_the_revision_cannot_be_run(shop):
    good = (shop.path / "conftest.py").read_text()
    (shop.path / "conftest.py").write_text("raise ValueError('no such thing')\n")
    commit(shop)
    (shop.path / "conftest.py").write_text(good)
    result = against(shop, ref="HEAD")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "no such thing" in result.stderr.str()
    assert "ERROR: --energy-against: HEAD (" in result.stderr.str()
    assert left_behind(shop) == []


def test_a_file_that_cannot_be_collected_there(shop):
    shop.file(test_other="import nothing_such\ndef test_it(): draw(1000)\n")
    commit(shop)
    shop.file(test_other="def test_it(): draw(1000)\n")
    against(shop, ref="HEAD").assert_outcomes(passed=3)
    comparison = shop.tests()["test_it"]["comparison"]
    assert comparison["verdict"] == "cannot tell"
    assert "cannot be collected at HEAD" in comparison["why"]
    assert "nothing_such" in comparison["why"]
    assert shop.tests()["test_total"]["comparison"]["verdict"] == "ok"


def test_no_such_folder_there(shop):
    sub = shop.path / "sub"
    sub.mkdir()
    for name in ("pytest.ini", "conftest.py", "quiet.py", "counter.py", "shop.py", "test_shop.py"):
        (shop.path / name).rename(sub / name)
    os.chdir(sub)
    result = against(shop)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "there is no folder sub" in result.stderr.str()
    assert left_behind(shop) == []


def test_workers(shop):
    pytest.importorskip("xdist")
    result = against(shop, "-n2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--energy-against measures in two processes of its own, in turn: leave -n out" in result.stderr.str()
    against(shop, "-n0").assert_outcomes(passed=2)


# What it leaves behind


SLOW = """
import time
def test_it():
    with open(os.environ["RUNNING"] + ("-here" if os.path.exists("marker") else "-there"), "w") as file:
        file.write(str(os.getpid()))
    time.sleep(0 if os.path.exists("marker") else 120)
"""


@pytest.mark.parametrize("how", ["parent", "group", "SIGKILL", "SIGTERM"])
def test_stopped(shop, start, how, monkeypatch):
    """While the other revision runs a test: neither a process nor a worktree stays; after a kill, the next run removes it."""
    shop.file(test_shop=SLOW)
    (shop.path / ".gitignore").write_text((shop.path / ".gitignore").read_text() + "marker\n")
    commit(shop)
    (shop.path / "marker").touch()
    monkeypatch.setenv("RUNNING", str(shop.temp / "running"))
    command = ["-m", "pytest", "--energy", f"--energy-powercap={shop.powercap}", "--energy-against=HEAD"]
    parent = start(*command, cwd=shop.path)
    pids = [wait_for(Path(f"{shop.temp / 'running'}-{side}"), parent) for side in ("here", "there")]
    assert left_behind(shop)
    if how == "group":
        os.killpg(parent.pid, signal.SIGINT)
    else:
        parent.send_signal(signal.SIGINT if how == "parent" else getattr(signal, how))
    said, _ = parent.communicate(timeout=PATIENCE)
    if how != "SIGKILL":
        assert parent.returncode == (pytest.ExitCode.INTERRUPTED if how in ("parent", "group") else 128 + signal.SIGTERM), said
        assert all(ended(pid) for pid in pids)
    else:
        if sys.platform == "linux":
            wait_until(lambda: all(ended(pid) for pid in pids))
        assert left_behind(shop)
        shop.file(test_shop="def test_it(): draw(1000)\n")
        commit(shop)
        other = shop.temp / "mine"
        git(shop.path, "worktree", "add", "-q", "--detach", str(other))
        other.rename(shop.temp / "away")  # on a disk that is not mounted now, say
        against(shop, ref="HEAD").assert_outcomes(passed=1)
        # A worktree that is somebody else's stays known.
        (shop.temp / "away").rename(other)
        assert "mine" in git(shop.path, "worktree", "list")
        git(shop.path, "worktree", "remove", "--force", str(other))
    assert left_behind(shop) == []
