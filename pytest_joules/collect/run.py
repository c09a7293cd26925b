"""Collecting many packages: each on its own, some prepared at once, all of them whatever one does."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout
from packaging.utils import canonicalize_name

from pytest_joules import machine
from pytest_joules.collect import SCHEMA
from pytest_joules.collect.environment import Own, check, make_template
from pytest_joules.collect.failure import Failed, Stopped
from pytest_joules.collect.fetching import PairRequest, Request
from pytest_joules.collect.package import Bounds, Means, Outcome, PackageCollector
from pytest_joules.collect.pair import PairCollector, PairOutcome
from pytest_joules.collect.pair_records import SCHEMA as PAIRS_SCHEMA
from pytest_joules.collect.pair_side import PairBounds
from pytest_joules.collect.records import Lines, Representation, write_lines
from pytest_joules.collect.sandbox import Sandbox
from pytest_joules.collect.state import State

#: Seconds to build pytest-joules and install it once.
_TEMPLATE = 900.0


@dataclass(frozen=True, slots=True)
class CollectSettings:
    """What is to be collected, and how."""

    requests: Sequence[Request]
    """Of packages, or, with :class:`PairBounds`, of pairs."""
    out: Path
    bounds: Bounds
    python: str
    jobs: int = 1
    retry: bool = False
    """Packages that failed before are tried again."""
    rewrite: bool = False
    """The records of finished packages are written anew from their histories."""
    popularity: Mapping[str, float] = field(default_factory=dict)
    """By canonical name."""
    representations: Mapping[str, Representation] = field(default_factory=dict)


class CollectError(Exception):
    """Nothing can be collected; the message says why and what to do."""


def collect(
    settings: CollectSettings, say: Callable[[str], None], told: Callable[[int, int], None] = lambda done, total: None
) -> tuple[list[Outcome], bool]:
    """Collect what is not finished yet; returns what came of every package asked for, and whether it was ended before its time.

    ``say``: lines for people. ``told``: how many packages are done, of how many.

    Raises:
        CollectError: the folder or the interpreter cannot be used.
    """
    try:
        version = check(settings.python)
        (settings.out / "work").mkdir(parents=True, exist_ok=True)
    except ValueError as error:
        raise CollectError(str(error)) from None
    except OSError as error:
        raise CollectError(f"--out={settings.out}: {error.strerror}: name a folder that you may write to") from None
    lock = FileLock(settings.out / "work" / ".lock")
    try:
        with lock.acquire(timeout=0):
            kind = (PAIRS_SCHEMA, PairOutcome) if isinstance(settings.bounds, PairBounds) else (SCHEMA, Outcome)
            return _collect(settings, State(settings.out, _facts(settings, version), *kind), say, told)
    except Timeout:
        raise CollectError(f"another joules collect is at work in {settings.out}: wait for it, or name another --out") from None


def _collect(
    settings: CollectSettings, state: State, say: Callable[[str], None], told: Callable[[int, int], None]
) -> tuple[list[Outcome], bool]:
    todo = []
    for request in settings.requests:
        before = state.finished(request.key)
        if before is None or (settings.retry and before.reason is not None):
            todo.append(request)
    if len(todo) < len(settings.requests):
        say(f"{len(settings.requests) - len(todo)} of {len(settings.requests)} are finished already")
    if settings.rewrite and isinstance(settings.bounds, PairBounds):
        todo = list(settings.requests)  # those that are finished are looked at anew
    elif settings.rewrite:
        _rewrite(settings, state, say)
    stop = threading.Event()
    if todo:
        with _interruptible(stop):
            own = _own(settings, stop)
            if own is not None:
                means = Means(settings.bounds, own, stop, threading.Lock(), lambda outcome: _lines(settings, outcome))
                _run(settings, state, todo, means, say=say, told=told)
    outcomes = (state.finished(request.key) for request in settings.requests)
    return [outcome for outcome in outcomes if outcome is not None], stop.is_set()


def _own(settings: CollectSettings, stop: threading.Event) -> Own | None:
    folder = settings.out / "work" / ".joules"
    folder.mkdir(parents=True, exist_ok=True)
    cache = settings.out / "work" / ".pip-cache"
    sandbox = Sandbox(folder, time.monotonic() + _TEMPLATE, settings.bounds.disk_limit, stop, folder / "log.txt", cache)
    sandbox.prepare()
    try:
        return make_template(sandbox, settings.python)
    except Failed as failure:
        raise CollectError(f"{failure.detail} (see {sandbox.log})") from None
    except Stopped:
        return None


def _run(
    settings: CollectSettings,
    state: State,
    todo: Sequence[Request],
    means: Means,
    *,
    say: Callable[[str], None],
    told: Callable[[int, int], None],
) -> None:
    def one(request: Request) -> None:
        if means.stop.is_set():
            return

        def tell(text: str) -> None:
            say(f"{request.text}: {text}")

        with contextlib.suppress(Stopped):
            if not isinstance(request, PairRequest):
                outcome = PackageCollector(request, settings.out, means, tell).run()
            else:
                pair, before = PairCollector(request, settings.out, means, tell), state.finished(request.key)
                if isinstance(before, PairOutcome) and (before.reason is None or not settings.retry):
                    if before.tests:
                        tell(pair.rewrite(before))
                    return
                outcome = pair.run()
            state.finish(request.key, outcome)
            tell(_said(outcome))

    with ThreadPoolExecutor(settings.jobs) as pool:
        try:
            for number, done in enumerate(as_completed([pool.submit(one, request) for request in todo]), 1):
                done.result()
                told(number, len(todo))
                # After each: a run that is killed leaves lists that are nearly right.
                state.summarise()
        except BaseException:
            means.stop.set()
            raise


def _said(outcome: Outcome) -> str:
    measured = f"{outcome.tests} tests, {outcome.repetitions} repetitions, {outcome.seconds:.0f} s"
    if outcome.reason is None:
        return measured
    return f"{outcome.reason}: {outcome.detail}" + (f" ({measured})" if outcome.tests else "")


def _lines(settings: CollectSettings, outcome: Outcome) -> Lines:
    head = outcome.as_record()
    name = canonicalize_name(outcome.name or outcome.package.partition("==")[0])
    shared = {"schema": SCHEMA, "package": outcome.name, "version": outcome.version, "popularity": settings.popularity.get(name)}
    facts = {
        key: head[key]
        for key in ("archive", "pytest_joules", "collected", "chosen", "outcomes", "exit_status", "reason", "detail")
    }
    return Lines(shared | facts, settings.representations)


def _rewrite(settings: CollectSettings, state: State, say: Callable[[str], None]) -> None:
    """Write the records of what is finished anew."""
    for request in settings.requests:
        outcome = state.finished(request.key)
        history = settings.out / "work" / request.key / "history.db"
        if outcome is None or not outcome.tests:
            continue
        try:
            if not history.is_file():
                raise Failed("not written", f"{history} is gone: delete {state.note(request.key)} to collect it again")
            write_lines(settings.out / "records" / f"{request.key}.jsonl", history, _lines(settings, outcome))
        except Failed as failure:
            say(f"{request.text}: {failure.detail}")
        else:
            say(f"{request.text}: written anew")


def _facts(settings: CollectSettings, version: str) -> dict[str, object]:
    """Of the latest run: when, where, and how it measured. Each package's records say these again of themselves."""
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {**machine.fingerprint(), "python": version},
        "settings": asdict(settings.bounds) | {"jobs": settings.jobs},
    }


@contextlib.contextmanager
def _interruptible(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and a polite kill end what runs and keep what is finished."""

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    before = [signal.signal(number, end) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
