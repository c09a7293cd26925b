"""A project whose tests spend what is known, and what ``joules`` says of it."""

from __future__ import annotations

from pathlib import Path

# Imported before pytester notes which modules there are, see inner.py.
import joblib
import pytest
import sklearn.ensemble
import sklearn.feature_extraction.text
import sklearn.linear_model
from inner import Inner

import pytest_joules.predict.facts.callgraph
import pytest_joules.predict.facts.features
import pytest_joules.predict.model_predictor
import pytest_joules.predict.train.learning
import pytest_joules.predict.train.level
import pytest_joules.predict.trusted
from pytest_joules.cli import main

assert joblib and sklearn and pytest_joules.predict.train.learning

HISTORY = Path(".pytest_cache", "d", "joules", "history.db")
MODEL = HISTORY.with_name("model.npz")

WORK = """
from counter import draw

def spend(times):
    for _ in range(times):
        for _ in range({factor}):
            draw(200)

def idle():
    return 1
"""

TEST = """
def test_{name}_{number}():
    assert spend({times}) is None
    assert idle() == 1
    assert {number} != 'x'
"""


def write(inner: Inner, factor: int = 1, count: int = 30) -> None:
    """Tests that spend 200 µJ several times each, the last a hundred times as much as the first."""
    (inner.path / "work.py").write_text(WORK.format(factor=factor))
    text = "from work import spend, idle\n"
    for number in range(count):
        text += TEST.format(name="abc"[number % 3], number=number, times=int(2 * 100 ** (number / max(1, count - 1))))
    inner.file(test_work=text + "\ndef test_free():\n    draw(500)\n")


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """What the command prints; within 80 columns, but for a path or sentence that is one."""
    capsys.readouterr()
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return out if code == 0 else err


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 1) -> str:
    err = said(capsys, *arguments, code=code)
    first, *others = err.splitlines()
    assert first.startswith("joules: ") and all(line.startswith("  ") for line in others)
    return " ".join(err.split())
