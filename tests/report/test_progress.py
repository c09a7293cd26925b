"""Somebody who waits is told how long; what is written over is gone in the end, and nobody else sees any of it."""

import io
import os
import pty
import re
import subprocess
import sys

import pytest

from pytest_joules.cli import progress
from pytest_joules.report.progress import Progress, Shown, span


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return int(self.seconds * 1e9)


def shown_by(written: str) -> list[str]:
    """The lines that a terminal shows when this was written to it."""
    lines = []
    for text in written.split("\n"):
        line: list[str] = []
        place = 0
        for character in text:
            if character == "\b":
                place -= 1
            elif character == "\r":
                place = 0
            else:
                line[place : place + 1] = character
                place += 1
        lines.append("".join(line).rstrip())
    return lines


def test_nothing_for_ten_seconds_then_how_long():
    clock = Clock()
    progress = Progress("collecting: package", 40, clock=clock)
    clock.seconds = 9.9
    progress.step(9)
    assert progress.line() == ""
    clock.seconds = 20
    progress.step(10, "toolz")
    assert progress.line() == "collecting: package 10 of 40, about 60 s left (toolz)"
    clock.seconds = 50  # nothing came since, so less is left
    assert progress.line() == "collecting: package 10 of 40, about 30 s left (toolz)"
    clock.seconds = 100  # it takes longer than was thought
    assert progress.line() == "collecting: package 10 of 40, since 2 min (toolz)"


def test_without_a_total_it_says_since_when():
    clock = Clock()
    progress = Progress("evaluating", None, clock=clock)
    clock.seconds = 12
    assert progress.line() == "evaluating since 12 s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99.4, "99 s"), (99.6, "2 min"), (3_600, "60 min"), (7_500, "2 h 5 min"), (172_800, "48 h 0 min")],
)
def test_spans(seconds, text):
    assert span(seconds) == text


def test_what_is_shown_leaves_nothing_behind():
    stream = io.StringIO()
    shown = Shown(stream)
    stream.write("test_a.py ...")
    shown.show("  energy: 3 of 40, about 20 s left", 60)
    shown.show("  energy: 4 of 40, about 9 s left", 60)
    assert shown_by(stream.getvalue()) == ["test_a.py ...  energy: 4 of 40, about 9 s left"]
    shown.show("  energy: 4 of 40, about 9 s left and more than there is room for", 30)
    assert shown_by(stream.getvalue()) == ["test_a.py ...  energy: 4 of 40, about 9 s …"]
    shown.hide()
    stream.write(".\n")
    assert shown_by(stream.getvalue()) == ["test_a.py ....", ""]
    assert "\x1b" not in stream.getvalue(), "no terminal needs to know any code"


def test_it_is_silent_where_nobody_looks(monkeypatch, capsys):
    monkeypatch.setattr("pytest_joules.report.progress.AFTER", 0.0)
    with progress.Waiting("training", 100) as waiting:
        waiting.step(50, "half")
        waiting.say("one package")
    out, err = capsys.readouterr()
    assert (out, err) == ("one package\n", "")


SLOW = """
import time
def test_a(): time.sleep(0.01)
def test_b(): time.sleep(0.01)
"""
#: Ten seconds have always passed, and every look shows another second.
CONFTEST = """
import pytest_joules.report.progress as progress, pytest_joules.session.progress as waiting
progress.AFTER, waiting._EVERY = 0.0, 0
"""


def at_a_terminal(inner, *args):
    """What a run writes to a terminal of 80 columns."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "pytest", "--energy", f"--energy-powercap={inner.powercap}", "--energy-rounds=3", *args]
    hidden = {"PYTEST_ADDOPTS", "TERM", "CI", "BUILD_NUMBER", "NO_COLOR", "FORCE_COLOR"}
    env = {name: value for name, value in os.environ.items() if name not in hidden} | {"COLUMNS": "80", "TERM": "xterm"}
    with subprocess.Popen(
        command,
        cwd=inner.path,
        stdout=slave,
        stderr=slave,
        stdin=subprocess.DEVNULL,
        env={**env, "COLUMNS": "80", "TERM": "xterm"},
    ) as process:
        os.close(slave)
        written = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            written += part
    os.close(master)
    assert process.returncode == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", written.decode()).replace("\r\n", "\n")


@pytest.mark.parametrize("how", [(), ("-v",)])
def test_a_long_run_tells_at_a_terminal(inner, how):
    inner.conftest()
    (inner.path / "conftest.py").write_text(CONFTEST)
    inner.file(test_a=SLOW)
    written = at_a_terminal(inner, *how)
    assert re.search(r"  energy: test 0 of 2, (about|since) [^\b]*\(round 2 of 3\)", written)
    assert re.search(r"  energy: test 1 of 2, ", written)
    lines = shown_by(written)
    assert not any("energy: test" in line for line in lines), "it is gone in the end"
    assert ("test_a.py::test_b PASSED [100%]" if how else "test_a.py .. [100%]") in [" ".join(line.split()) for line in lines]
    assert all(len(line) <= 80 for line in lines if "/" not in line)


def test_it_is_quiet_where_it_would_disturb(inner):
    (inner.path / "conftest.py").write_text(CONFTEST)
    inner.file(test_a=SLOW)
    for how in (["-q"], ["-s"], ["-o", "log_cli=true"]):
        assert "energy: test" not in at_a_terminal(inner, *how)


def test_an_error_before_the_session_is_the_one_that_is_told(pytester):
    pytester.makepyfile("def test(): pass")
    pytester.makeconftest("def pytest_sessionstart(): raise ZeroDivisionError('theirs')")
    result = pytester.runpytest_subprocess("--energy", "--energy-source=estimate")
    output = result.stdout.str() + result.stderr.str()
    assert "ZeroDivisionError: theirs" in output and "AttributeError" not in output
