"""What the user names a package by, and its source distribution."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pytest_joules.collect.archive import SUFFIXES
from pytest_joules.collect.environment import Environment, last_line
from pytest_joules.collect.failure import Failed

_NAMED = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:==\s*([A-Za-z0-9][A-Za-z0-9.+!_-]*))?")
_NONE = re.compile(r"No matching distribution|Could not find a version|not find a version that satisfies")


@dataclass(frozen=True, slots=True)
class Request:
    """One package to collect."""

    text: str
    """As it was given."""
    key: str
    """Name of its folders and files: letters, digits, ``-`` and ``.``."""
    path: Path | None = None
    """An archive or a project's folder on this machine."""


def request(text: str) -> Request:
    """Understand ``name``, ``name==version`` or a path.

    Raises:
        ValueError: it is none of them; the message says so.
    """
    text = text.strip()
    path = Path(text).expanduser()
    if path.is_file() and text.endswith(SUFFIXES):
        return Request(text, _key(re.sub(r"\.(tar\.gz|tgz|zip)$", "", path.name)), path.resolve())
    # A bare name is a package even where a folder is called so: write ./name.
    if path.is_dir() and ("/" in text or "\\" in text or text.startswith(".")):
        return Request(text, _key(path.resolve().name), path.resolve())
    if "/" in text or "\\" in text or text.endswith(SUFFIXES):
        raise ValueError(f"{text!r} is no folder of a project and no archive ({', '.join(SUFFIXES)}) here")
    found = _NAMED.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not NAME, NAME==VERSION or a path to a project or its archive")
    name, version = found.groups()
    return Request(
        f"{name}=={version}" if version else name,
        _key(f"{canonicalize_name(name)}-{version}" if version else canonicalize_name(name)),
    )


@dataclass(frozen=True, slots=True)
class PairRequest(Request):
    """Two releases of a package; ``text`` names both."""

    older: Request = field(kw_only=True)
    newer: Request = field(kw_only=True)


def pair_request(text: str) -> PairRequest:
    """Understand ``name==older..newer``.

    Raises:
        ValueError: it is something else; the message says so.
    """
    name, _, versions = text.strip().partition("==")
    older, dots, newer = (part.strip() for part in versions.partition(".."))
    if not (dots and _NAMED.fullmatch(f"{name}=={older}") and _NAMED.fullmatch(f"{name}=={newer}")):
        raise ValueError(f"{text!r} is not NAME==OLDER..NEWER, such as toolz==0.12.1..1.0.0")
    try:
        backwards = Version(older) >= Version(newer)
    except InvalidVersion as error:
        raise ValueError(f"{text!r}: {error}") from None
    if backwards:
        raise ValueError(f"{text!r}: {older} is no older release than {newer}: write NAME==OLDER..NEWER")
    first, second = request(f"{name}=={older}"), request(f"{name}=={newer}")
    return PairRequest(f"{first.text}..{newer}", _key(f"{first.key}-{newer}"), older=first, newer=second)


def _key(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip(".-") or "package"


def download(wanted: Request, environment: Environment, folder: Path) -> Path:
    """The source distribution, through pip and the user's own settings of indexes.

    Raises:
        Failed: there is none, or pip cannot bring it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    name = wanted.text.partition("==")[0]
    # Of this package only: what builds it may come as wheels.
    done = environment.pip("download", "--no-deps", "--no-binary", name, "--dest", folder, wanted.text)
    found = [path for path in folder.glob("*") if path.name.endswith(SUFFIXES)] if folder.is_dir() else []
    if done.code == 0 and len(found) == 1:
        return found[0]
    if done.code == 0:
        raise Failed("no sdist", "pip brought no archive that can be unpacked")
    if _NONE.search(done.output):
        raise Failed("no sdist", f"the index has no source distribution of {wanted.text}")
    raise Failed("does not build", last_line(done.output))
