"""How this run was started, so that another process can be started in the same way."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_joules.files import reading


@dataclass(frozen=True, slots=True)
class Invocation:
    """How this run was started."""

    args: tuple[str, ...]
    """Files of arguments expanded: they may be others at another revision."""
    directory: Path
    cwd_on_path: bool
    """``python -m pytest`` puts the working directory on the path, ``pytest`` does not."""
    odd: str = ""
    """Why it cannot be repeated."""

    def args_with(self, args: Sequence[str] | None, more: Sequence[str]) -> list[str]:
        """``args`` (this run's, unless given) with more options: behind all others, so that they win, but not behind ``--``."""
        given = list(args if args is not None else self.args)
        place = given.index("--") if "--" in given else len(given)
        return [*given[:place], *more, *given[place:]]

    @classmethod
    def of(cls, config: pytest.Config) -> Invocation:
        sent = getattr(config, "workerinput", {}).get("joules_invocation")
        if sent is not None:
            return cls(tuple(sent["args"]), Path(sent["directory"]), sent["cwd_on_path"], sent["odd"])
        params = config.invocation_params
        # Of addopts, pytest takes the environment's first.
        args = expanded([*files_in_addopts(), *map(os.fspath, params.args)], params.dir)
        odd = ""
        for plugin in params.plugins or ():
            if isinstance(plugin, str | ModuleType):
                args += ["-p", plugin if isinstance(plugin, str) else plugin.__name__]
            elif not type(plugin).__module__.startswith("_pytest."):  # pytester's only watches
                odd = f"pytest.main() was given a plugin object ({type(plugin).__name__}), which another process cannot have"
        main = sys.modules.get("__main__")
        spec = getattr(main, "__spec__", None)
        return cls(tuple(args), params.dir, spec is not None and spec.name.startswith("pytest"), odd)


def expanded(args: Sequence[str], directory: Path) -> list[str]:
    """The command line with the arguments that ``@file`` stands for, one a line, as pytest (from 8.2 on) takes them."""
    result: list[str] = []
    for argument in args:
        if not argument.startswith("@"):
            result.append(argument)
            continue
        lines: list[str] = []
        with contextlib.suppress(OSError):  # gone since this run was started
            lines = os.fsdecode(reading.read_bytes(directory / argument[1:], 2**20)).splitlines()
        result += expanded(lines, directory)
    return result


def files_in_addopts() -> list[str]:
    """``PYTEST_ADDOPTS``, where it names files of arguments: a companion elsewhere would not find them."""
    words: list[str] = []
    with contextlib.suppress(ValueError):  # then pytest has not got here
        words = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    return words if any(word.startswith("@") for word in words) else []


class Passing:
    """In a controller of pytest-xdist: tells the workers how this run was started, which they do not know."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - xdist's
        how = Invocation.of(node.config)
        node.workerinput["joules_invocation"] = {
            "args": list(how.args),
            "directory": str(how.directory),
            "cwd_on_path": how.cwd_on_path,
            "odd": how.odd,
        }
