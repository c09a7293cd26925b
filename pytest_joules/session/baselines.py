"""Baselines in a run: the one to compare with, and the one to write or to mend when the run is over."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import pytest

from pytest_joules import baseline as baselines
from pytest_joules import machine
from pytest_joules.baseline import Baseline, BaselineError
from pytest_joules.code.inventory import Inventory, Stored
from pytest_joules.judge.comparing import OtherSide, OtherTest
from pytest_joules.model import Report, RunComparisonRecord, SourceRecord
from pytest_joules.session import history
from pytest_joules.settings.options import Settings
from pytest_joules.settings.values import BASELINES
from pytest_joules.store.entries import SessionEntry

if TYPE_CHECKING:
    from pytest_joules.store import Spooled, Store

    History = Store | Spooled

__all__ = ["BaselineError", "accept", "baseline_side", "overview"]


def folder(config: pytest.Config) -> Path:
    """Where a project's baselines are."""
    return config.rootpath / BASELINES


def baseline_side(config: pytest.Config, settings: Settings, sources: Sequence[SourceRecord], store: History | None) -> OtherSide:
    """The baseline that ``--energy-compare`` names, as the other side of a comparison.

    ``store``: the history, where this process has it open.

    Raises:
        pytest.UsageError: there is none, or it cannot be read.
    """
    assert settings.compare is not None
    here = machine.fingerprint()
    try:
        baseline = baselines.load(baselines.find(folder(config), here["id"], settings.compare or None))
    except BaselineError as error:
        option = f"--energy-compare={settings.compare}" if settings.compare else "--energy-compare"
        raise pytest.UsageError(f"{option}: {error}") from None
    differs = machine.differences(baseline.machine, here) + baselines.other_models(baseline.sources, sources)
    source = "+".join(entry["name"] for entry in sources)
    sessions: dict[str, list[float]] = {}
    if not differs:

        def of(nodeids: Sequence[str]) -> dict[str, list[float]]:
            return _sessions(config, settings, baseline, nodeids, machine_id=here["id"] or "", source=source, store=store)

        config.pluginmanager.register(_Asking(of, sessions, baseline.tests.keys()), "joules-earlier-sessions")
    return OtherSide(
        name=baseline.name,
        tests={
            nodeid: OtherTest(
                (test.samples,),
                test.record,
                functions=test.functions,
                fingerprint=test.fingerprint,
                sessions=_Earlier(sessions, nodeid),
                interval=test.energy["ci95"] if test.energy is not None else None,
                instructions=test.instructions,
                account=test.account,
            )
            for nodeid, test in baseline.tests.items()
        },
        created=baseline.created,
        commit=baseline.commit["id"] if baseline.commit else None,
        why=f"another machine or state of it ({'; '.join(differs)}): save a baseline here" if differs else None,
        remarks=baselines.remarks(baseline, here),
        texts=Stored(baseline.texts),
        counting=baseline.counting,
    )


class _Asking:
    """Asks the history of the tests that are collected, once these are known: the baseline may have thousands more."""

    def __init__(
        self, of: Callable[[Sequence[str]], dict[str, list[float]]], sessions: dict[str, list[float]], known: Collection[str]
    ) -> None:
        self._of, self._sessions, self._known = of, sessions, known

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        wanted = [item.nodeid for item in session.items if item.nodeid in self._known]
        if wanted and not session.config.option.collectonly:
            self._sessions.update(self._of(wanted))


class _Earlier(Sequence[float]):
    """The sessions of one test, as far as they have been asked for."""

    def __init__(self, sessions: Mapping[str, list[float]], nodeid: str) -> None:
        self._sessions, self._nodeid = sessions, nodeid

    @overload
    def __getitem__(self, place: int) -> float: ...
    @overload
    def __getitem__(self, place: slice) -> list[float]: ...
    def __getitem__(self, place: int | slice) -> float | list[float]:
        return self._sessions.get(self._nodeid, [])[place]

    def __len__(self) -> int:
        return len(self._sessions.get(self._nodeid, ()))


def _sessions(
    config: pytest.Config,
    settings: Settings,
    baseline: Baseline,
    nodeids: Sequence[str],
    *,
    machine_id: str,
    source: str,
    store: History | None,
) -> dict[str, list[float]]:
    """By test, what other sessions of the code that the baseline has came to."""
    from pytest_joules.store import StoreError, open_store

    try:
        if store is not None:
            found = store.sessions_of(nodeids, machine_id, source)
        else:
            own = open_store(history.url(config, settings), write=False)
            try:
                found = own.sessions_of(nodeids, machine_id, source)
            finally:
                own.close()
    except (StoreError, OSError, history.NoCache):
        return {}  # whoever opens it for writing says what is wrong with it
    return {nodeid: _others_of_the_same_code(entries, baseline.tests[nodeid], baseline) for nodeid, entries in found.items()}


def _others_of_the_same_code(entries: Sequence[SessionEntry], test: baselines.BaselineTest, baseline: Baseline) -> list[float]:
    """Medians of the sessions of the baseline's code, without the one session that the baseline is."""
    if test.fingerprint is None:
        return []
    same = [entry for entry in entries if entry["fingerprint"] == test.fingerprint]
    median = test.energy["median"] if test.energy else math.nan
    created = test.created or baseline.created
    own = [entry for entry in same if entry["created"] == created and math.isclose(entry["median"], median, rel_tol=1e-5)]
    return [entry["median"] for entry in same if not any(entry is one for one in own[-1:])]


def overview(other: OtherSide, report: Report, threshold: float, collected: Collection[str]) -> RunComparisonRecord:
    """The run's comparison as a whole; ``collected``: all node ids that there are now."""
    comparisons = [record["comparison"] for record in report.tests if record["comparison"] is not None]
    new = [
        record["nodeid"]
        for record in report.tests
        if (record["energy"] is not None or record["instructions"] is not None) and record["nodeid"] not in other.tests
    ]
    files = {nodeid.partition("::")[0] for nodeid in collected}
    gone = [nodeid for nodeid in other.tests if nodeid not in collected and nodeid.partition("::")[0] in files]
    return {
        "baseline": other.name,
        "created": other.created,
        "commit": other.commit,
        "threshold": threshold,
        "held": max((held for one in comparisons if (held := one["held"]) is not None), default=None),
        "counts": dict(Counter(one["verdict"] for one in comparisons)),
        "new": new,
        "gone": gone,
        "renamed": {},
        "why": other.why,
        "notes": list(other.remarks),
        **other.listed,
    }


def accept(
    config: pytest.Config,
    settings: Settings,
    report: Report,
    functions: Mapping[str, Mapping[str, str]],
    texts: Inventory,
) -> list[str]:
    """Write the session as a baseline, or accept what it measured into the one it was compared with; what to tell the user.

    ``functions``: by test, the hashes of the functions that it executes; ``texts``: what the project's code says.

    Raises:
        BaselineError: it cannot be written.
    """
    if settings.update:
        path = baselines.find(folder(config), report.machine["id"], settings.compare or None)
        return baselines.update(path, report, functions, texts)
    return baselines.save(report, functions, folder(config), settings.save or None, texts)
