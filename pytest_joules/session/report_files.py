"""The report as files: where they may stand, what other plugins change before, and writing them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_joules import machine
from pytest_joules.files import atomic, strict_json
from pytest_joules.model import Report
from pytest_joules.model.past import Past
from pytest_joules.report import csv_file, json_file
from pytest_joules.rounds.net import described, net, troubles
from pytest_joules.session.messages import Messages
from pytest_joules.settings.options import Settings
from pytest_joules.settings.values import BASELINES


def check(config: pytest.Config, settings: Settings, machine_id: str | None) -> None:
    """Whether what is asked for can be written, before anything is measured. Raises ``pytest.UsageError``."""
    baseline = None
    if settings.save is not None:
        from pytest_joules.baseline import path_of

        baseline = path_of(config.rootpath / BASELINES, machine_id, settings.save or "baseline")
    asked: list[tuple[Path, str, tuple[Path, ...]]] = [(path, f"--energy-{name}", ()) for name, path in settings.files.items()]
    asked += [(baseline, "--energy-save", (config.rootpath,))] if baseline is not None else []
    try:
        for path, option, inside in asked:
            atomic.check(path, option, inside)
    except atomic.ReportPathError as error:
        raise pytest.UsageError(str(error)) from None


def write(config: pytest.Config, settings: Settings, report: Report, messages: Messages, past: Callable[[], Past]) -> None:
    """Write what was asked for, as other plugins want it; ``past``: what the history has of the tests, for who shows it."""
    changed = bool(config.hook.pytest_joules_update_report.get_hookimpls())
    with net(troubles(config)):
        if settings.json is not None or changed:
            report.versions = machine.versions()
        if changed:
            _let_others_change(config, report, messages)
    for name, path in settings.files.items():
        option = f"--energy-{name}"
        try:
            _write(name, report, path, past)
        except atomic.ReportPathError as error:
            messages.unwritten.append(f"{option}: {error}")
        except Exception as error:
            messages.unwritten.append(f"{option}: {described(error)}")
        else:
            messages.remarks.append(f"written: {path}")


def _write(name: str, report: Report, path: Path, past: Callable[[], Past]) -> None:
    if name == "json":
        json_file.write(report, path)
    elif name == "csv":
        csv_file.write(report, path)
    elif name == "markdown":
        from pytest_joules.report import markdown

        markdown.write(report, path)
    else:
        from pytest_joules.report import page

        page.write(report, path, past())


def _let_others_change(config: pytest.Config, report: Report, messages: Messages) -> None:
    # A copy: what a hook does before it fails is not to stay.
    record = json.loads(strict_json.text(report.as_record()))
    try:
        config.hook.pytest_joules_update_report(config=config, report=record)
        report.replace(json.loads(strict_json.text(record)))
    except Exception as error:
        messages.troubles.append(
            f"a pytest_joules_update_report hook failed, and the report is without its changes: {type(error).__name__}: {error}"
        )
