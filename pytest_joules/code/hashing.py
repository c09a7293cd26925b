"""Hashes of code and of files: sixteen hexadecimal digits."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

from pytest_joules.files import reading

#: Of one file that matters, so many bytes are read: a second or two.
_MOST_BYTES = 2**30


def digest(*parts: object) -> str:
    """For the representation of ``parts``."""
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def content_digest(content: bytes) -> str:
    """Of the bytes themselves."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def file_digest(path: Path) -> str:
    """Of a file's bytes, as :func:`content_digest`; of a very large one, of its size and time of change; ``"?"`` where it cannot
    be read."""
    found = hashlib.blake2b(digest_size=8)
    try:
        for chunk in reading.chunks(path, _MOST_BYTES):
            found.update(chunk)
    except ValueError:
        return "?"
    except OSError as error:
        if error.errno != errno.EFBIG:
            return "?"
        status = path.stat()
        return digest(status.st_size, status.st_mtime_ns)
    return found.hexdigest()
