"""Where the project's packages are imported from, and what another revision needs in front of its path to import its own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pytest_joules.code.installed_copies import Installed, find
from pytest_joules.files import reading, scratch
from pytest_joules.revision.worktree import RevisionError, Worktree, files_of


@dataclass(frozen=True, slots=True)
class Paths:
    """What goes in front of the module search path of each side."""

    here: tuple[str, ...] = ()
    there: tuple[str, ...] = ()
    built: tuple[str, ...] = ()
    """The copies of both sides, this tree's first, where the project is installed as one."""
    copied: frozenset[str] = frozenset()
    """Files of the project in the environment, which are neither side's."""

    def variables(self, worktree: Worktree, *, there: bool) -> dict[str, str]:
        """The environment of one side. Raises :class:`RevisionError` where Python was told to ignore it."""
        given = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
        if there:
            given = [str(other(Path(entry), worktree) or entry) if Path(entry).is_absolute() else entry for entry in given]
        front = self.there if there else self.here
        if front and sys.flags.ignore_environment:
            raise RevisionError("Python runs with -E or -I, so the other revision cannot be put on its path: leave that out")
        path = os.pathsep.join(dict.fromkeys((*front, *given)))
        return {"PYTHONPATH": path} if path else {}


def belongs(path: Path, root: Path) -> bool:
    """Whether a file is the project's: in its tree, but not in an environment that lies there."""
    try:
        inside = path.relative_to(root)
    except ValueError:
        return False
    prefix = Path(sys.prefix).resolve()
    in_environment = prefix != root and root in prefix.parents and (path == prefix or prefix in path.parents)
    return not in_environment and not {"site-packages", "dist-packages"} & set(inside.parts)


def other(path: Path, worktree: Worktree) -> Path | None:
    """Where the other revision has what is at ``path`` in this tree; ``None`` for what is not in this tree."""
    path = Path(os.path.realpath(path))
    return worktree.path / path.relative_to(worktree.root) if belongs(path, worktree.root) else None


def prepare(worktree: Worktree, folder: Path, *, alone: bool = False) -> Paths:
    """Find how the project is installed, and do the same for the other revision.

    ``folder``: for what has to be made. ``alone``: this tree is not to be run, so nothing is built of it.

    - A path in the working directory, the ini file or a conftest: nothing to do.
    - An editable installation (a line in a ``.pth`` file, or setuptools' finder): the same folders of the other revision stand in
      front of it, which wins because finders come last on ``sys.meta_path`` and ``.pth`` lines last on ``sys.path``.
    - An installed copy: both revisions are built and installed anew, in folders of their own.

    Raises:
        RevisionError: it cannot be built.
    """
    there = [str(place) for entry in _editable_folders(worktree.root) if (place := other(entry, worktree)) and place.is_dir()]
    links = folder / "links"
    for name, place in _editable_packages(worktree.root):
        target = other(place, worktree)
        if target is None or not target.exists():
            continue
        if target.name in (name, f"{name}.py"):
            there.append(str(target.parent))
        else:
            links.mkdir(exist_ok=True)
            with contextlib.suppress(OSError):
                (links / (name if target.is_dir() else f"{name}.py")).symlink_to(target)
                there.append(str(links))
    installed = find((worktree.root,))
    copies = sorted({*_installed_copies(worktree.root), *_copied_packages(installed)})
    copied = frozenset(path for path in installed.copies if path.endswith(".py"))
    if not copies:
        return Paths(there=tuple(dict.fromkeys(there)), copied=copied)
    if alone:
        worktree.notes.append(f"{', '.join(copies)}: an installed copy, so each commit is built and installed anew, without it")
        built = [_install(worktree.path, folder / "there", copies)]
        return Paths(there=(*dict.fromkeys(there), *built), copied=copied)
    worktree.notes.append(f"{', '.join(copies)}: an installed copy, so both revisions were built and installed anew, without it")
    source = folder / "source"
    _copy(worktree.root, source)
    built = [_install(place, folder / name, copies) for place, name in ((source, "here"), (worktree.path, "there"))]
    return Paths((built[0],), (*dict.fromkeys(there), built[1]), tuple(built), copied)


def _editable_folders(root: Path) -> Iterator[Path]:
    """Folders of the project that ``.pth`` files put on the path."""
    for entry in dict.fromkeys(sys.path):
        site = Path(entry)
        if site.name not in ("site-packages", "dist-packages"):
            continue
        for file in sorted(site.glob("*.pth")):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                for line in reading.read_text(file, 2**20).splitlines():
                    text = line.strip()
                    if text and not text.startswith(("#", "import ", "import\t")):
                        place = Path(os.path.realpath(site / text))
                        if belongs(place, root):
                            yield place


def _editable_packages(root: Path) -> Iterator[tuple[str, Path]]:
    """Packages of the project that setuptools' editable finders know."""
    for finder in sys.meta_path:
        module = sys.modules.get(getattr(finder, "__module__", ""))
        mapping = getattr(module, "MAPPING", None)
        if module is None or not module.__name__.startswith("__editable__") or not isinstance(mapping, Mapping):
            continue
        for name, text in mapping.items():
            place = Path(os.path.realpath(text))
            if not place.exists() and place.with_suffix(".py").exists():
                place = place.with_suffix(".py")
            # A package inside another is found through that one.
            if belongs(place, root) and "." not in name:
                yield name, place


def _installed_copies(root: Path) -> list[str]:
    """Top-level packages of the project that are imported from a copy of it in ``site-packages``."""
    found = []
    for name in sorted(_top_level(root)):
        place = _origin(name)
        if place is not None and not belongs(place, root) and {"site-packages", "dist-packages"} & set(place.parts):
            found.append(name)
    return found


def _copied_packages(installed: Installed) -> Iterator[str]:
    """Packages of a distribution that are imported from it, those in namespaces by their full names."""
    names = set(installed.copies.values())
    tops = set()
    for file in names:
        parts = file.removesuffix(".py").split("/")
        ends = (end for end in range(1, len(parts)) if f"{'/'.join(parts[:end])}/__init__.py" in names)
        name = ".".join(parts[: next(ends, len(parts))])
        if file.endswith(".py") and all(map(str.isidentifier, name.split("."))):
            tops.add(name)
    for name in sorted(tops):
        if (origin := _origin(name)) is not None and str(origin) in installed.copies:
            is_module = f"{name.replace('.', '/')}.py" in names
            yield name.rpartition(".")[0] if is_module and "." in name else name


def _top_level(root: Path) -> set[str]:
    """Names of packages in the places where projects have them."""
    found = set()
    for folder in (root, root / "src", root / "lib", root / "python"):
        for path in folder.glob("*/__init__.py"):
            found.add(path.parent.name)
        for path in (folder / "src").glob("*.py") if folder == root else ():
            found.add(path.stem)
    return {name for name in found if name.isidentifier() and name not in ("tests", "test", "docs", "examples")}


def _origin(name: str) -> Path | None:
    """Where a top-level module is, or would be, imported from."""
    module: ModuleType | None = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if module is None:
        try:
            spec = importlib.util.find_spec(name)
        except Exception:  # its package is imported, which may do anything
            return None
        file = spec.origin if spec is not None and spec.has_location else None
    return Path(os.path.realpath(file)) if isinstance(file, str) else None


def _copy(root: Path, target: Path) -> None:
    """This tree as it is, without what git ignores: a build must not write into it."""
    for name in files_of(root):
        place = target / name
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, place, follow_symlinks=False)


def _install(source: Path, target: Path, names: Sequence[str]) -> str:
    if importlib.util.find_spec("pip") is None:
        raise RevisionError(
            f"{', '.join(names)} is an installed copy, and without pip no other revision can be installed beside it: "
            "install pip, or the project as editable"
        )
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-input", "--disable-pip-version-check"]
    # A copy has no history to take a version from.
    env = {**os.environ, "SETUPTOOLS_SCM_PRETEND_VERSION": "0"}
    env.pop("PYTHONPATH", None)
    said = ""
    # With what is installed first: that needs no network.
    for isolation in (["--no-build-isolation"], []):
        shutil.rmtree(target, ignore_errors=True)
        with subprocess.Popen(
            [*command, *isolation, "--target", str(target), str(source)],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            pass_fds=scratch.shared_with_children(target.parent),  # killed now, pip goes on without us for a while
            start_new_session=os.name == "posix",
        ) as process:
            try:
                output = process.communicate()[0]
            except BaseException:
                if os.name == "posix":
                    os.killpg(process.pid, signal.SIGKILL)  # a build that pip has started, too
                else:
                    process.kill()
                raise
        if process.returncode == 0:
            return str(target)
        said = said or output
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    raise RevisionError(
        f"{', '.join(names)} is an installed copy, and pip could not build another from {source}: "
        f"{'; '.join(lines[-3:])}: install the project as editable (pip install -e .)"
    )
