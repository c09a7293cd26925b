"""What is opened, listed, loaded and started while a round is recorded, by the names of the interpreter's audit events.

This shows what a name in the source does not: files that a library reads, databases, shared libraries, code that is executed
from a file by other means than an import statement. While it is told, it is only written down: paths are judged and files are
read when no round runs.
"""

from __future__ import annotations

import dis
import os
import stat
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any, NamedTuple, TypeAlias

from pytest_joules.code import interception
from pytest_joules.code.interception import Interception

# Bound now: a test may patch them, or put another file system in their place.
_stat, _getcwd, _fsdecode, _frame = os.stat, os.getcwd, os.fsdecode, sys._getframe
_is_absolute, _is_file = os.path.isabs, stat.S_ISREG

_HERE = os.path.dirname(os.path.dirname(os.path.realpath(__file__))) + os.sep  # noqa: PTH120 - compared with co_filename
_STDLIB = tuple({f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib")})
_WRITES = os.O_WRONLY | os.O_RDWR
_MAKES = os.O_TRUNC | os.O_EXCL
#: Frames that are looked through for who opens a file.
_DEEPEST = 400


#: Of a function that anybody may call with anything.
_Arguments: TypeAlias = "tuple[Any, ...]"


class FileState(NamedTuple):
    """How a file was met first: ``read``, ``missing``, ``written`` or ``listed`` (a folder), and what it was then."""

    how: str
    size: int = 0
    modified: int = 0


@dataclass(slots=True)
class Traces:
    """What one test, one fixture or one module has opened."""

    files: dict[str, FileState] = field(default_factory=dict)
    """By absolute path."""
    executed: dict[str, None] = field(default_factory=dict)
    """Files whose code was executed, as the code names them: by an import or otherwise."""
    started: set[str] = field(default_factory=set)
    """``starts a thread``, ``starts a process``."""


class Opened:
    """What a session has opened so far, by who did."""

    def __init__(self) -> None:
        self.current: Traces | None = None
        """Of the test or fixture that is recorded."""
        self.by_module: dict[str, Traces] = {}
        """At import, by the file of the module."""
        self.by_function: dict[int, tuple[CodeType, dict[str, FileState]]] = {}
        """By function, whoever called it: what it made may be kept."""
        self.by_nobody = Traces()
        """By the project's code outside of tests, fixtures and imports: hooks at collection."""
        self.executed: dict[str, bool] = {}
        """All files whose code was executed, and whether one was asked for by a text rather than an import statement."""
        self._new: list[str] = []
        self.written: dict[str, Traces] = {}
        """Files that a recorded test or fixture wrote, with its traces."""
        self.processes = False
        """Whether the project's code has started a process."""

    def listen(self) -> None:
        """From now on events are written down."""
        if self not in _listening:
            _listening.append(self)
        _interception().on()

    def ignore(self) -> None:
        """From now on they are not: rounds are measured."""
        if self in _listening:
            _listening.remove(self)
        if not _listening:
            _interception().off()

    @contextmanager
    def apart(self) -> Iterator[Traces]:
        """Write down what happens inside by itself, in what is given."""
        before, listened = self.current, self in _listening
        self.current = inside = Traces()
        self.listen()
        try:
            yield inside
        finally:
            self.current = before
            if not listened:
                self.ignore()

    def new_files(self) -> list[str]:
        """Files whose code was executed since this was last asked."""
        new, self._new = self._new, []
        return new

    # Events

    def tell(self, event: str, arguments: _Arguments) -> None:
        """An event of interest. Never raises: it would look like an error of the code that runs."""
        try:
            _EVENTS[event](self, arguments)
        except Exception:  # arguments of any kind, the end of the interpreter
            return

    def _open(self, arguments: _Arguments) -> None:
        path, mode, flags = arguments
        if type(path) is int:
            return
        path = _path(path)
        if mode is None:
            writes, makes = bool(flags & _WRITES), bool(flags & _MAKES) or flags & _WRITES == os.O_WRONLY
        else:
            makes = "w" in mode or "x" in mode or "a" in mode
            writes = makes or "+" in mode
        self._met(path, "written" if makes else "read", writes=writes)

    def _listed(self, arguments: _Arguments) -> None:
        path = arguments[0]
        if type(path) is not int:
            self._met(_path("." if path is None else path), "listed")

    def _database(self, arguments: _Arguments) -> None:
        path = arguments[0]
        if isinstance(path, str) and path.startswith("file:"):
            path = path.removeprefix("file:").partition("?")[0]
        if path and path not in (":memory:", b":memory:"):
            self._met(_path(path), "read")

    def _library(self, arguments: _Arguments) -> None:
        name = arguments[0]
        if name and os.sep in os.fspath(name):
            self._met(_path(name), "read")

    def _renamed(self, arguments: _Arguments) -> None:
        self._met(_path(arguments[1]), "written")

    def _executed(self, arguments: _Arguments) -> None:
        name = arguments[0]
        if name.startswith("<") or _kind(name) != _PROJECT:
            return
        # A script that a test runs stays with it; a module that it makes Python import is there for all.
        by_text = _by_text(_caller()) and (
            self.current is None or any(code.co_name == "_find_and_load" for _, code in _callers(_caller()))
        )
        self._new.append(name)
        self.executed[name] = self.executed.get(name, False) or by_text
        if self.current is not None:
            self.current.executed[name] = None

    def _thread(self, arguments: _Arguments) -> None:
        # Those of plugins are about the run, unless a fixture starts them.
        if not any(kind == _PROJECT or code.co_name == "call_fixture_func" for kind, code in _callers(_caller())):
            return
        if self.current is not None:
            self.current.started.add("starts a thread")

    def _process(self, arguments: _Arguments) -> None:
        if _asker(_callers(_caller())) == _OWN:
            return
        if self.current is not None:
            self.current.started.add("starts a process")
        self.processes = True

    # Files

    def _met(self, path: str, how: str, *, writes: bool = False) -> None:
        current = self.current
        known = current is not None and path in current.files
        if known and not writes:
            return
        callers = list(_callers(_caller()))
        if _is_ours(path, callers):
            return
        found = seen(path, how)
        if current is not None:
            current.files.setdefault(path, found)
            if writes or how == "written":
                self.written[path] = current
        if how == "written":
            return
        self._attribute(path, found, [code for kind, code in callers if kind == _PROJECT])

    def _attribute(self, path: str, seen: FileState, codes: list[CodeType]) -> None:
        """To the module that is being imported and to the functions on the way."""
        for code in codes:
            if code.co_name == "<module>":
                self.by_module.setdefault(code.co_filename, Traces()).files.setdefault(path, seen)
                return
            self.by_function.setdefault(id(code), (code, {}))[1].setdefault(path, seen)
        if codes and self.current is None:
            self.by_nobody.files.setdefault(path, seen)


def _path(path: str | bytes | os.PathLike[str]) -> str:
    text = _fsdecode(path)
    return text if _is_absolute(text) else f"{_getcwd()}{os.sep}{text}"


def seen(path: str, how: str = "read") -> FileState:
    """What a path is now."""
    if how != "read":
        return FileState(how)
    try:
        found = _stat(path)
    except (OSError, ValueError):
        return FileState("missing")
    return FileState("read", found.st_size, found.st_mtime_ns) if _is_file(found.st_mode) else FileState("written")


def _is_ours(path: str, callers: list[tuple[str, CodeType]]) -> bool:
    """Whether what opens a file is this plugin, or the interpreter and pytest looking for code."""
    if path.endswith((".pyc", ".pyo")) or _asker(callers) == _OWN:
        return True
    if not callers:
        return False
    first, name = callers[0][1].co_filename, callers[0][1].co_name
    if first.startswith("<frozen"):
        # Not what pkgutil.get_data reads.
        return path.endswith(".py") or name in ("_fill_cache", "_path_hooks", "path_hook_for_FileFinder")
    if not path.endswith(".py"):
        return False
    # Source for a traceback is no data, what inspect reads of it is.
    quoted = first.endswith(("linecache.py", "tokenize.py")) and not any(
        code.co_filename.endswith("inspect.py") for _, code in callers[:12]
    )
    return quoted or first.endswith(f"assertion{os.sep}rewrite.py") or name == "_get_code_from_file"  # runpy's


# Who it is

_LIBRARY, _STANDARD, _OWN, _PYTEST, _IMPORT, _PROJECT = "library", "standard", "own", "pytest", "import", "project"
_kinds: dict[str, str] = {}


def _kind(filename: str) -> str:
    known = _kinds.get(filename)
    if known is None:
        known = _kinds[filename] = _kind_of(filename)
    return known


def _kind_of(filename: str) -> str:
    if filename.startswith("<"):
        return _IMPORT if filename.startswith("<frozen importlib") else _STANDARD
    if filename.startswith(_HERE):
        return _OWN
    parts = filename.replace(os.sep, "/").split("/")
    if "site-packages" in parts or "dist-packages" in parts:
        return _PYTEST if parts[-2] in ("_pytest", "pluggy") or "_pytest" in parts else _LIBRARY
    if filename.startswith(_STDLIB):
        return _IMPORT if parts[-2:] == ["importlib", "__init__.py"] else _STANDARD
    return _PROJECT


_TOLD_BY = (__file__, interception.__file__)


def _caller() -> FrameType | None:
    """Of what was called when the event came."""
    frame: FrameType | None = _frame(1)
    while frame is not None and frame.f_code.co_filename in _TOLD_BY:
        frame = frame.f_back
    return frame


def _callers(frame: FrameType | None) -> Iterator[tuple[str, CodeType]]:
    """Who is at work, the innermost first, up to where pytest called it: further out is who runs pytest."""
    for _ in range(_DEEPEST):
        if frame is None:
            return
        code = frame.f_code
        kind = _kind(code.co_filename)
        yield kind, code
        if kind == _PYTEST:
            return
        frame = frame.f_back


def _asker(callers: Iterable[tuple[str, CodeType]]) -> str:
    """Who asks, the standard library left aside."""
    return next((kind for kind, _ in callers if kind not in (_STANDARD, _IMPORT)), "")


def _by_text(frame: FrameType | None) -> bool:
    """Whether the code that begins to run is a module that no import statement of the project names: asked for by
    ``import_module``, by a framework's settings. pytest's own imports are no such ones: it has its rules for what they bring."""
    asked = False
    while frame is not None:
        kind, code = _kind(frame.f_code.co_filename), frame.f_code
        if kind == _PYTEST:
            return False
        if kind == _PROJECT:
            return asked or code.co_code[frame.f_lasti] != _IMPORT_NAME
        asked = asked or kind != _IMPORT or code.co_name == "import_module"
        frame = frame.f_back
    return asked


_IMPORT_NAME = dis.opmap["IMPORT_NAME"]
_EVENTS: dict[str, Callable[[Opened, _Arguments], None]] = {
    "open": Opened._open,
    "os.listdir": Opened._listed,
    "os.rename": Opened._renamed,
    "sqlite3.connect": Opened._database,
    "ctypes.dlopen": Opened._library,
    "exec": Opened._executed,
    "_thread.start_new_thread": Opened._thread,
    "subprocess.Popen": Opened._process,
}


# Who listens

_listening: list[Opened] = []
"""Sessions whose events are written down, the innermost last; empty while nothing is to be seen."""
_early: list[Opened] = []


def _tell(event: str, arguments: _Arguments) -> None:
    if _listening:
        _listening[-1].tell(event, arguments)


@lru_cache(maxsize=1)
def _interception() -> Interception:
    return Interception(_tell)


def listen_early() -> None:
    """Before there is a session: what is imported while it is configured. The session takes it over when it asks."""
    forget_early()
    _early.append(Opened())
    _early[0].listen()


def forget_early() -> None:
    """No session asks: this run measures nothing."""
    while _early:
        _early.pop().ignore()


def of_session() -> Opened:
    """For a session that begins: it listens."""
    found = _early.pop() if _early else Opened()
    found.listen()
    return found
