"""What a run leaves that is killed at a random moment, and whether anything is lost.

    python benchmarks/kills.py [--kills N] [--seconds S] [--seed N] [--only MODE ...]

*Modes*: ``plain`` (``--energy``), ``workers`` (``-n 2``), ``against`` (``--energy-against=HEAD``), and ``two``: two runs of
``--energy-against`` at once, each in a PID namespace of its own (``unshare --pid``; where that is not allowed two plain
processes, which is said), with one repository, one history and one folder for temporary files; one of the two is killed, the
other must end as if nothing had been. A kill is SIGTERM, SIGINT or SIGKILL, to the process or to its group, at a moment between
the start and the end that a whole run takes. After each the same command is run again and not killed.

Bars, exit code 1 where one is missed: that next run passes; each test that was reported as finished has a row in the history;
nothing is left of a worktree, a folder, a lock, a ``.tmp`` file or a process; no run hangs. What TERM and INT leave until then is
counted, with no bar: they may come before the run has got as far as to take them. Ends after ``--seconds`` at the latest.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil

MODES = {
    "plain": ["--energy"],
    "workers": ["--energy", "-n2"],
    "against": ["--energy-against=HEAD"],
    "two": ["--energy-against=HEAD"],
}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
#: Seconds after which a run hangs, and which what was killed has to be gone.
PATIENCE = 60.0
NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
#: By which all that a run starts is known.
MARK = "JOULES_KILLS"

TESTS = """
import subprocess, sys, time, pytest

@pytest.fixture(scope="session")
def wide(tmp_path_factory):
    yield tmp_path_factory.mktemp("wide")
    time.sleep(0.05)

def test_quick(): sum(range(1000))
@pytest.mark.parametrize("n", range(3))
def test_some(n, wide, tmp_path):
    (tmp_path / "file").write_text("x")
    time.sleep(0.01)
def test_starts_another():
    subprocess.run([sys.executable, "-S", "-c", "import time; time.sleep(0.05)"], check=True)
"""

#: Writes down what the terminal is told, when everybody else has heard it.
CONFTEST = """
import os, pytest

@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish(nodeid):
    if FINISHED:
        descriptor = os.open(FINISHED, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{nodeid}\\n".encode())
        os.close(descriptor)

def pytest_configure(config):
    global FINISHED
    inner = hasattr(config, "workerinput") or config.pluginmanager.hasplugin("joules-stepping")
    FINISHED = "" if inner else os.environ["FINISHED"]
"""


class Place:
    """A repository, its history, and a folder for temporary files."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.project, self.temp, self.finished = folder / "project", folder / "temp", folder / "finished"
        self.mode = mode
        self.token = f"{os.getpid()}-{mode}"
        for path in (self.project, self.temp):
            path.mkdir(parents=True)
        (self.project / "test_it.py").write_text(TESTS)
        (self.project / "conftest.py").write_text(CONFTEST)
        (self.project / ".gitignore").write_text("__pycache__\n.pytest_cache\n")
        (self.project / "pytest.ini").write_text("[pytest]\n")
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
            identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
            subprocess.run(["git", *identity, *command], cwd=self.project, check=True)

    def start(self, wrapper: list[str]) -> subprocess.Popen[bytes]:
        env = {**os.environ, "TMPDIR": str(self.temp), "FINISHED": str(self.finished), MARK: self.token}
        plugins = [word for name in ("randomly", "asyncio", "hypothesispytest") for word in ("-p", f"no:{name}")]
        command = [sys.executable, "-m", "pytest", *plugins, *MODES[self.mode], "--energy-rounds=2", "--energy-threshold=900%"]
        with (self.temp.parent / "said").open("wb") as said:
            return subprocess.Popen(
                [*wrapper, *command], cwd=self.project, env=env, stdout=said, stderr=said, start_new_session=True
            )

    def rows(self) -> Counter[str]:
        path = self.project / ".pytest_cache/d/joules/history.db"
        if not path.exists():
            return Counter()
        with closing(sqlite3.connect(path)) as connection, contextlib.suppress(sqlite3.OperationalError):
            found = connection.execute("SELECT nodeid FROM measurements JOIN tests ON tests.id = test_id").fetchall()
            return Counter(name for (name,) in found)
        return Counter()

    def lost(self) -> str:
        told = Counter(self.finished.read_text().split()) if self.finished.exists() else Counter[str]()
        missing = told - self.rows()
        return f"rows lost: {dict(missing)}" if missing else ""

    def left(self, patience: float) -> str:
        """What is there that should not be, when those that are ending have had their time."""
        deadline = time.monotonic() + patience
        while (found := sorted({*self._files(), *self._processes()})) and time.monotonic() < deadline:
            time.sleep(0.1)
        return f"left: {', '.join(found)}" if found else ""

    def _files(self) -> Iterator[str]:
        for path in self.temp.iterdir():
            if "joules" in path.name:
                yield path.name
        git = self.project / ".git"
        yield from (path.name for path in git.glob("pytest-joules*"))
        yield from (f"worktrees/{path.name}" for path in git.glob("worktrees/*"))
        for path in self.project.rglob("*"):
            if path.suffix in (".tmp", ".lock") or path.name.endswith("-journal"):
                yield str(path.relative_to(self.project))

    def _processes(self) -> Iterator[str]:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self.token and process.status() != psutil.STATUS_ZOMBIE:
                    yield f"process {process.pid} ({' '.join(process.cmdline())[:60]})"


def end(process: subprocess.Popen[bytes], place: Place) -> str:
    """Wait for a run; what was wrong with how it ended, or what it said."""
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"hung for {PATIENCE:.0f} s"
    said = (place.temp.parent / "said").read_text(errors="replace")
    return "INTERNALERROR" if "INTERNALERROR" in said else ""


def whole(place: Place, wrapper: list[str]) -> str:
    """A run that nobody kills."""
    process = place.start(wrapper)
    trouble = end(process, place)
    if not trouble and process.returncode:
        said = (place.temp.parent / "said").read_text(errors="replace")
        trouble = f"the next run ended with {process.returncode}: {said[-600:]}"
    return trouble


def target(process: subprocess.Popen[bytes]) -> int:
    """The run itself, where it is in a namespace."""
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(process.pid).children()
        if "unshare" in psutil.Process(process.pid).name() and children:
            return int(children[0].pid)
    return process.pid


def attempt(place: Place, longest: float, wrapper: list[str], chance: random.Random) -> tuple[str, str]:
    """Kill a run; how, and what was wrong."""
    number, group, wait = chance.choice(SIGNALS), chance.random() < 0.5, chance.uniform(0, longest)
    how = f"{number.name} to the {'group' if group else 'process'} after {wait:.2f} s"
    process = place.start(wrapper)
    other = place.start(wrapper) if place.mode == "two" else None
    time.sleep(wait)
    with contextlib.suppress(OSError):
        if group:
            os.killpg(process.pid, number)
        else:
            os.kill(target(process), number)
    troubles = [end(process, place)]
    if other is not None:
        troubles.append(end(other, place))
        if other.returncode:
            said = (place.temp.parent / "said").read_text(errors="replace")
            troubles.append(f"the run beside it ended with {other.returncode}: {said[-600:]}")
    elif number is not signal.SIGKILL and (found := place.left(1.0)):
        how += f" (until the next run {found})"
    troubles += [whole(place, wrapper), place.lost(), place.left(3.0)]
    return how, "; ".join(filter(None, troubles))


def namespaces() -> list[str]:
    if shutil.which("unshare") is None or subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode:
        print("two: no PID namespaces here: two plain processes")
        return []
    return NAMESPACE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="in all modes together")
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", nargs="+", choices=MODES, default=list(MODES), metavar="MODE")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    chance = random.Random(options.seed)
    begun = time.monotonic()
    done: Counter[str] = Counter()
    wrong = early = 0
    with tempfile.TemporaryDirectory(prefix="joules-kills-", ignore_cleanup_errors=True) as folder:
        places: dict[str, tuple[Place, float, list[str]]] = {}
        for mode in options.only:
            place, wrapper = Place(Path(folder, mode), mode), namespaces() if mode == "two" else []
            since = time.monotonic()
            if trouble := whole(place, wrapper):
                print(f"{mode}: without a kill: {trouble}")
                return 1
            places[mode] = place, time.monotonic() - since, wrapper
        while sum(done.values()) < options.kills and time.monotonic() - begun < options.seconds:
            mode = options.only[sum(done.values()) % len(options.only)]
            place, longest, wrapper = places[mode]
            how, trouble = attempt(place, longest, wrapper, chance)
            done[mode] += 1
            early += "until the next run" in how
            if trouble:
                wrong += 1
                print(f"{mode}: {how}: {trouble}", flush=True)
                if "hung" in trouble or "left" in trouble:  # not counted again
                    places[mode] = Place(Path(folder, f"{mode}-{sum(done.values())}"), mode), longest, wrapper
            elif "until" in how:
                print(f"{mode}: {how}", flush=True)
    counts = ", ".join(f"{mode} {number}" for mode, number in done.items())
    seconds = time.monotonic() - begun
    print(f"{sum(done.values())} kills ({counts}) in {seconds:.0f} s: {wrong} wrong, {early} left until the next run")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
