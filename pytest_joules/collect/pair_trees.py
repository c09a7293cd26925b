"""Two trees of one project that differ in the package's own source alone: tests and settings are the newer release's."""

from __future__ import annotations

import importlib.machinery
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_joules.collect.archive import LEFT_OUT
from pytest_joules.collect.environment import Environment
from pytest_joules.collect.failure import Failed
from pytest_joules.collect.sandbox import Sandbox

#: Where projects keep their packages.
_PLACES = ("src", "lib", "python", ".")
#: Modules and folders beside a package that are none of it.
_BESIDE = re.compile(
    r"(?:conf|unit|test)?tests?|test_.*|.*_tests?|conftest|setup|noxfile|fabfile|tasks|docs?|examples?|bench(?:mark)?s?|scripts?|tools?"
    r"|utils?|build|dist|venv|env|ci|etc|data|misc|perf(?:ormance)?|profiling|requirements|release|versioneer|_version_helper"
    r"|samples?|demos?|extra|fuzz(?:ing)?|run_?tests?|make|hatch_build|_custom_build|_build.*|pdm_build|testing_.*"
)
#: Tests inside a package, which stay the newer release's.
_TESTS = re.compile(r"tests?|testsuite|conftest\.py|test_.*\.py|.*_tests?\.py")
_COMPILED = tuple(importlib.machinery.EXTENSION_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Sources:
    """The package's top-level folders and modules."""

    place: str
    """Of the project: the folder that they are in, which is the one on the import path."""
    names: tuple[str, ...]
    """Of the modules."""

    def paths(self, project: Path) -> Iterator[Path]:
        """A folder, or a file, for each."""
        for name in self.names:
            folder = project / self.place / name
            yield folder if folder.is_dir() else folder.with_suffix(".py")


def find(project: Path, sandbox: Sandbox, environment: Environment) -> Sources:
    """The installed package's sources in the project that it was installed from.

    Raises:
        Failed: they are not found, or are compiled.
    """
    importable = _importable(sandbox, environment, project)
    for place in _PLACES:
        folder = project / place
        names = [path.parent.name for path in folder.glob("*/__init__.py")] + [path.stem for path in folder.glob("*.py")]
        names = [name for name in names if name.isidentifier() and not _BESIDE.fullmatch(name) and name in importable]
        if names:
            sources = Sources(place, tuple(sorted(set(names))))
            _check_pure(sources, project)
            return sources
    raise Failed("elsewhere", "the package's folder is not found in its source distribution")


def _importable(sandbox: Sandbox, environment: Environment, project: Path) -> frozenset[str]:
    """Of the modules that lie where packages do, those that the installation makes importable."""
    names = {
        path.parent.name if path.name == "__init__.py" else path.stem for place in _PLACES for path in _modules(project / place)
    }
    code = (
        "import importlib.util, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        spec = importlib.util.find_spec(name)\n"
        "    except Exception:\n"
        "        continue\n"
        "    if spec is not None and spec.has_location:\n"
        "        print('importable', name)\n"
    )
    done = sandbox.run([environment.python, "-I", "-c", code, *sorted(filter(str.isidentifier, names))], cwd=sandbox.folder)
    return frozenset(line.partition(" ")[2] for line in done.output.splitlines() if line.startswith("importable "))


def _modules(folder: Path) -> Iterator[Path]:
    yield from folder.glob("*/__init__.py")
    yield from folder.glob("*.py")


def _check_pure(sources: Sources, project: Path) -> None:
    for path in sources.paths(project):
        found = next((file for file in path.rglob("*") if file.name.endswith(_COMPILED)), None) if path.is_dir() else None
        if found is not None:
            raise Failed(
                "compiled", f"{found.relative_to(project)} is an extension module: only its Python source would be exchanged"
            )
    beside = next((file for file in (project / sources.place).glob("*") if file.name.endswith(_COMPILED)), None)
    if beside is not None:
        raise Failed("compiled", f"{beside.name} is an extension module: only its Python source would be exchanged")


def make(newer: Path, older: Path, sources: Sources, folder: Path) -> tuple[Path, Path]:
    """Make ``folder/older`` and ``folder/newer`` of the two unpacked projects.

    Raises:
        Failed: the older release has its package elsewhere, or by another name.
    """
    trees = folder / "older", folder / "newer"
    for tree in trees:
        shutil.copytree(newer, tree, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    for ours, theirs in zip(sources.paths(trees[0]), sources.paths(older), strict=True):
        where = ours.relative_to(trees[0])
        if not theirs.exists():
            raise Failed("elsewhere", f"the older release has no {where}: the package has moved, or was renamed")
        # A module may have become a package.
        _exchange(ours, trees[0] / theirs.relative_to(older), theirs)
    return trees


def _exchange(ours: Path, place: Path, theirs: Path) -> None:
    if ours.is_dir():
        for path in _source_files(ours):
            path.unlink()
    else:
        ours.unlink()
    if theirs.is_file():
        shutil.rmtree(ours, ignore_errors=True) if ours.is_dir() else None
        shutil.copy2(theirs, place)
        return
    for path in _source_files(theirs):
        target = place / path.relative_to(theirs)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)


def _source_files(folder: Path) -> list[Path]:
    """Files below a package's folder that belong to no test."""
    found = []
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if (path.is_file() or path.is_symlink()) and not any(_TESTS.fullmatch(part) or part in LEFT_OUT for part in parts):
            found.append(path)
    return found


def changed_lines(trees: Sequence[Path], sources: Sources) -> int:
    """Lines of Python that only one of the two trees has: how large the change is."""
    found: list[dict[str, int]] = []
    for tree in trees:
        lines: dict[str, int] = {}
        for path in sources.paths(tree):
            for file in [path] if path.is_file() else [file for file in _source_files(path) if file.suffix == ".py"]:
                for line in file.read_bytes().decode("utf-8", "replace").splitlines():
                    text = line.strip()
                    lines[text] = lines.get(text, 0) + 1
        found.append(lines)
    first, second = found
    return sum(abs(first.get(text, 0) - second.get(text, 0)) for text in first.keys() | second.keys() if text)
