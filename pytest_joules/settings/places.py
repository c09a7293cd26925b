"""Where a repository may have files written: its ini file is not its user."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from pytest_joules.files import atomic
from pytest_joules.settings.ini import ini


def stay_at_home(config: pytest.Config, files: Mapping[str, Path], store: str | None) -> None:
    """What an ini file names to be written lies in the project, or in pytest's cache: whoever runs a repository's tests did not
    choose these places."""
    if hasattr(config, "workerinput"):  # the controller has looked
        return
    for name, path in (*files.items(), ("store", _history_file(store))):
        given = config.getoption(f"energy_{name}", None)
        if path is not None and not _typed(config, name, str(ini(config, f"energy_{name}") if given is None else given)):
            origin = f"ini energy_{name}" if given is None else f"--energy-{name} in addopts"
            try:
                atomic.stay(path, places_of(config), origin)
            except atomic.ReportPathError as error:
                raise pytest.UsageError(str(error)) from None


def places_of(config: pytest.Config) -> list[Path]:
    """Where what belongs to a project is written: its root, and pytest's cache wherever that is."""
    cache = getattr(getattr(config, "cache", None), "_cachedir", None)
    return [config.rootpath, *([Path(cache)] if cache is not None else [])]


def _history_file(url: str | None) -> Path | None:
    """The file of a history; ``None``: it is none, or has the default place."""
    if url is None or re.match(r"postgres(ql)?(\+\w+)?:", url):
        return None
    name = re.sub(r"^sqlite(\+\w+)?:(//[^/]*/)?(file:(//[^/]*)?)?", "", url).partition("?")[0]
    return Path(name) if name not in ("", ":memory:") else None


def _typed(config: pytest.Config, name: str, value: str) -> bool:
    """Whether the user gave an option: on the command line (also as ``-o``) or in the environment, not in a repository."""
    words = list(map(str, config.invocation_params.args))
    with contextlib.suppress(ValueError):  # then pytest has not got here
        words += shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    given = (f"energy-{name}={value}", f"energy_{name}={value}")
    return (f"--energy-{name}", value) in pairwise(words) or any(word.endswith(given) for word in words)
