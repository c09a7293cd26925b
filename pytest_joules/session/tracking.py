"""The side of pytest: what belongs to a test's code besides the functions that it executes."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING

import pytest

from pytest_joules.code import opened, project, project_paths
from pytest_joules.code.background_work import Activity
from pytest_joules.code.graph import Graph
from pytest_joules.code.opened import Traces
from pytest_joules.code.project import Project
from pytest_joules.code.recorder import Recorder
from pytest_joules.code.recording_cost import MOST
from pytest_joules.model import Code
from pytest_joules.rounds.net import guarded, net, troubles
from pytest_joules.rounds.plan import Plan
from pytest_joules.session.executed import Executed, FixtureCode, unknown
from pytest_joules.settings.options import Settings

if TYPE_CHECKING:
    from _pytest.fixtures import FixtureDef, SubRequest

#: Calls and lines of a test that does something.
MUCH = 200

_NEVER = "it was not warmed up: nothing was recorded"


class Tracking:
    """Records what tests execute in their warm-up rounds, and tells whether it is still the same."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self.project = project.Project(config.rootpath, project_paths.folders_around(config.rootpath, _given(config)))
        self.graph = Graph(self.project)
        self.recorder = make(self.project)
        self.opened = opened.of_session()
        self.activity = Activity(self.opened, threads=not self.recorder.sees_threads)
        self._running = False
        self._recorded = False
        self._imported: tuple[str, ...] = ()
        self.executed = Executed(config, settings, self.graph, self.recorder, self.opened)
        self._fixtures: dict[int, FixtureCode] = {}
        self._traces = Traces()
        """What the test has opened that is recorded."""

    # Recording

    @pytest.hookimpl(trylast=True)
    @guarded
    def pytest_collection_finish(self) -> None:
        if not self.config.option.collectonly:
            self._tell_recorder()
            self.recorder.prepare()
            self.project.read_early(self.recorder.loaded)

    @guarded
    def pytest_runtest_logstart(self) -> None:
        # What is measured comes next: nobody listens but while a test is recorded.
        self.opened.ignore()

    @guarded
    def pytest_runtest_logfinish(self) -> None:
        self.opened.listen()

    def begin(self, *, again: bool = False, most: float = MOST) -> None:
        """Before the warm-up round of a test; ``again``: a second one, which is counted in the place of the first. It may take
        ``most`` seconds more than without."""
        self._running = self._recorded = True
        if not again:
            self._traces = Traces()
        self.activity.begin()
        self.opened.current = self._traces
        self.opened.listen()
        self.recorder.begin(again=again, most=most)

    def much_ran(self) -> bool:
        """Whether enough of the project's code has run that it matters whether its caches were warm."""
        return self.recorder.trouble is None and self.recorder.counting and self.recorder.events() >= MUCH

    def end(self) -> None:
        """After its teardown; harmless where nothing is recorded."""
        if self._running:
            self._running = False
            self._tell_recorder()
            self.recorder.end()
            self.opened.current = None
            self.opened.ignore()
            self._traces.started |= self.activity.end()

    def _tell_recorder(self) -> None:
        """What was executed and is no module that is imported is to be recorded as well."""
        for name in self.opened.new_files():
            if (path := self.project.relative(name)) is not None:
                self.recorder.by_path[name] = path

    def enter(self) -> None:
        """Its body begins."""
        self.recorder.enter()

    def leave(self) -> None:
        """Its body has ended."""
        self.recorder.leave()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: FixtureDef[object], request: SubRequest) -> Generator[None, object, object]:
        notes = troubles(self.config)
        if fixturedef.scope == "function":
            if not self._running or fixturedef.func.__module__.startswith("_pytest."):
                return (yield)
            with net(notes):
                self.recorder.enter()
            try:
                return (yield)
            finally:
                with net(notes):
                    self.recorder.leave()
        # It stays up for other tests, which depend on it as much as this one.
        stack, codes, traces = ExitStack(), dict[int, CodeType](), Traces()
        with net(notes):
            codes = stack.enter_context(self.recorder.apart())
            traces = stack.enter_context(self.opened.apart())
        try:
            result = yield
        finally:
            with net(notes):
                stack.close()
        self._fixtures[id(fixturedef)] = FixtureCode(fixturedef, tuple(codes.values()), traces, self.recorder.gap)
        return result

    @guarded
    def pytest_unconfigure(self) -> None:
        self.end()
        self.close()

    def close(self) -> None:
        """Nothing is recorded from now on."""
        self.recorder.close()
        self.opened.ignore()

    # What was recorded

    def code(self, item: pytest.Item, plan: Plan) -> Code:
        """What the test that has just been recorded executes (see :meth:`Executed.code`)."""
        if not self._recorded:
            return unknown(plan.why or _NEVER)
        self._recorded = False
        return self.executed.code(item, plan, self._traces, self._fixtures)

    @property
    def remarks(self) -> list[str]:
        """What a reader must know of the counts of the test that was recorded last."""
        known = self.recorder.counting or self.recorder.incomplete is not None or self.recorder.trouble is not None
        return [] if known else ["its calls are not counted: that takes longer than they do"]


def _given(config: pytest.Config) -> list[Path]:
    """Files and folders that the command line names."""
    here = config.invocation_params.dir
    paths = [here / argument.partition("::")[0] for argument in config.args]
    return [path.resolve() for path in paths if path.exists()]


def make(project: Project) -> Recorder:
    """The way that this Python offers."""
    if sys.version_info >= (3, 12):
        from pytest_joules.code.monitored import Monitored

        return Monitored(project)
    from pytest_joules.code.traced import Traced

    return Traced(project)
