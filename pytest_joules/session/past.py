"""The history as predicting reads it: a SQLite file at a glance, anything else through the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

import pytest

from pytest_joules.model import Report, ReportedPredicting
from pytest_joules.session import history
from pytest_joules.session.predictor import NoPredictor
from pytest_joules.settings.options import Settings
from pytest_joules.store import Spooled, Store, StoreError, open_store
from pytest_joules.store.entries import LatestRecord, PastPredicting
from pytest_joules.store.quick_read import QuickReader, path_of
from pytest_joules.store.rows import safe


class Reading(Protocol):
    """What is asked of a history before tests run; raises ``StoreError`` or ``sqlite3.Error``."""

    def latest(self, machine_id: str, source: str | None, nodeids: Iterable[str]) -> dict[str, LatestRecord]: ...

    def texts(self, records: Sequence[LatestRecord]) -> Mapping[tuple[str, str], str]: ...

    def predictings(self, limit: int) -> list[PastPredicting]: ...


class Whole:
    """A store, asked for everything."""

    def __init__(self, store: Store | Spooled) -> None:
        self._store = store

    def latest(self, machine_id: str, source: str | None, nodeids: Iterable[str]) -> dict[str, LatestRecord]:
        # Under the names that pytest has: a database lacks some characters.
        names = {safe(nodeid): nodeid for nodeid in nodeids}
        found = self._store.latest(machine_id, source, list(names.values()))
        return {names[nodeid]: {**record, "nodeid": names[nodeid]} for nodeid, record in found.items()}

    def texts(self, records: Sequence[LatestRecord]) -> Mapping[tuple[str, str], str]:
        return self._store.sources({pair for record in records for pair in record["code"]["functions"].items()})

    def predictings(self, limit: int) -> list[PastPredicting]:
        return self._store.predictings(limit)


def history_url(config: pytest.Config, settings: Settings) -> str:
    """Where the history is.

    Raises:
        NoPredictor: nowhere.
    """
    try:
        return history.url(config, settings)
    except history.NoCache as error:
        raise NoPredictor(f"there is no history: {error}") from None


@contextmanager
def opened_history(url: str, opened: Store | Spooled | None, notices: list[str]) -> Iterator[Reading]:
    """The history to read; ``opened``: the store that this run writes to. In the end ``notices`` has what there is to say of it.

    Raises:
        NoPredictor: it is not there, or cannot be read.
    """
    path = path_of(url)
    if path is not None and not path.exists():
        raise NoPredictor("there is no history yet: pytest --energy makes one")
    glance: QuickReader | None = None
    if path is not None:
        with suppress(sqlite3.Error, ValueError, OSError):  # the store says what is wrong with it
            glance = QuickReader(path)
    if glance is not None:
        try:
            yield glance
        except sqlite3.Error as error:
            raise NoPredictor(f"the history {path} cannot be read: {error}") from None
        finally:
            glance.close()
            notices += filter(None, [glance.notice])
        return
    try:
        if opened is not None:
            yield Whole(opened)
            return
        store = open_store(url, write=False)
        try:
            yield Whole(store)
        finally:
            store.close()
            notices += store.notices
    except StoreError as error:
        raise NoPredictor(str(error)) from None


def keep(url: str, report: Report, account: ReportedPredicting) -> None:
    """Note the account of a session that measured nothing.

    Raises:
        StoreError: it cannot be written.
    """
    path = path_of(url)
    if path is not None:
        try:
            glance = QuickReader(path, write=True)
        except (sqlite3.Error, ValueError, OSError):
            pass
        else:
            try:
                glance.add_predicting(report, account)
            except sqlite3.Error as error:
                raise StoreError(f"the history {path} cannot be written: {error}") from None
            finally:
                glance.close()
            return
    store = open_store(url)
    try:
        store.begin(report)
        store.add_predicting(account)
    finally:
        store.close()
