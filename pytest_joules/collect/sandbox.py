"""Running code of others: a home of its own, a cleaned environment, no input, bounds in time, disk, memory and processes, and an
end of all that it started.

On Linux a :mod:`~pytest_joules.collect.subreaper` runs each command, and nothing that descends from it outlives it. Elsewhere
that is so of the process group, and of what left it but carries a mark in its environment.

This keeps honest packages from harming each other and the user's files by accident. It is no prison: who collects packages that
nobody has looked at does so in a container or a virtual machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from pytest_joules.collect.failure import Failed, Stopped

if TYPE_CHECKING:
    import psutil

#: Variables of the caller that stay: how to find programs, and what the system itself needs.
_KEPT = ("PATH", "SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "NUMBER_OF_PROCESSORS", "LD_LIBRARY_PATH", "TZ")
#: What pip needs beside them to reach an index: for installing only, as it may hold secrets.
_INDEX = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_MARK = "JOULES_COLLECT_SANDBOX"
_TAIL = 64 * 1024
_POLL = 0.2
_WALK = 5.0
_COUNT = 1.0
_PATIENCE = 10.0
_SUBREAPER = Path(__file__).with_name("subreaper.py")
#: Of all processes of a command together: how many (and threads, beside those that the user has), and the share of the memory.
MOST_PROCESSES = 500
_MEMORY = 0.75


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    """Exit status; of a killed one the negative signal."""
    output: str
    """The last 64 KiB of both outputs."""


@dataclass(slots=True)
class Sandbox:
    """The folder of one package, and what may be used of time and disk."""

    folder: Path
    deadline: float
    """Of :func:`time.monotonic`."""
    disk_limit: int
    """Bytes below ``folder``."""
    stop: threading.Event
    """Set when the user ends the whole run."""
    log: Path
    shared_cache: Path
    """Of pip, for all packages: what was fetched once is not fetched again."""
    marks: str = field(default_factory=lambda: token_hex(8))
    """In the environment of every process that descends from this sandbox, wherever it went."""

    def prepare(self) -> None:
        for name in ("home", "tmp", "cache", "config", "data", "run"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def environ(self, *, index: bool) -> dict[str, str]:
        """The environment of a command; with ``index``, the user's own settings of pip go with it."""
        kept = {name: value for name, value in os.environ.items() if name.upper() in _KEPT}
        if index:
            kept |= {name: value for name, value in os.environ.items() if name.upper().startswith(_INDEX)}
            if "PIP_CONFIG_FILE" not in kept and (own := _own_pip_settings()) is not None:
                kept["PIP_CONFIG_FILE"] = str(own)
            # Not asked for by the user: a question without an answer would wait for ever.
            kept |= {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CACHE_DIR": str(self.shared_cache)}
        # Programs that are found by name are those of the package's environment first.
        programs = self.folder / "env" / ("Scripts" if os.name == "nt" else "bin")
        kept["PATH"] = os.pathsep.join([str(programs), kept.get("PATH", os.defpath)])
        home, tmp = str(self.folder / "home"), str(self.folder / "tmp")
        kept |= {
            "HOME": home,
            "USERPROFILE": home,
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), tmp),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_STATE_HOME": str(self.folder / "data"),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "PYTHONHASHSEED": "0",
            "PYTHONNOUSERSITE": "1",
            "PYTHONUTF8": "1",
            # A repository that the folder lies in is not the package's.
            "GIT_CEILING_DIRECTORIES": str(self.folder),
            "GIT_TERMINAL_PROMPT": "0",
            _MARK: self.marks,
        }
        return kept

    def run(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        index: bool = False,
        patience: float | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a command to its end; what it leaves running is ended too, and so is itself after ``patience`` seconds.

        ``variables`` are added to its environment.

        Raises:
            Failed: ``time`` or ``disk``: the limit was reached, and every process was killed.
            Stopped: the user ends the run.
        """
        begun = time.monotonic()
        with self.log.open("ab") as log:
            log.write(f"\n$ {' '.join(map(str, command))}\n".encode("utf-8", "surrogateescape"))
            log.flush()
            offset = log.tell()
            process = subprocess.Popen(
                [*self._subreaper(), *(str(part) for part in command)],
                cwd=cwd or self.folder,
                env={**self.environ(index=index), **(variables or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=os.name == "posix",
            )
        try:
            self._wait(process, None if patience is None else begun + patience)
        finally:
            self._end(process)
        with self.log.open("rb+") as log:
            log.seek(max(offset, self.log.stat().st_size - _TAIL))
            output = log.read().decode("utf-8", "replace")
            log.write(f"[{process.returncode}, {time.monotonic() - begun:.1f} s]\n".encode())
        return Done(process.returncode, output)

    def _subreaper(self) -> list[str]:
        """What a command is run by. A file may have twice the limit of all together, which is seen before, if it grows slowly."""
        if sys.platform != "linux":
            return []
        threads = MOST_PROCESSES + _threads()
        return [sys.executable, "-I", "-S", str(_SUBREAPER), str(2 * self.disk_limit), str(_memory()), str(threads)]

    def _wait(self, process: subprocess.Popen[bytes], until: float | None) -> None:
        walked, free = time.monotonic(), shutil.disk_usage(self.folder).free
        counted = walked
        self._check_disk()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL)
                return
            now = time.monotonic()
            if self.stop.is_set():
                raise Stopped
            if now >= self.deadline:
                raise Failed("time", "the time limit was reached")
            if until is not None and now >= until:
                return
            if now - counted >= _COUNT:
                _check_processes(process.pid)
                counted = now
            # The file system's own count costs nothing; the folder is walked when that moved, and now and then.
            left = shutil.disk_usage(self.folder).free
            if now - walked >= _WALK or free - left > self.disk_limit // 4:
                self._check_disk()
                walked, free = time.monotonic(), left

    def _check_disk(self) -> None:
        used = size(self.folder)
        if used > self.disk_limit:
            raise Failed("disk", f"{used / 2**20:.0f} MiB were written, more than the limit of {self.disk_limit / 2**20:.0f} MiB")

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End the process, whatever descends from it, its group, and whatever left that but carries the mark."""
        if sys.platform == "linux" and process.poll() is None:
            process.terminate()  # the subreaper ends what it holds, and then itself
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
            if process.poll() is None:  # somebody stopped it
                _kill(process.pid)
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        elif process.poll() is None:
            process.kill()
        for _ in range(5):  # one may start another while it is looked for
            if not self._end_marked():
                break
        process.wait()

    def _end_marked(self) -> bool:
        import psutil

        found = False
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(_MARK) == self.marks and process.status() != psutil.STATUS_ZOMBIE:
                    process.kill()
                    found = True
        return found


def _below(number: int) -> list[psutil.Process]:
    """What descends from a process."""
    import psutil

    try:
        return psutil.Process(number).children(recursive=True)
    except psutil.Error:
        return []


def _kill(number: int) -> None:
    import psutil

    while below := [process for process in _below(number) if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]:
        for process in below:
            with contextlib.suppress(psutil.Error):
                process.kill()


def _check_processes(number: int) -> None:
    """Raises :class:`Failed` where all that descends from a process is too much for the machine."""
    import psutil

    below = _below(number)
    if len(below) > MOST_PROCESSES:
        raise Failed("processes", f"{len(below)} processes were started, more than the limit of {MOST_PROCESSES}")
    used = 0
    for process in below:
        with contextlib.suppress(psutil.Error):
            used += process.memory_info().rss
    if used > _memory():
        raise Failed("memory", f"{used / 2**20:.0f} MiB of memory were used, more than the limit of {_memory() / 2**20:.0f} MiB")


def _memory() -> int:
    """Bytes that a command may use: a share of the machine's, or of what its container may use."""
    import psutil

    most = psutil.virtual_memory().total
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            most = min(most, int(Path(place).read_text("ascii")))
    return int(most * _MEMORY)


def _threads() -> int:
    """Of this user: the system's limit counts all of them."""
    import psutil

    own, found = os.getuid(), 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found += process.num_threads() if process.uids().real == own else 0
    return found


def size(folder: Path) -> int:
    """Bytes on the disk below a folder, links not followed."""

    def entries(path: str) -> Iterator[os.DirEntry[str]]:
        with contextlib.suppress(OSError), os.scandir(path) as found:
            yield from found

    total, open_folders = 0, [str(folder)]
    while open_folders:
        for entry in entries(open_folders.pop()):
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    open_folders.append(entry.path)
                else:
                    found = entry.stat(follow_symlinks=False)
                    # A sparse file is as large as its blocks.
                    total += getattr(found, "st_blocks", found.st_size // 512 + 1) * 512
    return total


def _own_pip_settings() -> Path | None:
    """The user's configuration of pip, which it would not find from another home."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    places = [config / "pip" / "pip.conf", Path.home() / ".pip" / "pip.conf"]
    if sys.platform == "darwin":
        places.insert(0, Path.home() / "Library" / "Application Support" / "pip" / "pip.conf")
    if sys.platform == "win32":
        places.insert(0, Path(os.environ.get("APPDATA", "")) / "pip" / "pip.ini")
    return next((place for place in places if place.is_file()), None)
