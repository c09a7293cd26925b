"""A virtual environment for one package: the package itself, pytest-joules, and what the tests need."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pytest_joules import __version__, machine
from pytest_joules.collect import requirements
from pytest_joules.collect.failure import Failed
from pytest_joules.collect.sandbox import Done, Sandbox
from pytest_joules.model import CommitRecord

#: Of the time that is left, the most that is spent on one attempt to install what tests need.
_SHARE = 0.25
#: Of a checkout, what a wheel is not made of.
_NOT_SOURCE = shutil.ignore_patterns(
    *(".*", "build", "dist", "site", "docs", "tests", "benchmarks", "examples", "venv", "node_modules", "__pycache__"),
    "*.egg-info",
)


@dataclass(frozen=True, slots=True)
class Origin:
    """From where pytest-joules is installed into the environments."""

    requirement: str
    """For pip: a path, a URL, or ``name==version``."""
    checkout: Path | None
    """The folder it is installed from, where it is one."""


@dataclass(frozen=True, slots=True)
class Own:
    """The pytest-joules that measures."""

    requirement: str
    """For pip, so that nothing replaces it."""
    version: str
    commit: CommitRecord | None
    """Of the checkout it was built from."""
    template: Path
    """An environment that has it."""


def origin() -> Origin:
    """The place that this pytest-joules itself was installed from (``direct_url.json``, PEP 610), else its version's number."""
    here = Path(__file__).resolve().parents[2]
    try:
        text = metadata.distribution("pytest-joules").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        text = None
    if text is None:
        checkout = here if (here / "pyproject.toml").is_file() else None
        return Origin(str(checkout or f"pytest-joules=={__version__}"), checkout)
    found = json.loads(text)
    url = urlsplit(found["url"])
    if "dir_info" in found and url.scheme == "file":
        folder = Path(unquote(url.path).removeprefix("/" if os.name == "nt" else ""))
        return Origin(str(folder), folder)
    if "vcs_info" in found:
        return Origin(f"{found['vcs_info']['vcs']}+{found['url']}@{found['vcs_info']['commit_id']}", None)
    return Origin(found["url"], None)


def make_template(sandbox: Sandbox, python: str) -> Own:
    """An environment with this pytest-joules and nothing else, made once; those of the packages begin as copies of it.

    Raises:
        Failed: it cannot be made.
    """
    place = origin()
    template = Environment(sandbox)
    template.create(python)
    requirement = place.requirement
    if place.checkout is not None:
        source, wheels = sandbox.folder / "source", sandbox.folder / "wheels"
        for folder in (source, wheels):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(place.checkout, source, ignore=_NOT_SOURCE)
        done = template.pip("wheel", "--no-deps", "--wheel-dir", wheels, source)
        built = sorted(wheels.glob("*.whl"))
        if done.code or len(built) != 1:
            raise Failed("does not build", f"pytest-joules itself ({place.checkout}): {last_line(done.output)}")
        requirement = str(built[0])
    why = template.install(requirement)
    if why is not None:
        raise Failed("does not build", f"pytest-joules cannot be installed from {place.requirement}: {why}")
    commit = machine.commit(place.checkout) if place.checkout is not None else None
    return Own(requirement, __version__, commit, template.folder)


def check(python: str) -> str:
    """The full version of the interpreter that environments are made with.

    Raises:
        ValueError: it cannot be run, is too old, or cannot make environments; the message says what to do.
    """
    code = (
        "import platform as p, sys, ensurepip, venv\n"
        "print(sys.version_info >= (3, 10), p.python_implementation(), p.python_version())"
    )
    try:
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ValueError(f"{python} cannot be run ({error}): name an interpreter with --python=PATH") from None
    if done.returncode:
        raise ValueError(
            f"{python} cannot make environments ({last_line(done.stderr)}): install its venv and ensurepip modules "
            "(on Debian: python3-venv), or name another interpreter with --python=PATH"
        )
    recent, _, version = done.stdout.strip().partition(" ")
    if recent != "True":
        raise ValueError(f"{python} is {version}: pytest-joules needs Python 3.10 or later")
    return version


class Environment:
    """A virtual environment in a sandbox's folder."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.folder = sandbox.folder / "env"

    @cached_property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def create(self, base: str) -> None:
        """Make it, with the interpreter ``base``; what was there is gone.

        Raises:
            Failed: it cannot be made.
        """
        done = self._sandbox.run([base, "-m", "venv", "--clear", self.folder])
        if done.code:
            raise Failed("does not build", f"no environment can be made: {last_line(done.output)}")

    def copy(self, template: Path) -> None:
        """Make it a copy of another one.

        Raises:
            Failed: there is no room.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            shutil.copytree(template, self.folder, symlinks=True)
            for script in self.python.parent.iterdir():
                if not script.is_symlink() and (text := script.read_bytes()).startswith(b"#!" + os.fsencode(template)):
                    script.write_bytes(text.replace(os.fsencode(template), os.fsencode(self.folder), 1))
        except (OSError, shutil.Error) as error:
            raise Failed("disk", f"the environment cannot be copied: {error}") from None

    def pip(self, command: str, *arguments: str | Path, patience: float | None = None) -> Done:
        """Run a command of pip, with the user's settings of it; ended after ``patience`` seconds."""
        return self._sandbox.run([self.python, "-m", "pip", command, *arguments], index=True, patience=patience)

    def install(self, *arguments: str | Path, share: float | None = None) -> str | None:
        """Install, in at most this share of the time that is left; returns why it failed, or ``None``."""
        patience = None if share is None else self._sandbox.left() * share
        done = self.pip("install", "--quiet", "--no-compile", "--no-warn-script-location", *arguments, patience=patience)
        return last_line(done.output) if done.code else None

    def install_project(self, project: Path, extras: Sequence[str], tests: Sequence[str], own: Own) -> None:
        """The package as its own source folder (so that its functions are the project's), and what its tests need.

        All at once where that goes; else the package alone (editable with its extras for tests, editable, as a copy) and then
        :meth:`install_tests`.

        Raises:
            Failed: it does not build.
        """
        plain = str(project)
        full = f"{plain}[{','.join(extras)}]" if extras else plain
        # Requirements that do not go together can take pip any time to find out.
        if tests and self.install("--editable", full, *tests, own.requirement, share=_SHARE) is None:
            return
        why: str | None = None
        for target in dict.fromkeys((("--editable", full), ("--editable", plain), (plain,))):
            why = self.install(*target, own.requirement)
            if why is None:
                self.install_tests(tests, own)
                return
        raise Failed("does not build", why or "pip failed")

    def installed_as(self, project: Path) -> tuple[str, str] | None:
        """Name and version that the project's folder was installed as; ``None`` where it is not what is installed."""
        code = (
            "import importlib.metadata as m, json, os, sys, urllib.parse as u\n"
            "for d in m.distributions():\n"
            "    url = json.loads(d.read_text('direct_url.json') or '{}').get('url', '')\n"
            "    path = u.unquote(u.urlsplit(url).path)\n"
            "    if os.path.exists(path) and os.path.samefile(path, sys.argv[1]):\n"
            "        print('installed', d.metadata['Name'], d.version)\n"
        )
        done = self._sandbox.run([self.python, "-c", code, project])
        for line in done.output.splitlines():
            word, _, rest = line.partition(" ")
            if word == "installed" and len(words := rest.split()) == 2:
                return words[0], words[1]
        return None

    def install_tests(self, wanted: Sequence[str], own: Own) -> None:
        """What the tests need, as far as it can be had: many tests do without."""
        names = requirements.names(wanted)
        for attempt in dict.fromkeys((tuple(wanted), tuple(names))):
            if not attempt or self.install(*attempt, own.requirement, share=_SHARE) is None:
                return
        for name in names if len(names) > 1 else ():
            self.install(name, own.requirement, share=_SHARE / 2)


def last_line(output: str) -> str:
    """The line of a program's output that says most of why it failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    # pip shows what a build said in a frame.
    ends = [place for place, line in enumerate(lines) if line == "[end of output]" and place]
    if ends:
        return lines[ends[-1] - 1][:300]
    said = [line for line in lines if re.match("(ERROR|error|Error): ", line) and not line.endswith("Exception:")]
    useful = said or [line for line in lines if not line.startswith(("WARNING", "[notice]", "hint:", "note:"))]
    return (useful or ["it said nothing"])[-1][:300]
