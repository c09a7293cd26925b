"""What the history keeps of the code besides hashes: the source of functions, and which files were read as they are."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterable

from pytest_joules.code.hashing import file_digest
from pytest_joules.code.project import Project

#: Characters of a statement (tables written as Python) and of a function (a page of documentation in it): more are not kept.
MOST_STATEMENT, MOST_FUNCTION = 20_000, 100_000


def source(project: Project, key: str) -> str | None:
    """The source of a function or of a statement of a module, by its key in a record (``path::qualname``); ``None`` where there
    is none."""
    path, separator, name = key.partition("::")
    file = project.file(path) if separator else None
    if file is None:
        return None
    function = not name.startswith("<module>")
    text = file.text(name if function else name.removeprefix("<module>").strip(), function=function)
    return text if text is not None and len(text) <= (MOST_FUNCTION if function else MOST_STATEMENT) else None


def unchanged_since(project: Project, paths: Iterable[str], before: float) -> set[str]:
    """Those files that were not changed since ``before`` (seconds of the epoch): of the others, what ran may have been something
    else."""
    found = set()
    for path in paths:
        with contextlib.suppress(OSError):
            if project.path(path).stat().st_mtime < before:
                found.add(path)
    return found


def sources(project: Project, pairs: Iterable[tuple[str, str]], paths: Container[str]) -> dict[tuple[str, str], str]:
    """The sources of keys with their hashes, of those in the given files."""
    texts = ((pair, source(project, pair[0])) for pair in pairs if pair[0].partition("::")[0] in paths)
    return {pair: text for pair, text in texts if text is not None}


def digests(project: Project, paths: Iterable[str]) -> dict[str, str]:
    """Hashes of files, by path."""
    return {path: file_digest(project.path(path)) for path in sorted(paths)}
