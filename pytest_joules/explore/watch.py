"""The process of the stopwatch, for the one that asks it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_joules.files import scratch

if TYPE_CHECKING:
    from pytest_joules.explore.stopwatch import Request


class Watch:
    """Started when it is first asked, and anew after it did not answer."""

    def __init__(self, python: str, environment: Mapping[str, str], folder: Path) -> None:
        self._python, self._environment, self._folder = python, environment, folder
        self._process: subprocess.Popen[str] | None = None

    def ask(self, request: Request, limit: float) -> dict[str, tuple[float, float]]:
        """What it found; nothing where it does not answer within so many seconds."""
        out = Path(request["out"])
        out.unlink(missing_ok=True)
        process = self._process = self._process or self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answered = bool(select.select([process.stdout], [], [], limit)[0] and process.stdout.readline())
        except BrokenPipeError:
            answered = False
        if not answered:
            self.stop()
        try:
            result: dict[str, tuple[float, float]] = json.loads(out.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return result

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self._python, "-m", "pytest_joules.explore.stopwatch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
            cwd=self._folder,
            start_new_session=True,  # Ctrl-C is for us
            pass_fds=scratch.shared_with_children(self._folder),
        )

    def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with the tests that it runs
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()
