"""Tells the CI system that a run is part of what came of it: a step summary and annotations on GitHub, files of Code Quality and
metrics on GitLab. Nothing here ends a run, or changes what it comes to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_joules.code.installed_copies import INSTALLED
from pytest_joules.files import atomic
from pytest_joules.model import Report
from pytest_joules.report import findings, github, gitlab, markdown, metrics
from pytest_joules.report.findings import Finding, Place
from pytest_joules.session.messages import Messages

if TYPE_CHECKING:
    from pytest_joules.code.project import Project

#: In the folder that GitLab has checked out.
CODE_QUALITY, METRICS = "gl-energy-code-quality.json", "gl-energy-metrics.txt"

#: Folders that sources of a package lie in.
_SOURCES = ("src", "lib", "python")


def system(asked: str) -> str | None:
    """The CI system to tell: the one that is asked for, or with ``auto`` the one that says it is there."""
    if asked != "auto":
        return None if asked == "off" else asked
    if os.environ.get("GITHUB_STEP_SUMMARY"):
        return "github"
    return "gitlab" if os.environ.get("GITLAB_CI") else None


class Publishing:
    """Does so at the end of a run."""

    def __init__(
        self, config: pytest.Config, asked: str, report: Report, messages: Messages, project: Callable[[], Project]
    ) -> None:
        self._config = config
        self._report = report
        self._messages = messages
        self._project = project
        self._system = system(asked)
        self.commands: list[str] = []
        """For the standard output, each on a line of its own."""

    def publish(self) -> None:
        if self._system is None or not self._report.tests:
            return
        found = findings.findings(self._report)
        if self._system == "github":
            self._summary()
            self.commands = github.commands(found, self._places("GITHUB_WORKSPACE").of)
        else:
            self._files(found)

    def _summary(self) -> None:
        path = os.environ.get("GITHUB_STEP_SUMMARY")
        if not path:
            self._messages.remarks.append("--energy-ci=github: no summary: GITHUB_STEP_SUMMARY names no file")
            return
        try:
            # What earlier runs of this step have written counts.
            there = Path(path).stat().st_size if Path(path).exists() else 0
            text = f"\n### pytest-joules\n\n{markdown.text(self._report, markdown.SUMMARY - there - 1024)}"
            with Path(path).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text if there + len(text.encode("utf-8", "backslashreplace")) < markdown.SUMMARY else "")
        except OSError as error:
            self._messages.remarks.append(f"the step summary {path} cannot be written: {error.strerror or error}")

    def _files(self, found: Sequence[Finding]) -> None:
        folder = Path(os.environ.get("CI_PROJECT_DIR") or self._config.rootpath)
        issues = gitlab.code_quality(found, self._places("CI_PROJECT_DIR").of)
        self._write(folder / CODE_QUALITY, [json.dumps(issues, indent=1), "\n"], folder)
        self._write(folder / METRICS, metrics.open_metrics([self._report]), folder)

    def _write(self, path: Path, lines: Iterable[str], inside: Path) -> None:
        try:
            atomic.atomically(path, lambda file: file.writelines(lines), "file for GitLab", (inside,))
        except atomic.ReportPathError as error:
            self._messages.remarks.append(str(error))
        else:
            self._messages.remarks.append(f"written: {path}")

    def _places(self, variable: str) -> Places:
        return Places(self._project(), self._config.rootpath, Path(os.environ.get(variable) or self._config.rootpath))


class Places:
    """Where findings are shown: at the function that changed, or else at the test."""

    def __init__(self, project: Project, root: Path, repository: Path) -> None:
        self._project = project
        self._root = root
        self._repository = repository

    def of(self, found: Finding) -> Place | None:
        """``None`` where neither is in the repository."""
        for key in found.changed:
            path, colons, name = key.partition("::")
            if colons and (place := self._place(path, name)) is not None:
                return place
        path, _, rest = found.nodeid.partition("::")
        return self._place(path, rest.partition("[")[0].replace("::", "."), at_least=1)

    def _place(self, path: str, name: str, at_least: int | None = None) -> Place | None:
        # An installed copy is one of what lies here.
        inside = path.removeprefix(f"{INSTALLED}/")
        near = (path, inside, *(f"{folder}/{inside}" for folder in _SOURCES))
        path = next((one for one in near if (self._root / one).is_file()), path)
        file = self._project.file(path)
        line = file.line_of(name) if file is not None else None
        if line is None:
            line = at_least
        shown = os.path.relpath(self._root / path, self._repository).replace(os.sep, "/")
        return Place(shown, line) if line is not None and not shown.startswith("../") and (self._root / path).is_file() else None
