"""The extension points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_joules.predict.protocol import Predictor
    from pytest_joules.sources.base import Source


def pytest_joules_sources(config: pytest.Config) -> Sequence[Source] | None:
    """Offer sources of your own, unopened (see :class:`pytest_joules.sources.base.Source`).

    A wall-plug meter, say, preferred over a model but not over RAPL::

        from pytest_joules.sources.base import Domain, Source


        class Plug(Source):
            name, rank = "plug", 50

            def open(self):
                self.domains = (Domain("plug", counts=True),)
                self.meter = connect()

            def read(self):
                return (self.meter.total_joules(),)

            def joules(self, before, after, seconds):
                return (after[0] - before[0],)


        def pytest_joules_sources(config):
            return [Plug()]
    """


def pytest_joules_predictors(config: pytest.Config) -> Sequence[Predictor] | None:
    """Offer predictors of your own, each used where ``--energy-predict`` names it (see
    :mod:`pytest_joules.predict.protocol`).

    One that expects what was measured last, and a tenth more for every function that changed::

        from pytest_joules.predict.protocol import Answer


        class Tenth:
            name = "tenth"

            def predict(self, questions):
                return [self.answer(question) for question in questions]

            def answer(self, question):
                if question.before is None:
                    return Answer(None, None, why="never measured")
                joules = question.before.joules * 1.1 ** len(question.changed)
                return Answer(joules, (joules * 0.9, joules * 1.1), because=question.changed)


        def pytest_joules_predictors(config):
            return [Tenth()]
    """


def pytest_joules_update_report(config: pytest.Config, report: dict[str, Any]) -> None:
    """Change the report before it is written; ``report`` is what ``--energy-json`` writes.

    Things of your own belong under ``extra``, which the schema leaves open::

        def pytest_joules_update_report(config, report):
            report["extra"] = {"grid_gco2_per_kwh": 56}
    """


def pytest_joules_quiesce(config: pytest.Config) -> None:
    """Wait until work that was started asynchronously is done; called before the reading that ends a round.

    ::

        def pytest_joules_quiesce(config):
            if "jax" in sys.modules:
                sys.modules["jax"].effects_barrier()
    """
