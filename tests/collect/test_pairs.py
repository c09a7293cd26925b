"""``joules collect --pairs`` from two releases to their records; the counters are simulated, so that the joules are known."""

import json
import os
import shutil
import signal
import threading
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from collecting import lines, sdist
from inner import COUNTER
from powercap import make_tree

from pytest_joules.cli import main
from pytest_joules.collect import package, pair_side, pair_trees
from pytest_joules.collect import pair_reader as reader
from pytest_joules.collect.environment import Environment
from pytest_joules.collect.failure import Failed

pytestmark = pytest.mark.skipif(os.name != "posix", reason="process groups")

EXTENSION = EXTENSION_SUFFIXES[0]
#: ``total`` draws so many microjoules for each of ``n``; ``other`` is the same in all releases.
MODULE = """
def total(n, draw):
    for _ in range(n):
        draw({each})
    return n

def other(n, draw):
    draw(40_000 * n)
    return n
"""
TESTS = """
import pytest
from thing import other, total
from counter import draw

@pytest.mark.parametrize("n", [2, 5])
def test_total(n):
    assert total(n, draw) == n

def test_other():
    assert other(3, draw) == 3

def test_only_newer():
    import thing
    draw(40_000)
    assert thing.added

def test_wrong():
    assert total(1, draw) == 5
"""


@pytest.fixture
def releases(linked, monkeypatch):
    """Adds a release to the index, which costs so many microjoules a turn."""
    tree = make_tree(linked / "powercap", ["package-0"], layout="flat")
    files = {"package-0": (str(tree.path("package-0")), 2**62)}
    ini = f"[pytest]\nenergy_powercap = {tree.root}\nenergy_source = rapl\n"

    def add(version, each, **changed):
        more = "\nadded = True\n" if version > "1.0" else ""
        default = {
            "thing": MODULE.format(each=each) + more,
            "tests__test_thing": TESTS,
            "tests__counter": COUNTER.format(files=files),
        }
        sdist(linked / "index", "thing", version, **{"pytest.ini": ini, **default, **changed})

    def download(wanted, environment, folder):
        path = linked / "index" / f"{wanted.text.replace('==', '-')}.tar.gz"
        if not path.exists():
            raise package.Failed("no sdist", f"the index has no source distribution of {wanted.text}")
        return path

    monkeypatch.setattr(package, "download", download)
    return add


def pair_file(key):
    return Path("joules-pairs", "records", f"{key}.jsonl")


def timings(found):
    """What was measured: what is recorded anew may differ, by a clock and on a busy machine."""
    columns = ("seconds", "joules", "cpu_seconds", "pace")
    tests = (line for line in found if line["kind"] == "test")
    return {line["nodeid"]: [line[side][name] for side in ("older", "newer") for name in columns] for line in tests}


def collect(capsys, *arguments):
    code = main(["collect", "--pairs", "--rounds=3", "--processes=1", "--time-limit=120", *arguments])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err + shown.out
    return code, " ".join(shown.out.split()), " ".join(shown.err.split())


class TestAPair:
    def test_from_two_releases_to_their_records(self, releases, capsys, monkeypatch):
        releases("1.0", 20_000)
        releases("2.0", 40_000)
        code, out, err = collect(capsys, "thing==1.0..2.0", "--keep")
        assert code == 0 and not err
        assert "measures 3 tests on both sides, 2 of 3 are affected" in out and "1 of 1 packages, 3 tests" in out
        path = pair_file("thing-1.0-2.0")
        head, *others = lines(path)
        assert (head["package"], head["older"], head["newer"]) == ("thing", "1.0", "2.0")
        assert [head["archives"][side]["name"] for side in ("older", "newer")] == ["thing-1.0.tar.gz", "thing-2.0.tar.gz"]
        assert (head["collected"], head["passed_on_both"], head["affected"], head["drawn"], head["tests"]) == (5, 3, 2, 3, 3)
        assert head["sources"][0]["name"] == "rapl" and head["bounds"]["processes"] == 1
        functions = [line for line in others if line["kind"] == "function"]
        texts = {line["source"] for line in functions if line["place"] == "thing.py::total"}
        assert len(texts) == 2 and {"20000" in text for text in texts} == {True, False}
        found = reader.read(path)
        tests = {test.nodeid.rpartition("::")[2]: test for test in found.tests}
        assert set(tests) == {"test_total[2]", "test_total[5]", "test_other"}
        for n in (2, 5):
            test = tests[f"test_total[{n}]"]
            assert test.affected and test.changed == ["thing.py::total"]
            assert test.older.joules == [pytest.approx(n * 0.02)] and test.newer.joules == [pytest.approx(n * 0.04)]
            assert test.older.counts["thing.py::total"] == [1, n + 1, n, 1] == test.newer.counts["thing.py::total"]
            assert len(test.older.cpu_seconds) == len(test.newer.cpu_seconds) == 3 and min(test.newer.cpu_seconds) > 0
            assert all(test.newer.pace) and test.newer.rounds == [3] and test.newer.instructions is None
            # Each side has its own text of it.
            for side, each in ((test.older, "20000"), (test.newer, "40000")):
                assert each in found.sources["thing.py::total", side.functions["thing.py::total"]]
        other = tests["test_other"]
        assert not other.affected and other.changed == [] and other.older.joules == other.newer.joules

        # What is finished is not measured again; with --rewrite both sides are looked at anew, and the timings stay.
        before, installed = lines(path), []
        monkeypatch.setattr(Environment, "install", lambda self, *arguments: installed.append(arguments))
        code, out, _ = collect(capsys, "thing==1.0..2.0", "--rewrite")
        assert code == 0 and "3 tests written anew" in out and "measures" not in out
        assert timings(lines(path)) == timings(before)
        assert installed == [("--force-reinstall", "--no-deps", "pytest-joules")]
        before = lines(path)
        # Not even a rewrite without --keep took what it needs.
        monkeypatch.setattr(pair_side, "looked_at", lambda history: {})
        _, out, _ = collect(capsys, "thing==1.0..2.0", "--rewrite")
        assert "all tests fail: no drawn test" in out and lines(path) == before
        shutil.rmtree(path.parents[1] / "work" / "thing-1.0-2.0" / "older")
        _, out, _ = collect(capsys, "thing==1.0..2.0", "--rewrite")
        assert "is gone: collect the pair again, with --keep" in out and lines(path) == before

    def test_the_user_stops_it(self, releases, capsys, monkeypatch):
        releases("1.0", 20_000)
        releases("2.0", 40_000, tests__test_thing="from thing import total\nimport time\n\ndef test_a():\n    time.sleep(600)\n")

        def stop(text):
            if "looks at" in text:
                threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()

        monkeypatch.setattr("pytest_joules.cli.collect._progress", stop)
        code, _, err = collect(capsys, "thing==1.0..2.0")
        assert code == 130 and "goes on from there" in err
        assert not pair_file("thing-1.0-2.0").exists() and not (pair_file("x").parents[1] / "finished" / "x.json").exists()


class TestRefusals:
    def test_each_with_its_reason_and_none_stops_the_others(self, releases, linked, capsys):
        releases("1.0", 20_000)
        releases("1.5", 20_000)
        releases("2.0", 20_000, **{"thing": None, "src/thing/__init__.py": MODULE.format(each=1)})
        releases("3.0", 20_000, **{f"_fast{EXTENSION}": ""})
        releases("4.0", 20_000, tests__test_thing=None)
        pairs = {
            "1.0..1.5": ("nothing changed", "none of 3 tests"),
            "1.5..2.0": ("elsewhere", "the older release has no src/thing"),
            "2.0..3.0": ("compiled", EXTENSION),
            "3.0..4.0": ("no tests found", ""),
            "0.5..1.0": ("no sdist", "thing==0.5"),
        }
        code, _, err = collect(capsys, *(f"thing=={versions}" for versions in pairs), "--jobs=2")
        assert code == 1 and "no package could be measured" in err
        found = {line["package"]: line for line in lines(linked / "joules-pairs" / "failures.jsonl")}
        for versions, (reason, words) in pairs.items():
            line = found[f"thing=={versions}"]
            assert line["reason"] == reason and words in line["detail"], line
        assert not list((linked / "joules-pairs").glob("records/*"))
        left = {path.name for path in (linked / "joules-pairs" / "work" / "thing-1.0-1.5").iterdir()}
        assert not left & {"env", "older", "newer", "source", "older-source"}


class TestBadInput:
    @pytest.mark.parametrize(
        ("pair", "words"),
        [
            ("thing", "is not NAME==OLDER..NEWER, such as"),
            ("thing==1.0", "is not NAME==OLDER..NEWER"),
            ("thing==1.0..", "is not NAME==OLDER..NEWER"),
            ("==1.0..2.0", "is not NAME==OLDER..NEWER"),
            ("thing==1.0..2.0..3.0", "Invalid version: '2.0..3.0'"),
            ("thing==one..two", "Invalid version: 'one'"),
            ("thing==2.0..1.0", "2.0 is no older release than 1.0"),
            ("thing==1.0..1.0.0", "1.0 is no older release than 1.0.0"),
        ],
    )
    def test_one_sentence(self, here, capsys, pair, words):
        code, out, err = collect(capsys, pair)
        assert code == 2 and words in err and not out
        assert not (here / "joules-pairs").exists()

    def test_no_pair_at_all(self, here, capsys):
        code, _, err = collect(capsys)
        assert code == 2 and "with --pairs NAME==OLDER..NEWER" in err

    @pytest.mark.parametrize("option", ["--popularity=a.csv", "--representations=all"])
    def test_options_of_packages(self, here, capsys, option):
        code, _, err = collect(capsys, "thing==1.0..2.0", option)
        assert code == 2 and f"{option.partition('=')[0]} does not go with --pairs" in err

    @pytest.mark.parametrize("option", ["--max-affected=3", "--processes=2", "--count", "--keep"])
    def test_options_of_pairs(self, here, capsys, option):
        assert main(["collect", "thing", option]) == 2
        assert f"{option.partition('=')[0]} is for --pairs" in capsys.readouterr().err

    def test_no_counter_of_instructions(self, here, capsys, monkeypatch):
        monkeypatch.setattr(shutil, "which", lambda name: None)
        code, _, err = collect(capsys, "thing==1.0..2.0", "--count")
        assert code == 2 and "--count: " in err and "Valgrind" in err


class TestTrees:
    """What the older side has of which release."""

    def make(self, folder, newer, older, place=".", names=("thing",)):
        for project, files in (("new", newer), ("old", older)):
            for name, text in files.items():
                path = folder / project / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        (folder / "trees").mkdir()
        sources = pair_trees.Sources(place, names)
        trees = pair_trees.make(folder / "new", folder / "old", sources, folder / "trees")
        return [{path.relative_to(tree).as_posix(): path.read_text() for path in tree.rglob("*.py")} for tree in trees], (
            pair_trees.changed_lines(trees, sources)
        )

    def test_tests_stay_the_newer_ones(self, tmp_path):
        newer = {"src/thing/__init__.py": "new", "src/thing/tests/test_a.py": "new", "src/thing/conftest.py": "new"}
        older = dict.fromkeys(newer, "old") | {"src/thing/tests/test_gone.py": "old", "src/thing/sub/gone.py": "old\nold"}
        newer |= {"setup.py": "new", "tests/test_b.py": "new", "src/thing/sub/added.py": "new"}
        older |= {"setup.py": "old", "tests/test_b.py": "old"}
        (left, right), changed = self.make(tmp_path, newer, older, "src")
        assert right == newer
        replaced = {"src/thing/__init__.py": "old", "src/thing/sub/gone.py": "old\nold"}
        assert left == {name: text for name, text in newer.items() if name != "src/thing/sub/added.py"} | replaced
        assert changed == 5

    def test_a_module_became_a_package(self, tmp_path):
        (left, _), _ = self.make(tmp_path, {"thing/__init__.py": "new", "thing/more.py": "new"}, {"thing.py": "old"})
        assert left == {"thing.py": "old"}

    def test_a_package_became_a_module(self, tmp_path):
        (left, _), _ = self.make(tmp_path, {"thing.py": "new"}, {"thing/__init__.py": "old", "thing/more.py": "old"})
        assert left == {"thing/__init__.py": "old", "thing/more.py": "old"}

    def test_one_that_the_older_release_has_not(self, tmp_path):
        files = {"thing.py": "new"}
        with pytest.raises(Failed, match=r"the older release has no added\.py: the package has moved, or was renamed"):
            self.make(tmp_path, {**files, "added.py": "new"}, files, names=("added", "thing"))


def test_the_pace_has_a_clock_of_its_own(pytester):
    """Tests that replace the time do not move it."""
    pytester.makepyfile("import time\n\ntime.perf_counter = lambda: 7.0\n\ndef test_a():\n    pass\n")
    options = ("-p", "pytest_joules.collect.choosing", "--joules-collect-pace=pace.json")
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=1)
    (pace,) = json.loads((pytester.path / "pace.json").read_text()).values()
    assert 0 < pace < 1
