"""Another revision of the project in a folder of its own: a temporary git worktree."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_joules.code.source_file import MOST_BYTES
from pytest_joules.files import locks, reading, scratch

#: What git sets for its hooks would point at the hook's repository and index.
_GIT_VARIABLES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_SHALLOW_FILE",
    "GIT_NAMESPACE",
)
_KIND = "against"
#: Folders whose content nobody imports as the project's own.
_NOT_THE_PROJECT = frozenset(("build", "dist", "env", "node_modules", "site-packages", "venv", "__pycache__"))


class RevisionError(Exception):
    """The other revision cannot be had; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit, and how the user called it."""

    name: str
    id: str
    short: str

    def __str__(self) -> str:
        return self.name if self.id.startswith(self.name) else f"{self.name} ({self.short})"


def repository(folder: Path) -> Path:
    """The root of the working tree that ``folder`` is in. Raises :class:`RevisionError`."""
    if shutil.which("git") is None:
        raise RevisionError("git is not there: install it, or compare with a baseline (--energy-save, --energy-compare)")
    done = git(folder, "rev-parse", "--show-toplevel")
    root = done.stdout.strip()
    if done.returncode or not root:
        said = reason(done)
        if "not a git repository" in said:
            raise RevisionError(f"{folder} is not in a git repository: compare with a baseline (--energy-save, --energy-compare)")
        raise RevisionError(f"git cannot read the repository of {folder}: {said or 'it has no working tree'}")
    return Path(root).resolve()


def resolve(root: Path, name: str) -> Revision:
    """The commit that ``name`` means. Raises :class:`RevisionError` that says what to fetch, or which names come close."""
    done = git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if done.returncode == 0:
        found = done.stdout.strip()
        return Revision(name, found, git(root, "rev-parse", "--short", found).stdout.strip() or found[:9])
    if git(root, "rev-parse", "--verify", "--quiet", "HEAD").returncode:
        raise RevisionError(f"{name!r}: the repository has no commit yet")
    shallow = git(root, "rev-parse", "--is-shallow-repository").stdout.strip() == "true"
    remotes = git(root, "remote").stdout.split()
    advice = _what_to_fetch(name, remotes, shallow=shallow)
    if shallow:
        raise RevisionError(f"{name!r} is not in this shallow clone: {advice or 'fetch it first'}")
    near = _near(root, name)
    if near:
        raise RevisionError(f"{name!r} is not a revision of {root}: is it {' or '.join(near)}?")
    hint = f" ({advice})" if advice else ""
    raise RevisionError(f"{name!r} is not a revision of {root}: write a branch, a tag or a commit{hint}")


def _what_to_fetch(name: str, remotes: Sequence[str], *, shallow: bool) -> str:
    """The command that gets the revision, as far as its name tells."""
    if not remotes:
        return ""
    back = re.fullmatch(r"(?P<base>[^~^]+)(?P<steps>[~^].*)", name)
    if back is not None and shallow:
        steps = sum(int(count or 1) for count in re.findall(r"[~^](\d*)", back["steps"]))
        return f"git fetch --deepen={steps}" if back["base"] in ("HEAD", "@") else "git fetch --unshallow"
    remote, slash, branch = name.partition("/")
    if slash and remote in remotes:
        return f"git fetch --depth=1 {remote} {branch}:refs/remotes/{name}" if shallow else f"git fetch {remote} {branch}"
    remote = "origin" if "origin" in remotes else remotes[0]
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", name):
        return f"git fetch --depth=1 {remote} {name}" if shallow else f"git fetch {remote} {name}"
    if not shallow:
        return ""
    if re.fullmatch(r"v?\d[\w.+-]*", name) and not re.fullmatch(r"[0-9a-f]{7,}", name):
        return f"git fetch --depth=1 {remote} tag {name}"
    if re.fullmatch(r"[0-9a-f]{4,39}", name):
        return "git fetch --unshallow"
    return f"git fetch --depth=1 {remote} {name}:refs/remotes/{remote}/{name}, and compare with {remote}/{name}"


def _near(root: Path, name: str) -> list[str]:
    """Names of branches and tags that come close."""
    listed = git(root, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes").stdout
    names = [known for known in listed.split() if not known.endswith("/HEAD")]
    same = [known for known in names if known.rpartition("/")[2] == name.rpartition("/")[2]]
    return list(dict.fromkeys([*same, *difflib.get_close_matches(name, names, n=3, cutoff=0.6)]))[:3]


class Worktree:
    """A revision of the repository at ``root``, checked out in ``path``. Close it: :meth:`remove`."""

    def __init__(self, root: Path, revision: Revision) -> None:
        self.root = root
        self.revision = revision
        self.notes: list[str] = []
        """What is not there as it is in this tree."""
        self._common = _common(root)
        _prune(self._common)
        self._claim, self._folder = self._make_folder()
        # The same name: that of a package, where the root is one.
        self.path = self._folder / root.name
        try:
            self._add()
            self._take_generated()
            self._look_for_what_is_missing()
        except BaseException:
            self.remove()
            raise

    def _make_folder(self) -> tuple[int, Path]:
        """A folder, and a locked file in the repository that stands for what git notes there of it: the folder itself may be
        one that others who use the repository do not see."""
        while True:
            try:
                folder = scratch.folder(_KIND)
            except OSError as error:
                raise RevisionError(f"no temporary folder can be made: {error}") from None
            try:
                claim = locks.make(self._common / f"{folder.name}.lock")
            except FileExistsError:
                claim = None
            except OSError as error:
                scratch.remove(folder)
                raise RevisionError(f"git's folder cannot be written: {error}: use a baseline (--energy-compare)") from None
            if claim is not None:
                return claim, folder
            scratch.remove(folder)

    def _add(self) -> None:
        # Hooks are the user's, for checkouts of the user's.
        options = ("-c", f"core.hooksPath={os.devnull}", "-c", "submodule.recurse=false")
        add = ("worktree", "add", "--quiet", "--detach", str(self.path), self.revision.id)
        # Killed now, git goes on without us for a while.
        handed = (*scratch.shared_with_children(self._folder), *((self._claim,) if os.name == "posix" else ()))
        done = git(self.root, *options, *add, handed=handed)
        if done.returncode and re.search(r"\blfs\b|smudge", done.stderr):
            self._drop()
            done = git(self.root, *options, *add, handed=handed, GIT_LFS_SKIP_SMUDGE="1")
            self.notes.append(f"at {self.revision} files in git LFS are pointers only: git lfs could not get them")
        if done.returncode:
            raise RevisionError(f"git cannot check out {self.revision} beside this tree: {reason(done)}")

    def _take_generated(self) -> None:
        """Python files that git ignores (a ``_version.py`` that a build wrote) are no part of a revision, but it needs them."""
        listed = git(self.root, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", "*.py").stdout
        for name in listed.split("\0"):
            target = self.path / name
            # The other revision may have a link in the place of the file or of its folder.
            inside = target.parent.is_dir() and target.parent.resolve().is_relative_to(self.path.resolve())
            if name and _of_the_project(name) and inside and not os.path.lexists(target):
                with contextlib.suppress(OSError):
                    target.write_bytes(reading.read_bytes(self.root / name, MOST_BYTES))
                    self.notes.append(f"{name} is not in git: {self.revision} is run with this tree's")

    def _look_for_what_is_missing(self) -> None:
        modules = git(self.path, "submodule", "status").stdout.splitlines()
        missing = [line.split()[1] for line in modules if line.startswith("-") and len(line.split()) > 1]
        here = [name for name in missing if (self.root / name).is_dir() and any((self.root / name).iterdir())]
        if here:
            self.notes.append(f"at {self.revision} submodules are not checked out: {', '.join(here)}")
        listed = git(self.root, "ls-files", "-z", "--others", "--", "*.so", "*.pyd").stdout
        built = [name for name in listed.split("\0") if name and _of_the_project(name)]
        if built:
            more = f" and {len(built) - 3} more" if len(built) > 3 else ""
            self.notes.append(
                f"extension modules built in place are not there at {self.revision}: {', '.join(built[:3])}{more}; "
                "what falls back on Python without them cannot be compared"
            )

    def remove(self) -> None:
        """Leave nothing behind: no folder, no note of it in the repository."""
        if locks.is_held(self._claim):
            self._drop()
            _end_claim(self._common / f"{self._folder.name}.lock", self._claim)
            scratch.remove(self._folder)

    def _drop(self) -> None:
        scratch.remove_all(self.path)
        _forget(self._common, self._folder.name)


def _common(root: Path) -> Path:
    """Where git keeps what all worktrees of a repository have in common."""
    done = git(root, "rev-parse", "--git-common-dir")
    if done.returncode:
        raise RevisionError(f"git cannot read the repository of {root}: {reason(done)}")
    return (root / done.stdout.strip()).resolve()


def _prune(common: Path) -> None:
    """Remove what runs that were killed have left, of this repository; its other worktrees are not touched."""
    scratch.sweep()
    for claim in common.glob("pytest-joules-*.lock"):
        if scratch.is_one(claim.stem):
            with contextlib.suppress(OSError):
                descriptor = locks.take_left(claim)
                if descriptor is not None and _forget(common, claim.stem, since=claim.stat().st_mtime):
                    _end_claim(claim, descriptor)
                elif descriptor is not None:
                    locks.release(descriptor)
    for entry, place in _registered(common):
        # Whoever uses it has made the file before, and removes it after.
        if scratch.is_one(place.name) and not (common / f"{place.name}.lock").exists():
            shutil.rmtree(entry, ignore_errors=True)


def _end_claim(claim: Path, descriptor: int) -> None:
    if os.name != "posix":  # what is open cannot be removed there
        locks.release(descriptor)
    claim.unlink(missing_ok=True)
    locks.release(descriptor)


def _registered(common: Path) -> list[tuple[Path, Path]]:
    """What git notes of worktrees (gitrepository-layout(5)): for each a folder of notes, and the folder that it is in."""
    found = []
    for entry in (common / "worktrees").glob("*"):
        try:
            text = (entry / "gitdir").read_text("utf-8", "surrogateescape").strip()
        except OSError:
            text = ""
        found.append((entry, Path(text).parent.parent if text else Path()))
    return found


def _forget(common: Path, name: str, since: float | None = None) -> bool:
    """Remove what git notes of the worktree in the folder of this name; whether all is gone.

    ``since``: when a git that was killed may have begun to note it, and not have come to the folder's name.
    """
    gone = True
    for entry, place in _registered(common):
        if place.name != name:
            if place.name or since is None or entry.stat().st_mtime < since:
                continue
            if time.time() - entry.stat().st_mtime < 1.0:
                gone = False  # perhaps another git is just about to
                continue
        shutil.rmtree(entry, ignore_errors=True)
    with contextlib.suppress(OSError):
        (common / "worktrees").rmdir()
    return gone


def files_of(root: Path) -> list[str]:
    """What is in this tree and not ignored by git, relative to ``root``."""
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout
    return [name for name in listed.split("\0") if name]


def _of_the_project(name: str) -> bool:
    parts = Path(name).parts
    return not any(part in _NOT_THE_PROJECT or part.startswith(".") or part.endswith(".egg-info") for part in parts)


def git(folder: Path, *arguments: str, handed: Sequence[int] = (), **more: str) -> subprocess.CompletedProcess[str]:
    """What git says in ``folder``; a status of its own where it is not there or does not answer."""
    env = {key: value for key, value in os.environ.items() if key not in _GIT_VARIABLES}
    env.update(LC_ALL="C", GIT_TERMINAL_PROMPT="0", GIT_OPTIONAL_LOCKS="0", **more)
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    try:
        return subprocess.run(
            command,
            env=env,
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=600,
            pass_fds=handed,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 128, "", str(error))


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """What git complains of, in one line."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    wanted = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines[:1]
    text = "; ".join(re.sub(r"^(fatal|error): ", "", line) for line in wanted)
    remedy = next((line for line in lines if line.startswith("git config --global --add safe.directory")), None)
    return f"{text}: {remedy}" if remedy and remedy not in text else text
