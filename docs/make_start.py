"""Run the commands of the first steps in a fresh folder, and put what they print into the page.

    python docs/make_start.py            # write docs/start.md anew
    python docs/make_start.py --check    # exit 1 where it does not say what the commands print, numbers aside

The page is the programme: a block after ``<!-- file: NAME -->`` is written, one after ``<!-- run -->`` (``<!-- run: exit 1 -->``)
is run, and the block after that is its output. So that every machine prints the same, the ini key ``energy_source`` is
``estimate``, no plugin but this one is loaded, and the terminal has 80 columns.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).resolve().parent / "start.md"
FOLDER = "/home/you/first-steps"
_STEP = re.compile(
    r"(?ms)^<!-- file: (?P<file>\S+) -->\n+```python\n(?P<content>.*?)^```$"
    r"|^<!-- run(?:: exit (?P<exit>\d+))? -->\n+```sh\n(?P<command>[^\n]+)\n```\n+```text\n(?P<output>.*?)^```$"
)


class StepError(Exception):
    """A command ended with another status than the page says."""


def made(page: str) -> str:
    """The page, with what its commands print now.

    Raises:
        StepError: see there.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _STEP.sub(lambda step: _done(step, Path(folder).resolve()), page)


def _done(step: re.Match[str], folder: Path) -> str:
    if step["file"]:
        (folder / step["file"]).write_text(step["content"], "utf-8")
        return step[0]
    program, *words = step["command"].split()
    how = {"pytest": ["-m", "pytest"], "joules": ["-m", "pytest_joules.cli"], "python": []}[program]
    ended = subprocess.run(
        [sys.executable, *how, *words],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if ended.returncode != int(step["exit"] or 0):
        raise StepError(f"{step['command']} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return step[0].replace(f"```text\n{step['output']}```", f"```text\n{_shown(ended.stdout, folder)}\n```")


def _environment(folder: Path) -> dict[str, str]:
    ours = {
        # Two versions of a file within a second are the same to Python where it keeps compiled ones.
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "80",
        "HOME": str(folder),
        "PYTEST_ADDOPTS": "-o energy_source=estimate -p pytest_joules.plugin",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONIOENCODING": "utf-8",
    }
    theirs = ("PYTEST", "COV", "PYTHONPATH", "NO_COLOR", "FORCE_COLOR", "PY_COLORS", "CI", "GITHUB", "GITLAB", "BUILD_NUMBER")
    return {name: value for name, value in os.environ.items() if not name.startswith(theirs)} | ours


def _shown(output: str, folder: Path) -> str:
    lines = [line.rstrip().replace(str(folder), FOLDER) for line in output.strip("\n").split("\n")]
    return "\n".join(lines)


def without_numbers(page: str) -> str:
    """What of a page must be the same each time: not numbers and their units, dates, widths, nor where lines are broken."""
    page = re.sub(r"(?m)^platform .*$", "platform", page)
    page = re.sub(r"(?m)^(OVER BUDGET \S+ - ).*$", r"\1", page)  # cut at the terminal's width
    page = " ".join(page.split())
    page = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "DATE", page)
    page = re.sub(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", "N", page)
    page = re.sub(r"N [nµmk]?(J|s|W)\b", r"N \1", page)
    return re.sub(r"([-=_])\1{2,}", r"\1", page)


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    if arguments and not check:
        print(__doc__)
        return 2
    page = PAGE.read_text("utf-8")
    try:
        now = made(page)
    except StepError as error:
        print(f"docs/make_start.py: {error}", file=sys.stderr)
        return 1
    if not check:
        PAGE.write_text(now, "utf-8")
    elif without_numbers(now) != without_numbers(page):
        print("docs/start.md is not what its commands print: run python docs/make_start.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
