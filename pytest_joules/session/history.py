"""The history of a run: where it is, and what is kept in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_joules.files import atomic
from pytest_joules.model import PredictionRecord, Record, Report, ReportedPredicting
from pytest_joules.model.past import Past
from pytest_joules.rounds.net import net, troubles
from pytest_joules.session.messages import Messages
from pytest_joules.settings.options import Settings
from pytest_joules.store import Spooled, Store, StoreError, open_for_run

if TYPE_CHECKING:
    from pytest_joules.code.project import Project

_REMEDY = "name a place with --energy-store=FILE"


class NoCache(Exception):
    """There is none: one sentence, for everybody who asks."""


def folder(config: pytest.Config) -> Path:
    """The folder, made where need be.

    Raises:
        NoCache: the cache is switched off, cannot be written, or leads elsewhere.
    """
    cache: Any = getattr(config, "cache", None)
    if cache is None:
        raise NoCache(f"pytest's cache is switched off (-p no:cacheprovider); {_REMEDY}")
    try:
        found = Path(cache.mkdir("joules"))
    except OSError as error:
        raise NoCache(f"pytest's cache directory cannot be written: {error}; set cache_dir, or {_REMEDY}") from None
    try:
        for path in (found, found / "history.db"):
            atomic.stay(path, (Path(cache._cachedir),), "pytest's cache cannot be used")
    except atomic.ReportPathError as error:
        raise NoCache(str(error)) from None
    return found


def path(config: pytest.Config) -> str:
    """The history that is kept if nobody names another. Raises :class:`NoCache`."""
    return str(folder(config) / "history.db")


def url(config: pytest.Config, settings: Settings) -> str:
    """Where the history is. Raises :class:`NoCache` where nobody named a place and there is none."""
    return settings.store if settings.store is not None else path(config)


class History:
    """Keeps what a run measures, each test as it comes: what is kept survives the run, whatever happens to that."""

    def __init__(self, config: pytest.Config, settings: Settings, report: Report, messages: Messages) -> None:
        self.store: Store | Spooled | None = None
        """``None`` where none could be opened: that is said."""
        self._config = config
        self._settings = settings
        self._report = report
        self._messages = messages
        self._started = time()
        self._unkept = 0
        self._trouble = ""

    def open(self) -> None:
        """Raises ``pytest.UsageError`` where the place that was named cannot be used."""
        try:
            place = url(self._config, self._settings)
        except NoCache as error:
            said = self._messages.remarks if getattr(self._config, "cache", None) is None else self._messages.troubles
            said.append(f"history is not kept: {error}")
            return
        try:
            self.store = open_for_run(place, self._spool_folder)
            self.store.begin(self._report)
        except StoreError as error:
            self.store = None
            if self._settings.store is not None:
                raise pytest.UsageError(f"--energy-store: {error}") from None
            self._messages.troubles.append(f"history is not kept: {error}")

    def _spool_folder(self) -> Path | None:
        """Where measurements wait for a server that does not answer."""
        try:
            return folder(self._config)
        except NoCache:
            return None

    def keep(self, record: Record) -> None:
        """What was measured of a test."""
        if self.store is None or not (record["samples"] or record["instructions"]) or record["cached"] is not None:
            return
        try:
            self.store.add(record)
        except StoreError as error:
            # The next one may go through again: a lock is passed on, room is made.
            self._unkept += 1
            self._trouble = str(error)

    def keep_account(self, account: ReportedPredicting) -> None:
        """What predicting drew and saved: the balance is drawn over several sessions."""
        try:
            if self.store is not None:
                self.store.add_predicting(account)
        except StoreError as error:
            self._messages.troubles.append(f"history: what predicting drew could not be kept: {error}")

    def keep_predictions(self, predictions: Mapping[str, PredictionRecord]) -> None:
        """What came of predictions: that is known when all tests have run."""
        try:
            if self.store is not None and predictions:
                self.store.add_predictions(predictions)
        except StoreError as error:
            self._messages.troubles.append(f"history: what came of predictions could not be kept: {error}")

    def end(self, places: Iterable[str], project: Callable[[], Project]) -> None:
        """``places``: all functions and statements that tests executed, of this project."""
        if self.store is None:
            return
        found = troubles(self._config)
        with net(found):
            self._keep_code(set(places), project())
        with net(found):
            self._compact()
        with net(found):
            self._close()

    def past(self) -> Past:
        """How the tests have developed; nothing where that cannot be read, which is said."""
        try:
            return self.store.past() if self.store is not None else {}
        except StoreError as error:
            self._messages.troubles.append(f"the page is without the past of its tests: {error}")
            return {}

    def say_what_is_not_kept(self) -> None:
        if self._unkept:
            text = f"history: {self._unkept} of {len(self._report.tests)} tests could not be kept: {self._trouble}"
            self._messages.troubles.append(text)

    def _keep_code(self, places: set[str], project: Project) -> None:
        """What the history keeps of the code that was measured: a change is told from it, and what it comes to."""
        from pytest_joules.code import function_source

        if self.store is None or not places:
            return
        plugins = [getattr(plugin, "__file__", None) for plugin in self._config.pluginmanager.get_plugins()]
        hooks = {path for file in plugins if isinstance(file, str) and (path := project.relative(file)) is not None}
        executed = {key.partition("::")[0] for key in places if "::" in key}
        paths = function_source.unchanged_since(project, executed | hooks, self._started)
        try:
            self.store.add_sources(function_source.sources(project, self.store.without_source(), paths))
            self.store.add_files(function_source.digests(project, paths))
        except StoreError as error:
            self._messages.troubles.append(f"history: the source of what was measured could not be kept: {error}")

    def _compact(self) -> None:
        """Of a file; a server is others' as well, and is compacted by hand."""
        from pytest_joules.store import pruning

        keep, machine_id = self._settings.history_sessions, self._report.machine["id"]
        seconds = self._report.session["seconds"]
        if not isinstance(self.store, Store) or machine_id is None or seconds is None:
            return
        with suppress(StoreError):  # the next run does it
            removed = pruning.step(self.store, machine_id, keep, seconds)
            if removed.sessions > 1:  # one goes with each that comes
                self._messages.remarks.append(
                    f"history: {removed.sentence()} removed: {keep} sessions are kept (energy_history_sessions)"
                )

    def _close(self) -> None:
        if self.store is not None:
            self.store.close()
            self._messages.add_notices(self.store.notices)

    def close_unused(self) -> None:
        """Of a run that runs no test."""
        if self.store is not None:
            self.store.close()
