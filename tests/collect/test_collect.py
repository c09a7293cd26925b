"""``joules collect`` from a package to its records: environments are real, the index is a folder, nothing is fetched."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sysconfig
import tarfile
import threading
import time
from pathlib import Path

import pytest
from collecting import BACKEND, MODULE, TESTS, folder, lines, sdist

from pytest_joules import __version__
from pytest_joules.cli import main
from pytest_joules.collect import environment, package, run
from pytest_joules.collect.environment import Environment
from pytest_joules.collect.failure import Failed
from pytest_joules.collect.package import PackageCollector
from pytest_joules.collect.sandbox import Sandbox

pytestmark = pytest.mark.skipif(os.name != "posix", reason="process groups")


def collect(capsys, *arguments):
    code = main(["collect", "--rounds=3", "--time-limit=120", *arguments])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err + shown.out
    return code, shown.out, shown.err


def failures(out="joules-data"):
    return {line["package"]: (line["reason"], line["detail"]) for line in lines(Path(out) / "failures.jsonl")}


class TestAPackage:
    @pytest.mark.slow
    def test_from_an_index_to_its_records(self, here, capsys):
        sdist(here / "index", "thing", "1.0")
        sdist(here / "index", "thing", "2.0")
        (here / "popular.csv").write_text("project,downloads\nThing,12\n")
        code, out, err = collect(capsys, "thing==1.0", "--popularity=popular.csv", "--representations=source")
        assert code == 0 and not err
        assert "1 of 1 packages, 3 tests, 9 repetitions" in out
        made = lines(here / "joules-data" / "records" / "thing-1.0.jsonl")
        head, tests = made[0], {line["nodeid"]: line for line in made if line["kind"] == "test"}
        assert (head["package"], head["version"], head["popularity"]) == ("thing", "1.0", 12)
        assert head["pytest_joules"] == {"version": __version__, "commit": {"id": "c" * 40, "dirty": False}}
        assert head["archive"]["name"] == "thing-1.0.tar.gz" and len(head["archive"]["sha256"]) == 64
        assert head["outcomes"] == {"passed": 3, "failed": 1} and head["exit_status"] == 1
        assert len(tests) == 3  # the one that fails has no round that counts
        one = tests["tests/test_thing.py::test_total[10]"]
        assert len(one["repetitions"]["duration"]) == 3 and all(value > 0 for value in one["repetitions"]["duration"])
        assert one["representations"]["source"]
        functions = {line["place"]: line for line in made if line["kind"] == "function"}
        # The project's own functions are followed, though it is installed.
        assert functions["thing.py::total"]["source"] == MODULE
        assert one["counts"][str(functions["thing.py::total"]["id"])][0] == 1
        manifest = json.loads((here / "joules-data" / "manifest.json").read_text())
        assert manifest["totals"] == {"packages": 1, "failures": 0, "tests": 3, "repetitions": 9}
        left = {path.name for path in (here / "joules-data" / "work" / "thing-1.0").iterdir()}
        assert {"history.db", "source", "log.txt"} <= left and not left & {"env", "home", "tmp"}

    def test_a_folder_and_fewer_tests(self, linked, capsys):
        folder(linked / "mine" / "thing")
        code, out, _ = collect(capsys, "./mine/thing", "--max-tests=2", "--out=data")
        assert code == 0 and "measures 2 of 4 tests" in out
        made = lines(linked / "data" / "records" / "thing.jsonl")
        assert len([line for line in made if line["kind"] == "test"]) == 2 - made[0]["outcomes"].get("failed", 0)

    @pytest.mark.slow
    def test_as_a_copy_where_editable_does_not_go(self, here, capsys):
        folder(here / "thing", backend=BACKEND.replace("build_editable", "build_nothing"))
        code, out, _ = collect(capsys, "./thing")
        assert code == 0 and "3 tests" in out
        made = lines(here / "joules-data" / "records" / "thing.jsonl")
        assert any(line.get("source") == MODULE for line in made)

    def test_settings_of_folders_above_are_not_the_packages(self, linked, capsys):
        (linked / "pytest.ini").write_text("[pytest]\naddopts = --broken-option\n")
        (linked / "conftest.py").write_text("raise SystemExit(3)")
        folder(linked / "thing")
        assert collect(capsys, "./thing")[0] == 0


class TestFailures:
    def test_each_with_its_reason_and_none_stops_the_others(self, linked, capsys):
        expected = {
            "backend": ({"backend": "import nothing_of_that_name"}, "does not build", "nothing_of_that_name"),
            "none": ({"tests__test_thing": None}, "no tests found", "no test"),
            "wrong": ({"tests__test_thing": "def test_a():\n    assert 0\n"}, "all tests fail", "1 failed"),
            "module": ({"tests__test_thing": "import nothing_of_that_name\n"}, "tests do not start", "nothing_of_that_name"),
            "conftest": ({"tests__conftest": "import nothing_of_that_name\n"}, "tests do not start", "nothing_of_that_name"),
            "killed": ({"tests__conftest": "import os\nos.kill(os.getpid(), 9)\n"}, "tests do not start", ""),
            "good": ({}, None, ""),
        }
        for name, (changed, _, _) in expected.items():
            folder(linked / name, **changed)
        code, out, _ = collect(capsys, *(f"./{name}" for name in expected), "--jobs=2")
        assert code == 0 and "1 of 7 packages, 3 tests, 9 repetitions" in out
        found = failures()
        for name, (_, reason, words) in expected.items():
            if reason is None:
                assert f"./{name}" not in found
                continue
            assert found[f"./{name}"][0] == reason and words in found[f"./{name}"][1]
            assert f"./{name}: {reason}: " in out
            assert not (linked / "joules-data" / "records" / f"{name}.jsonl").exists()

    def test_no_source_distribution(self, here, capsys):
        code, _, err = collect(capsys, "thing")
        assert failures()["thing"][0] == "no sdist"
        assert code == 1 and "no package could be measured" in err

    def test_an_archive_that_leads_out(self, here, capsys):
        with tarfile.open(here / "thing-1.0.tar.gz", "w:gz") as tar:
            tar.addfile(tarfile.TarInfo("../../../evil.py"))
        collect(capsys, "thing-1.0.tar.gz")
        assert failures()["thing-1.0.tar.gz"][0] == "bad archive"
        assert not list(here.rglob("evil.py"))

    def test_one_hangs_and_the_others_go_on(self, linked, capsys, monkeypatch):
        begun = linked / "begun"
        hanging = f"import time\n\ndef test_a():\n    pass\n\ndef test_b():\n    open({str(begun)!r}, 'w')\n    time.sleep(600)\n"
        folder(linked / "hanging", tests__test_thing=hanging)
        folder(linked / "thing")
        measure = PackageCollector._measure

        def with_an_end(course, tests, sandbox):
            def end():
                while not begun.exists():
                    time.sleep(0.05)
                sandbox.deadline = time.monotonic()

            if course.history.parent.name == "hanging":
                threading.Thread(target=end, daemon=True).start()
            return measure(course, tests, sandbox)

        monkeypatch.setattr(PackageCollector, "_measure", with_an_end)
        code, out, _ = collect(capsys, "./hanging", "./thing", "--jobs=2")
        assert code == 0
        reason, detail = failures()["./hanging"]
        assert reason == "hangs" and "test_b" in detail
        head = lines(linked / "joules-data" / "records" / "hanging.jsonl")[0]
        assert (head["reason"], head["detail"]) == (reason, detail)
        # What was measured before it hung is kept.
        assert "2 of 2 packages, 4 tests" in out

    def test_one_takes_the_interpreter_with_it(self, linked, capsys):
        dies = "import os\n\ndef test_a():\n    pass\n\ndef test_b():\n    os.abort()\n\ndef test_c():\n    pass\n"
        folder(linked / "thing", tests__test_thing=dies)
        code, out, _ = collect(capsys, "./thing")
        reason, detail = failures()["./thing"]
        assert reason == "crashes" and f"pytest ended with -{signal.SIGABRT:d} after 1 of 3 tests" in detail
        assert code == 0 and "1 of 1 packages, 1 tests" in out

    def test_too_slow(self, linked, capsys, monkeypatch):
        folder(linked / "thing")
        monkeypatch.setattr(package, "time_for_tests", lambda left, max_time: 0.0)
        collect(capsys, "./thing")
        assert failures()["./thing"] == ("time", "1 of 4 tests were run in the time there was")

    def test_a_mistake_of_ours(self, linked, capsys, monkeypatch):
        def fails(*arguments):
            raise RuntimeError("not \x1b[2Jthought of")

        folder(linked / "thing")
        monkeypatch.setattr(package, "write_lines", fails)
        _, out, _ = collect(capsys, "./thing")
        assert failures()["./thing"] == ("error", "RuntimeError: not \x1b[2Jthought of")
        assert "thought of" in out and "\x1b" not in out
        assert "Traceback" in (linked / "joules-data" / "work" / "thing" / "log.txt").read_text()

    def test_too_much_is_written(self, linked, capsys):
        writes = (
            "import os, time\n\ndef test_a(tmp_path):\n    (tmp_path / 'x').write_bytes(os.urandom(1 << 25)); time.sleep(60)\n"
        )
        folder(linked / "thing", tests__test_thing=writes)
        collect(capsys, "./thing", "--disk-limit=20M")
        assert failures()["./thing"][0] == "disk"

    @pytest.mark.slow
    def test_its_tests_ask_for_another_version_of_it(self, here, capsys):
        sdist(here / "index", "thing", "0.5", thing="def total(n):\n    return 'another'\n")
        folder(here / "thing")
        (here / "thing" / "requirements-test.txt").write_text("thing==0.5\n")
        assert collect(capsys, "./thing")[0] == 0
        assert any(line.get("source") == MODULE for line in lines(here / "joules-data" / "records" / "thing.jsonl"))


class TestGoingOn:
    def test_what_is_finished_is_not_repeated(self, linked, capsys):
        folder(linked / "a")
        folder(linked / "b", tests__test_thing="def test_a():\n    assert 0\n")
        collect(capsys, "./a", "./b")
        before = (linked / "joules-data" / "records" / "a.jsonl").stat().st_mtime_ns
        (linked / "b" / "tests" / "test_thing.py").write_text(TESTS)
        code, out, _ = collect(capsys, "./a", "./b")
        assert code == 0 and "2 of 2 are finished already" in out and "b: measures" not in out
        code, out, _ = collect(capsys, "./a", "./b", "--retry")
        assert "b: measures" in out and "2 of 2 packages, 6 tests" in out and failures() == {}
        assert (linked / "joules-data" / "records" / "a.jsonl").stat().st_mtime_ns == before

    def test_records_are_written_anew(self, linked, capsys):
        folder(linked / "thing")
        collect(capsys, "./thing")
        path = linked / "joules-data" / "records" / "thing.jsonl"
        before = lines(path)
        path.unlink()
        code, out, _ = collect(capsys, "./thing", "--rewrite", "--representations=source")
        assert code == 0 and "written anew" in out and "measures" not in out
        assert [line | {"representations": {}} if line["kind"] == "test" else line for line in lines(path)] == before
        shutil.rmtree(linked / "joules-data" / "work")
        _, out, _ = collect(capsys, "./thing", "--rewrite")
        assert "history.db is gone" in " ".join(out.split()) and path.exists()

    def test_the_user_stops_it(self, linked, capsys, monkeypatch):
        folder(linked / "a")
        folder(linked / "b", tests__test_thing="import time\n\ndef test_a():\n    time.sleep(600)\n")

        def stop(text):
            if text.startswith("./b: measures"):
                threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()

        before = signal.getsignal(signal.SIGINT)
        monkeypatch.setattr("pytest_joules.cli.collect._progress", stop)
        code, out, err = collect(capsys, "./a", "./b")
        assert code == 130 and "goes on from there" in err and "1 of 1 packages" in out
        assert signal.getsignal(signal.SIGINT) is before

    def test_two_at_once_in_one_folder(self, here, capsys):
        from filelock import FileLock

        folder(here / "thing")
        (here / "joules-data" / "work").mkdir(parents=True)
        with FileLock(here / "joules-data" / "work" / ".lock"):
            code, _, err = collect(capsys, "./thing")
        assert code == 2 and "another joules collect" in err


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "name at least one PACKAGE"),
            (["a b"], "is not NAME"),
            (["thing", "--list=nothing.txt"], "cannot be read"),
            (["thing", "--popularity=nothing.csv"], "--popularity=nothing.csv"),
            (["thing", "--representations=nothing"], "no representation 'nothing'"),
            (["thing", "--python=/nothing"], "cannot be run"),
            (["thing", "--out=a-file"], "name a folder"),
            (["./x/thing", "./y/thing"], "share one place"),
        ],
    )
    def test_one_sentence(self, here, capsys, arguments, words):
        (here / "a-file").write_text("")
        for name in ("x", "y"):
            folder(here / name / "thing")
        code, out, err = collect(capsys, *arguments)
        err = err.replace("\n  ", " ")
        assert code == 2 and words in err and err.count("\n") == 1 and not out
        assert not (here / "joules-data" / "finished").exists()

    @pytest.mark.parametrize(
        "option", ["--rounds=0", "--jobs=x", "--time-limit=-1", "--time-limit=nan", "--disk-limit=4X", "--disk-limit=0"]
    )
    def test_numbers(self, here, capsys, option):
        with pytest.raises(SystemExit) as ended:
            main(["collect", "thing", option])
        assert ended.value.code == 2 and option.partition("=")[2] in capsys.readouterr().err

    def test_pytest_joules_that_cannot_be_built(self, here, capsys, monkeypatch):
        def fails(sandbox, python):
            raise Failed("does not build", "pytest-joules itself: no compiler")

        monkeypatch.setattr(run, "make_template", fails)
        folder(here / "thing")
        code, _, err = collect(capsys, "./thing")
        assert code == 2 and "no compiler" in err

    def test_a_list(self, linked, capsys):
        folder(linked / "thing")
        (linked / "list.txt").write_text("# what I like\n\n./thing  # mine\n")
        assert collect(capsys, "--list=list.txt")[0] == 0


def test_the_last_test_has_time_to_end():
    assert package.time_for_tests(300, 10) == 275
    assert package.time_for_tests(20, 10) == 10


def test_where_pytest_joules_is_taken_from():
    place = environment.origin()
    assert place.requirement and (place.checkout is None or (place.checkout / "pyproject.toml").is_file())


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("", "it said nothing"),
        ("a\nb\n\n", "b"),
        ("x\nERROR: No matching distribution\nWARNING: old pip\n", "ERROR: No matching distribution"),
        ("ERROR: Exception:\nTraceback (most recent call last):\nBackendUnavailable: mine\n", "BackendUnavailable: mine"),
        (
            "error: subprocess-exited-with-error\n  ╰─> [2 lines of output]\n   File\n   ImportError: six\n   [end of output]\n"
            "\n  note: no problem with pip.\nerror: subprocess-exited-with-error\n╰─> See above for output.\n",
            "ImportError: six",
        ),
    ],
)
def test_why_a_program_failed(output, said):
    assert environment.last_line(output) == said


def test_an_interpreter_that_is_too_old(tmp_path):
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho False CPython 3.8.1\n")
    fake.chmod(0o755)
    with pytest.raises(ValueError, match=r"CPython 3\.8\.1: pytest-joules needs"):
        environment.check(str(fake))


def test_scripts_of_a_copied_environment_are_its_own(template, tmp_path):
    sandbox = Sandbox(tmp_path, time.monotonic() + 60, 1 << 30, threading.Event(), tmp_path / "log.txt", tmp_path / "c")
    sandbox.prepare()
    copied = Environment(sandbox)
    copied.copy(template.template)
    code = "import sys; print(sys.prefix)"
    assert sandbox.run([copied.python, "-c", code]).output.strip() == str(tmp_path / "env")
    said = subprocess.run([tmp_path / "env" / "bin" / "pip", "--version"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path / "env") in said or sysconfig.get_path("purelib") in said
    with contextlib.suppress(FileNotFoundError):
        assert str(template.template) not in (tmp_path / "env" / "bin" / "pip").read_text()
