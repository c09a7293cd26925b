"""The project's own distribution where it is installed: as a copy of its files, or as editable. By any way: from its folder, from
an archive that was built of it, from an index.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pytest_joules.code.hashing import digest
from pytest_joules.files import reading

#: Stands before the path of a file of the project that was installed, in the place of the folder it was installed to.
INSTALLED = "installed"
#: Folders that projects keep their packages in, which are no part of the modules' names.
_SOURCES = ("src", "lib", "python")
#: Of a file that says what is installed, or what a project is called.
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Installed:
    """What is installed of the project, and what else is."""

    copies: Mapping[str, str]
    """Files that were copied, by where they are: their paths below the folder they were installed to. Of two of one path, the one
    that is imported comes first."""
    own: frozenset[str]
    """Metadata folders of its installations."""
    others: str
    """A hash of what was installed from other folders or from a repository, whose version says little."""


def own_path(path: str) -> str:
    """A file's path as its module is called: ``stall/duty.py`` for ``src/stall/duty.py`` and for ``installed/stall/duty.py``."""
    parts = path.split("/")
    if parts[0] in (INSTALLED, *_SOURCES):
        return "/".join(parts[1:]) or path
    inner = parts[:-1]
    return "/".join(parts[len(inner) - inner[::-1].index("src") :]) if "src" in inner else path


def other_paths(path: str) -> Iterator[str]:
    """Where else the module of a file may be: in an installed copy, in another folder for sources."""
    own = own_path(path)
    yield from (other for other in (f"{INSTALLED}/{own}", own, *(f"{folder}/{own}" for folder in _SOURCES)) if other != path)


def search_path() -> list[str]:
    """The folders that modules are looked for in, with links followed."""
    return list(dict.fromkeys(os.path.realpath(entry or ".") for entry in sys.path))


def metadata_folders(folder: str) -> tuple[str, ...]:
    """Names of the metadata of what is installed in a folder."""
    # They have the distribution's name and version: reading the files would take 0.3 ms each.
    try:
        return tuple(name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info")))  # noqa: PTH208 - names only
    except OSError:
        return ()


def find(roots: Iterable[Path]) -> Installed:
    """What is installed of the project that these folders are of."""
    known = {str(root) for root in roots}
    names = {name for root in known for name in _declared(Path(root))}
    found = []
    for folder in search_path():
        for name in metadata_folders(folder):
            source, editable = _installed_from(Path(folder) / name)
            mine = source is not None and os.path.realpath(source) in known
            if mine:
                names.add(_distribution(name))
            found.append((folder, name, source, editable, mine))
    copies: dict[str, str] = {}
    own, others = set(), []
    for folder, name, source, editable, named in found:
        mine = named or _distribution(name) in names
        if source is None and not mine:
            continue
        files = _files(Path(folder) / name)
        if not mine:
            others += [line for line in files if ".dist-info/" not in line and ".pyc," not in line]
            continue
        own.add(f"{folder}{os.sep}{name}")
        for file in [] if editable else [line.split(",", 1)[0].strip('"') for line in files]:
            if file[:1] not in ("", ".", "/") and ".dist-info/" not in file and not file.endswith((".pyc", ".pth")):
                copies.setdefault(os.path.realpath(f"{folder}/{file}"), file)
    return Installed(copies, frozenset(own), digest(sorted(others)))


def _declared(root: Path) -> Iterator[str]:
    """Names that a project gives itself."""
    for file, section in (
        ("pyproject.toml", r"^\[(?:project|tool\.poetry)\]"),
        ("setup.cfg", r"^\[metadata\]"),
        ("setup.py", ""),
    ):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = reading.read_text(root / file, _MOST_BYTES)
            part = re.search(rf"{section}(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
            first = r"\bsetup\(.*?\b" if not section else "^"
            name = re.search(rf"{first}name\s*[=:]\s*[\"']?([\w.-]+)", part[1] if part else "", re.MULTILINE | re.DOTALL)
            if name is not None:
                yield _normal(name[1])


def _distribution(metadata: str) -> str:
    return _normal(metadata.rpartition(".")[0].partition("-")[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed_from(metadata: Path) -> tuple[str | None, bool]:
    """The folder or address that ``direct_url.json`` (PEP 610) of an installation names, and whether it is editable."""
    try:
        record = json.loads(reading.read_bytes(metadata / "direct_url.json", _MOST_BYTES))
        source = urlsplit(record["url"])
        path = unquote(source.path).removeprefix("/" if os.name == "nt" else "")  # file:///C:/there
        return path if source.scheme == "file" else record["url"], bool(record.get("dir_info", {}).get("editable"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, False


def _files(metadata: Path) -> list[str]:
    try:
        return reading.read_text(metadata / "RECORD", _MOST_BYTES).splitlines()
    except (OSError, ValueError):
        return []
