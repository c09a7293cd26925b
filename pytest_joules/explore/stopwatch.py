"""How long tests' bodies take in two versions of a project, in turn, run by run.

``python -m pytest_joules.explore.stopwatch`` reads requests from its standard input, or from the files that are named, one JSON
object a line::

    {"roots": [folder, folder], "paths": [[import paths], [import paths]], "tests": [node ids], "options": [[...], [...]],
     "seconds": 0.03, "out": file, "limit": 60}

and answers each with a line when its results are in ``out``: ``{nodeid: [seconds, seconds]}``, the least of many runs of the
test's body (CPU time of its thread), of those tests that passed in both. Each version runs in a forked process of its own, which
has loaded pytest already and sees the files as they are then; the two take turns after every millisecond or run, so that what
else the machine does befalls both.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import json
import os
import select
import sys
import time
from collections.abc import Generator
from itertools import chain
from pathlib import Path
from typing import TypedDict

import pytest
from typing_extensions import NotRequired

#: Turns of each version, and nanoseconds of one, unless a single run takes longer.
_TURNS, _TURN = 10, 2_000_000
#: Seconds to wait for the other version.
_PATIENCE = 30.0

_clock = time.thread_time_ns


class Request(TypedDict):
    """A line that is read; every list of two has the versions' one after the other."""

    roots: list[str]
    paths: list[list[str]]
    """What they are imported from."""
    tests: list[str]
    """Node ids, or other arguments of pytest that choose tests."""
    options: NotRequired[list[list[str]]]
    """Of pytest."""
    seconds: float
    """That a test is run for."""
    out: str
    limit: float
    """Seconds, after which both are ended."""


class Other:
    """The process that runs the other version."""

    def __init__(self, receive: int, send: int, first: bool) -> None:
        self.receive, self.send, self.first = receive, send, first
        self._left = b""

    def tell(self, text: str) -> None:
        os.write(self.send, text.encode() + b"\n")

    def hear(self) -> str:
        """Its next line. Raises ``TimeoutError`` where none comes."""
        while b"\n" not in self._left:
            if not select.select([self.receive], [], [], _PATIENCE)[0] or not (more := os.read(self.receive, 65536)):
                raise TimeoutError
            self._left += more
        line, _, self._left = self._left.partition(b"\n")
        return line.decode()

    def exchange(self, text: str) -> str:
        self.tell(text)
        return self.hear()


class Stopwatch:
    """A pytest plugin: runs each test's body again and again, in turn with the other version."""

    def __init__(self, other: Other, seconds: float) -> None:
        self.other, self.seconds = other, seconds
        self.found: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, None, None]:
        """Both versions run their tests in one order, whatever shuffles them."""
        yield
        items.sort(key=lambda item: item.nodeid)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        begun = _clock()
        try:
            result = yield
        except BaseException:
            self._agree(item, 0)
            raise
        self._measure(item, _clock() - begun)
        return result

    def _agree(self, item: pytest.Item, first: int) -> int:
        """Nanoseconds of the longer first run; 0: it is not to be measured."""
        theirs = json.loads(self.other.exchange(json.dumps([item.nodeid, first])))
        if theirs[0] != item.nodeid:
            raise pytest.exit.Exception("the two versions run different tests")
        return max(first, theirs[1]) if first and theirs[1] else 0

    def _measure(self, item: pytest.Item, first: int) -> None:
        longest = self._agree(item, max(first, 1))
        if not longest:
            return
        turns = int(max(4, min(_TURNS, self.seconds * 1e9 / max(longest, _TURN))))
        least: int | None = None
        failed = False
        for _ in range(turns):
            if not self.other.first:
                self.other.hear()
            begun = _clock()
            while not failed:
                start = _clock()
                try:
                    item.runtest()
                except BaseException:  # whatever the test says: it does not bear being run twice
                    failed = True
                now = _clock()
                least = min(now - start, least or now - start)
                if now - begun >= _TURN:
                    break
            self.other.tell("")
            if self.other.first:
                self.other.hear()
        if not failed and least:
            self.found[item.nodeid] = least / 1e9


def _child(request: Request, number: int, other: Other) -> None:
    """One run of pytest, in the forked process."""
    root = request["roots"][number]
    os.chdir(root)
    sys.path[:0] = request["paths"][number]
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    watch = Stopwatch(other, request["seconds"])
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--energy-disable", f"--rootdir={root}"]
    # Plugins are loaded already, which pytest warns of.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning", *request.get("options", ([], []))[number]]
    pytest.main([*options, *request["tests"]], plugins=[watch])
    Path(f"{request['out']}.{number}").write_text(json.dumps(watch.found), "utf-8")


def _load() -> None:
    """What every run of pytest would load for itself."""
    import _pytest.config

    for name in _pytest.config.default_plugins:
        importlib.import_module(f"_pytest.{name}")
    for entry in importlib.metadata.entry_points(group="pytest11"):
        with contextlib.suppress(Exception):  # pytest says so in the run
            entry.load()
    gc.collect()
    gc.freeze()


def _both(request: Request) -> None:
    """Run both versions and write what they took."""
    there, back = os.pipe(), os.pipe()
    ends = (Other(back[0], there[1], True), Other(there[0], back[1], False))
    children = []
    for number, other in enumerate(ends):
        child = os.fork()
        if not child:
            try:
                # Otherwise the end of one is never noticed by the other.
                for descriptor in {*there, *back} - {other.receive, other.send}:
                    os.close(descriptor)
                _child(request, number, other)
            finally:
                os._exit(0)
        children.append(child)
    for descriptor in (*there, *back):
        os.close(descriptor)
    end = time.monotonic() + request["limit"]
    for child in children:
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > end:
                os.kill(child, 9)
                os.waitpid(child, 0)
                break
            time.sleep(0.005)
    found = []
    for number in range(2):
        path = Path(f"{request['out']}.{number}")
        found.append(json.loads(path.read_text("utf-8")) if path.exists() else {})
        path.unlink(missing_ok=True)
    both = {test: [found[0][test], found[1][test]] for test in found[0] if test in found[1]}
    Path(request["out"]).write_text(json.dumps(both), "utf-8")


def _serve() -> None:
    _load()
    for line in chain.from_iterable(map(_lines, sys.argv[1:])) if sys.argv[1:] else sys.stdin:
        _both(json.loads(line))
        print("done", flush=True)


def _lines(name: str) -> list[str]:
    return Path(name).read_text("utf-8").splitlines()


if __name__ == "__main__":
    _serve()
