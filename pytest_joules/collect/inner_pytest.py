"""pytest in a package's environment, with the plugin that chooses tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_joules.collect import requirements
from pytest_joules.collect.environment import Environment
from pytest_joules.collect.sandbox import Done, Sandbox
from pytest_joules.files import checked, reading

if TYPE_CHECKING:
    from pytest_joules.collect.choosing import Findings


class InnerPytest:
    """Runs the tests of ``project``, which need not be the folder that is installed; ``path`` stands first on the import path."""

    def __init__(
        self, sandbox: Sandbox, environment: Environment, project: Path, most: int | None, path: Path | None = None
    ) -> None:
        self._sandbox, self._environment, self._project = sandbox, environment, project
        self._facts = sandbox.folder / "facts.json"
        self._most = [] if most is None else [f"--joules-collect-most={most}"]
        self._variables = {} if path is None else {"PYTHONPATH": str(path)}
        settings = requirements.settings_file(project)
        if settings is None:
            # pytest would look for one in the folders above.
            settings = sandbox.folder / "pytest.ini"
            settings.write_text("[pytest]\n", "utf-8")
        self._command: list[str | Path] = [
            *(environment.python, "-m", "pytest", "-c", settings, f"--rootdir={project}", f"--confcutdir={project}"),
            *("-p", "pytest_joules.collect.choosing", f"--joules-collect-facts={self._facts}"),
            *("-o", "addopts=", "-o", "required_plugins=", "-p", "no:cacheprovider", "-p", "no:randomly"),
            # Settings that make errors of warnings are for the versions of plugins that the authors had.
            *("--continue-on-collection-errors", "-W", "ignore::pytest.PytestDeprecationWarning"),
            *requirements.kept_options(project),
        ]

    def run(self, *arguments: str | Path, patience: float | None = None) -> tuple[Done, Findings]:
        self._facts.unlink(missing_ok=True)
        done = self._sandbox.run(
            [*self._command, *self._most, *arguments], cwd=self._project, patience=patience, variables=self._variables
        )
        return done, self.facts()

    def options(self, apart: str) -> list[str]:
        """What pytest is given, with a file of findings of its own."""
        given = [str(part) for part in self._command[3:]]
        mine = self._facts.with_name(f"{apart}-{self._facts.name}")
        return [part.replace(str(self._facts), str(mine)) for part in given]

    def facts(self) -> Findings:
        """What the plugin inside has written, or whoever else."""
        try:
            return _findings(checked.decode(reading.read_text(self._facts, 64 * 2**20)))
        except (OSError, ValueError):
            return _findings({})


def _findings(found: Mapping[str, object]) -> Findings:
    outcomes = checked.optional(found, "outcomes", dict, {})
    imported = checked.optional(found, "imported", dict, {})
    return {
        "collected": checked.optional(found, "collected", int, 0),
        "chosen": checked.optional(found, "chosen", int, 0),
        "outcomes": {str(word): checked.count(outcomes, word, 0) for word in outcomes},
        "current": checked.optional(found, "current", str),
        "late": checked.optional(found, "late", bool, False),
        "missing_modules": checked.list_of(found, "missing_modules", str),
        "missing_fixtures": checked.list_of(found, "missing_fixtures", str),
        "imported": {str(name): checked.optional(imported, name, str) for name in imported},
        "errors": checked.list_of(found, "errors", str),
    }
