"""Reading a file that a user or a repository named: a regular file (or a link to one) of a bounded size, and nothing else.

A pipe would wait for ever, a device may have no end, and to open one may do something. What is not read is told by an ``OSError``
as from ``open``, whose ``strerror`` says why.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

_STEP = 2**20
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"))

_KINDS = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))


class _System:
    """As it was at import: tests put others in the place of these. In a class, as pyfakefs looks through modules."""

    stat = staticmethod(os.stat)
    open = staticmethod(os.open)
    fstat = staticmethod(os.fstat)
    read = staticmethod(os.read)
    close = staticmethod(os.close)


def chunks(path: str | os.PathLike[str], most: int) -> Iterator[bytes]:
    """The bytes of a file, at most ``most`` of them, in steps.

    Raises:
        OSError: it is not there, cannot be read, is no file, or has more; after the steps before.
    """
    with _opened(path) as (descriptor, size):
        left = most if size <= most else -1
        while left >= 0 and (chunk := _System.read(descriptor, min(_STEP, max(size, 4095) + 1, left + 1))):
            left -= len(chunk)
            if left >= 0:
                yield chunk
        if left < 0:
            raise OSError(errno.EFBIG, f"it has more than {_size(most)}, and no more is read")


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """The file whole. Raises ``OSError`` as :func:`chunks`."""
    return b"".join(chunks(path, most))


def read_text(path: str | os.PathLike[str], most: int, encoding: str = "utf-8", errors: str = "strict") -> str:
    """The file as text, its line ends as they are. Raises ``OSError`` as :func:`chunks`, and ``UnicodeDecodeError``."""
    return read_bytes(path, most).decode(encoding, errors)


def lines(path: str | os.PathLike[str], most: int, longest: int) -> Iterator[str]:
    """The lines of a text without their ends, a file of ``most`` bytes and lines of ``longest`` at most.

    Raises ``OSError`` as :func:`chunks`, and ``UnicodeDecodeError``.
    """
    rest = b""
    for chunk in chunks(path, most):
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > longest:
            raise OSError(errno.EFBIG, f"it has a line of more than {_size(longest)}, and no more is read")
        for line in whole:
            yield line.decode()
    if rest:
        yield rest.decode()


def head(path: str | os.PathLike[str], size: int) -> bytes:
    """The first bytes of a file, however large. Raises ``OSError`` as :func:`chunks`."""
    with _opened(path) as (descriptor, _):
        return _System.read(descriptor, size)


def sha256(path: str | os.PathLike[str], most: int) -> str:
    """The hash of a file that is not kept in memory. Raises ``OSError`` as :func:`chunks`."""
    found = hashlib.sha256()
    for chunk in chunks(path, most):
        found.update(chunk)
    return found.hexdigest()


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[int, int]]:
    """A descriptor of a regular file, and its size."""
    _check(_System.stat(path).st_mode)  # before it is opened: that alone may wake a device
    descriptor = _System.open(path, _FLAGS)
    try:
        found = _System.fstat(descriptor)
        _check(found.st_mode)
        yield descriptor, found.st_size
    finally:
        _System.close(descriptor)


def _check(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    kind = next((name for is_one, name in _KINDS if is_one(mode)), "something else")
    raise OSError(errno.EINVAL, f"it is {kind}, not a file")


def _size(most: int) -> str:
    return f"{most // 2**20} MiB" if most >= 2**20 else f"{most} bytes"
