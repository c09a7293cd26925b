"""Running code of others: what it sees, what it may use, and that nothing of it goes on."""

import json
import os
import re
import signal
import sys
import threading
import time

import psutil
import pytest

from pytest_joules.collect import sandbox as module
from pytest_joules.collect.failure import Failed, Stopped
from pytest_joules.collect.sandbox import Sandbox, size

pytestmark = pytest.mark.skipif(os.name != "posix", reason="process groups")


@pytest.fixture
def sandbox(tmp_path):
    made = Sandbox(
        tmp_path / "work", time.monotonic() + 60, 1 << 26, threading.Event(), tmp_path / "log.txt", tmp_path / "pip-cache"
    )
    made.prepare()
    return made


def python(code, *arguments):
    return [sys.executable, "-c", code, *arguments]


class TestWhatItSees:
    def test_a_home_of_its_own_and_a_cleaned_environment(self, sandbox, monkeypatch):
        monkeypatch.setenv("SECRET_TOKEN", "s3cret")
        monkeypatch.setenv("PYTEST_ADDOPTS", "--broken")
        monkeypatch.setenv("PIP_INDEX_URL", "https://user:s3cret@example.org/simple")
        done = sandbox.run(python("import json, os; print(json.dumps(dict(os.environ)))"))
        seen = json.loads(done.output)
        assert "s3cret" not in done.output and "PYTEST_ADDOPTS" not in seen
        for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
            assert seen[name].startswith(f"{sandbox.folder}{os.sep}")
        assert seen["PYTHONHASHSEED"] == "0"
        assert seen["PATH"].split(os.pathsep)[0] == str(sandbox.folder / "env" / "bin")

    def test_the_users_settings_of_pip_where_it_installs(self, sandbox, monkeypatch, tmp_path):
        (tmp_path / "pip").mkdir()
        (tmp_path / "pip" / "pip.conf").write_text("[global]\nindex-url = https://example.org/simple\n")
        monkeypatch.delenv("PIP_CONFIG_FILE", raising=False)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        monkeypatch.setenv("PIP_FIND_LINKS", "/somewhere")
        seen = sandbox.environ(index=True)
        assert seen["PIP_FIND_LINKS"] == "/somewhere"
        assert seen["PIP_CONFIG_FILE"] == str(tmp_path / "pip" / "pip.conf")
        assert seen["PIP_CACHE_DIR"] == str(tmp_path / "pip-cache")

    def test_no_input(self, sandbox):
        assert sandbox.run(python("import sys; print(repr(sys.stdin.read()))")).output == "''\n"

    def test_exit_status_and_both_outputs(self, sandbox):
        done = sandbox.run(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"))
        assert done.code == 7
        assert sorted(done.output.split()) == ["err", "out"]

    def test_of_a_long_output_the_end(self, sandbox):
        done = sandbox.run(python("print('x' * 100_000); print('the end')"))
        assert done.output.endswith("the end\n") and len(done.output) <= module._TAIL


def marker(tmp_path):
    """A program that starts one that leaves the group, and the numbers of both."""
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "open(sys.argv[1] + '.tmp', 'w').write(f'{os.getpid()} {child.pid}')\n"
        "os.rename(sys.argv[1] + '.tmp', sys.argv[1])\n"
        "time.sleep(float(sys.argv[2]))\n"
    )
    path = tmp_path / "numbers"

    def numbers():
        while not path.exists():
            time.sleep(0.01)
        return [int(word) for word in path.read_text().split()]

    return lambda seconds: python(code, str(path), str(seconds)), numbers


#: Starts a program that forgets all that it could be known by: parent, group, session, environment; and says its number.
RUNAWAY = """
import os, sys, time
if not os.fork():
    os.setsid()
    if not os.fork():
        code = "import os, sys, time; open(sys.argv[1] + '.tmp', 'w').write(str(os.getpid())); "
        code += "os.rename(sys.argv[1] + '.tmp', sys.argv[1]); time.sleep(600)"
        os.execve(sys.executable, ["python", "-c", code, sys.argv[1]], {})
    os._exit(0)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
time.sleep(float(sys.argv[2]))
"""


def gone(number):
    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="subreapers")
class TestDescendants:
    def test_one_of_its_own_session_without_environment_does_not_outlive_it(self, sandbox, tmp_path):
        path = tmp_path / "number"
        assert sandbox.run(python(RUNAWAY, str(path), "0")).code == 0
        assert gone(int(path.read_text()))

    def test_nor_the_time_limit(self, sandbox, tmp_path):
        path = tmp_path / "number"
        sandbox.deadline = time.monotonic() + 1.5
        with pytest.raises(Failed, match="time"):
            sandbox.run(python(RUNAWAY, str(path), "600"))
        assert gone(int(path.read_text()))

    def test_those_that_start_others_as_they_are_killed(self, sandbox, tmp_path):
        code = (
            "import os, time\n"
            "for _ in range(5):\n"
            "    if not os.fork():\n"
            "        os.setsid()\n"
            "        while True:\n"
            "            if os.fork(): time.sleep(0.01); os._exit(0)\n"
            "time.sleep(0.5)"
        )
        assert sandbox.run(python(code)).code == 0
        running = [process.info for process in psutil.process_iter(["pid", "cmdline", "status"])]
        assert [one["pid"] for one in running if code in (one["cmdline"] or ()) and one["status"] != psutil.STATUS_ZOMBIE] == []

    def test_other_sandboxes_of_this_process_are_left_alone(self, sandbox, tmp_path):
        other = Sandbox(tmp_path / "other", time.monotonic() + 60, 1 << 26, threading.Event(), tmp_path / "l", tmp_path / "p")
        other.prepare()
        path, found = tmp_path / "number", []
        code = "import sys, time\nwhile not __import__('os').path.exists(sys.argv[1]): time.sleep(0.01)\nprint('through')"
        thread = threading.Thread(target=lambda: found.append(other.run(python(code, str(tmp_path / "go")))))
        thread.start()
        assert sandbox.run(python(RUNAWAY, str(path), "0")).code == 0
        assert gone(int(path.read_text()))
        (tmp_path / "go").write_text("")
        thread.join()
        assert (found[0].code, found[0].output) == (0, "through\n")

    def test_memory_of_one_process(self, sandbox, monkeypatch):
        monkeypatch.setattr(module, "_memory", lambda: 200 * 2**20)
        done = sandbox.run(python("x = bytearray(400 * 2**20)"))
        assert done.code == 1 and "MemoryError" in done.output

    def test_memory_of_all(self, sandbox, monkeypatch):
        monkeypatch.setattr(module, "_memory", lambda: 200 * 2**20)
        monkeypatch.setattr(module, "_COUNT", 0.1)
        # Each of four stays well below the limit.
        code = "import os, time\nfor _ in range(2): os.fork()\nx = bytearray(b'1') * (70 * 2**20)\ntime.sleep(60)"
        with pytest.raises(Failed, match="MiB of memory were used, more than the limit of 200 MiB"):
            sandbox.run(python(code))

    def test_processes(self, sandbox, monkeypatch):
        monkeypatch.setattr(module, "MOST_PROCESSES", 20)
        monkeypatch.setattr(module, "_COUNT", 0.1)
        code = "import os, time\nfor _ in range(30):\n    if not os.fork(): break\ntime.sleep(60)"
        try:
            assert sandbox.run(python(code)).code == 1  # not as root: the system refuses
        except Failed as failed:
            assert re.fullmatch(r"processes: (2[1-9]|3[01]) processes were started, more than the limit of 20", str(failed))

    def test_a_file_as_large_as_no_disk(self, sandbox):
        done = sandbox.run(python("open('f', 'wb').truncate(1 << 40)"))
        assert done.code == 1 and "File too large" in done.output

    def test_a_command_that_is_not_there(self, sandbox):
        done = sandbox.run(["no-such-program"])
        assert done.code == 127 and done.output == "no-such-program: No such file or directory\n"


class TestBounds:
    def test_what_is_left_running_is_ended(self, sandbox, tmp_path):
        command, numbers = marker(tmp_path)
        assert sandbox.run(command(0)).code == 0
        assert all(map(gone, numbers()))

    def test_time(self, sandbox, tmp_path):
        command, numbers = marker(tmp_path)
        sandbox.deadline = time.monotonic() + 1.5
        with pytest.raises(Failed) as failed:
            sandbox.run(command(600))
        assert failed.value.reason == "time"
        assert all(map(gone, numbers()))

    def test_a_program_that_does_not_want_to_end(self, sandbox):
        sandbox.deadline = time.monotonic() + 1
        code = "import signal, time\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\ntime.sleep(600)"
        with pytest.raises(Failed):
            sandbox.run(python(code))

    def test_patience_ends_one_command_only(self, sandbox, tmp_path):
        command, numbers = marker(tmp_path)
        assert sandbox.run(command(600), patience=1.0).code == -signal.SIGKILL
        assert all(map(gone, numbers()))
        assert sandbox.run(python("print(1)"), patience=60).code == 0

    def test_disk(self, sandbox, monkeypatch):
        monkeypatch.setattr(module, "_WALK", 0.1)
        code = (
            "import os, time\n"
            "with open(os.environ['TMPDIR'] + '/big', 'wb') as file:\n"
            "    file.write(os.urandom(1 << 27)); file.flush(); time.sleep(600)"
        )
        with pytest.raises(Failed, match="MiB") as failed:
            sandbox.run(python(code))
        assert failed.value.reason == "disk"

    def test_the_user_stops(self, sandbox, tmp_path):
        command, numbers = marker(tmp_path)
        threading.Thread(target=lambda: (numbers(), sandbox.stop.set())).start()
        with pytest.raises(Stopped):
            sandbox.run(command(600))
        assert all(map(gone, numbers()))

    def test_a_signal_is_an_exit_status(self, sandbox):
        assert sandbox.run(python("import os; os.kill(os.getpid(), 9)")).code == -signal.SIGKILL


def test_size(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_bytes(os.urandom(1 << 20))
    (tmp_path / "l").symlink_to("/usr")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert 1 << 20 <= size(tmp_path) < 1.2 * (1 << 20)
