"""Predicting inside pytest, in a process that collects: asks, leaves tests out, fails those that are flagged.

What it found goes to :class:`pytest_joules.session.forecast.Forecast`, in the process that reports. Workers of xdist must collect
the same tests: one of them asks, and leaves what it found in a file for the others and for the controller.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_joules.model import PredictionRecord, Record
from pytest_joules.predict import ranking
from pytest_joules.rounds.net import described
from pytest_joules.session.asking import Asking, account_of
from pytest_joules.session.call_report import FAILING, fail_if_predicted
from pytest_joules.session.forecast import Forecast, Foretold
from pytest_joules.session.likeliest_first import likeliest_first
from pytest_joules.session.predictor import Chosen, NoPredictor, choose
from pytest_joules.session.quick_imports import quick_imports
from pytest_joules.session.terminal import say
from pytest_joules.settings.markers import budget_of
from pytest_joules.settings.options import Settings, read_settings

if TYPE_CHECKING:
    from pytest_joules.predict.questions import Test
    from pytest_joules.session.measuring import Measuring
    from pytest_joules.session.reporting import Reporting
    from pytest_joules.session.tracking import Tracking
    from pytest_joules.store.entries import LatestRecord

#: Where workers find what one of them found.
SHARED = "joules_predicting"


def start_alone(config: pytest.Config) -> None:
    """``--energy-predict`` without ``--energy``. Raises ``pytest.UsageError`` for settings that cannot be fulfilled."""
    settings = read_settings(config)
    if settings.predict is not None:
        install(config, settings, None, None, None)


def install(
    config: pytest.Config,
    settings: Settings,
    source: str | None,
    measuring: Measuring | None,
    reporting: Reporting | None,
) -> None:
    """Make this run predict.

    ``source``: name of what measures; ``None`` where nothing does. ``measuring``, ``reporting``: as far as this process does.
    Raises ``pytest.UsageError`` where the predictor that was named is not there.
    """
    worker = hasattr(config, "workerinput")
    controller = not worker and getattr(config.option, "dist", "no") != "no" and not config.option.collectonly
    chosen: Chosen | str
    try:
        chosen = choose(config, settings)
    except NoPredictor as error:
        chosen = str(error)
    saying = None
    if not worker:
        saying = Forecast(config, settings, reporting)
        config.pluginmanager.register(saying, "joules-forecast")
        if reporting is not None:
            reporting.follower = saying
    if not controller:
        predicting = Predicting(config, settings, chosen, source, measuring=measuring, saying=saying)
        config.pluginmanager.register(predicting, "joules-predicting")


class Predicting:
    """Asks at collection."""

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        chosen: Chosen | str,
        source: str | None,
        *,
        measuring: Measuring | None,
        saying: Forecast | None,
    ) -> None:
        self.config = config
        self.settings = settings
        self.foretold = Foretold()
        self._chosen = chosen
        self._source = source
        self._measuring = measuring
        self._saying = saying

    # After all others, those too that select in a wrapper of their own (--lf): this one is registered later than pytest's.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, object, object]:
        result = yield
        if items:
            with quick_imports(self.config):
                try:
                    self.foretold = self._shared(items)
                except pytest.UsageError:
                    raise
                except Exception as error:
                    self.foretold = Foretold(trouble=described(error, "predicted"))
            if "predicted" in self.settings.fail_on:
                self.config.stash[FAILING] = self.foretold.predictions
            if self._saying is not None:
                self._saying.take(self.foretold)
            if left_out := frozenset(self.foretold.left_out):
                self.config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
                items[:] = [item for item in items if item.nodeid not in left_out]
            if self.settings.predict_first and self.foretold.account is not None:
                items[:] = likeliest_first(self.config, items, self.foretold.predictions)[0]
        return result

    def _shared(self, items: Sequence[pytest.Item]) -> Foretold:
        folder: str | None = getattr(self.config, "workerinput", {}).get(SHARED)
        # Of another machine's folder, or one that is gone, nothing is shared.
        if folder is None or not Path(folder).is_dir():
            return self._ask(items)
        from filelock import FileLock

        path = Path(folder) / f"{sys.implementation.cache_tag}.json"
        with FileLock(f"{path}.lock"):
            if not path.exists():
                path.write_text(json.dumps(dataclasses.asdict(self._ask(items))), "utf-8")
            return Foretold(**json.loads(path.read_text("utf-8")))

    # Asking

    def _ask(self, items: Sequence[pytest.Item]) -> Foretold:
        from pytest_joules.predict.outcomes import SESSIONS
        from pytest_joules.predict.questions import PredictorError
        from pytest_joules.session.spending import Spending
        from pytest_joules.store import StoreError

        spending = Spending(self.settings, self._measuring.sources if self._measuring is not None else ())
        notices: list[str] = []
        asking = Asking(self.config, self.settings, measures=self._source is not None)
        try:
            predictions, latest = self._foretell(items, notices, asking)
        except (NoPredictor, PredictorError, StoreError) as error:
            return Foretold(trouble=f"no predictions: {error}")
        left_out: list[str] = []
        if self.settings.predict_only:
            run = ranking.to_run(predictions, self.settings.predict_share)
            left_out = [nodeid for nodeid in predictions if nodeid not in run]
        account = account_of(predictions, latest, left_out, spending.end(), self.settings, measures=self._source is not None)
        asking.complete(account)
        if self.settings.predict_first:
            gone = frozenset(left_out)
            kept = [item for item in items if item.nodeid not in gone]
            ordered, why = likeliest_first(self.config, kept, predictions)
            account["reordered"] = sum(one is not other for one, other in zip(kept, ordered, strict=True))
            account["why_not_first"] = why
        return Foretold(predictions, account, asking.accounts[: SESSIONS - 1], left_out, notices=notices)

    def _foretell(
        self, items: Sequence[pytest.Item], notices: list[str], asking: Asking
    ) -> tuple[dict[str, PredictionRecord], Mapping[str, LatestRecord]]:
        """Predictions and the last measurements. ``notices``: what to say of the history."""
        from pytest_joules import machine
        from pytest_joules.predict import widening
        from pytest_joules.predict.questions import Changes, foretell, never_measured
        from pytest_joules.session.past import history_url, opened_history

        chosen = self._chosen
        if isinstance(chosen, str):
            raise NoPredictor(chosen)
        reporting = self._saying.reporting if self._saying is not None else None
        url = history_url(self.config, self.settings)
        with opened_history(url, reporting.history.store if reporting is not None else None, notices) as known:
            latest = known.latest(machine.identity(), self._source, [item.nodeid for item in items])
            if not latest:
                by = f" and {self._source}" if self._source is not None else ""
                raise NoPredictor(
                    f"the history has no measurement of these tests by this machine{by}: pytest --energy makes some"
                )
            tracking = self._tracking()
            tests = [self._test(item, latest.get(item.nodeid), tracking) for item in items]
            changes = Changes(tracking.graph)
            asking.accounts, asking.latest = known.predictings(widening.SESSIONS), latest
            predictions = foretell(
                tests,
                latest,
                known.texts,
                lambda: chosen.make(self._tells(notices)),
                changes,
                threshold=self.settings.threshold,
                new=never_measured(tracking.graph),
                widen=asking.widen,
                refuse=asking.refuse,
            )
            asking.end()
            return predictions, latest

    def _tells(self, notices: list[str]) -> Callable[[str], None]:
        """Says what a predictor has to say at once; a worker, which has no terminal, leaves it to the controller."""
        if self._saying is None:
            return notices.append
        return lambda text: say(self.config, [f"energy: {text}"])

    def _tracking(self) -> Tracking:
        if self._measuring is not None:
            return self._measuring.tracking
        from pytest_joules.session.tracking import Tracking

        tracking = Tracking(self.config, self.settings)
        tracking.close()  # nothing is recorded
        return tracking

    def _test(self, item: pytest.Item, record: LatestRecord | None, tracking: Tracking) -> Test:
        from pytest_joules.predict.questions import SURROUNDINGS, Test

        if record is None:
            return Test(item.nodeid, budget=self._budget(item, None))
        found, _ = tracking.executed.surroundings.of(item)
        around: dict[str, str | None] = {name: found.get(name) for name in SURROUNDINGS if name != "<data files>"}
        if "<data files>" in record["code"]["functions"]:
            around["<data files>"] = tracking.executed.surroundings.data_files
        if tracking.executed.has_other_files(record["code"]["functions"]):
            around["<data files>"] = "changed"
        return Test(item.nodeid, around, self._budget(item, record))

    def _budget(self, item: pytest.Item, record: LatestRecord | None) -> float | None:
        """Joules; as when a test is measured, an estimate is held against a budget only where the user trusts it."""
        try:
            budget = budget_of(item, self.settings)
        except pytest.UsageError:
            return None  # who measures says so
        measured = record is not None and record["provenance"] == "measured"
        return budget.joules if budget is not None and (measured or self.settings.trust_estimates) else None

    # Failing

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[object]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        # What is measured has many rounds, and one report in the end.
        if call.when == "call" and (self._measuring is None or not self._measuring.in_rounds):
            fail_if_predicted(item, report)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        record: Record | None = getattr(report, "joules", None)
        if record is not None and record["prediction"] is None:
            record["prediction"] = self.foretold.predictions.get(report.nodeid)
