"""A file of numbers, of which reading runs nothing: a zip archive of ``manifest.json`` and arrays in numpy's format (``.npz``).

No pickle is ever read. The hash in the manifest finds a file that was damaged or edited; it is no signature: who can write the
file can write its hash.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from pytest_joules.files import atomic, checked, reading
from pytest_joules.files.checked import Bad
from pytest_joules.predict.scoring.arrays import Array

#: Bytes of a file, of what is in it, and of its manifest. A model of 100,000 features has 20 MiB.
MOST_PACKED = 32 * 2**20
MOST_UNPACKED = 96 * 2**20
_MOST_MANIFEST = 2**20

#: Arrays in a file, and numbers in all of them, which take eight bytes each when they are looked at.
_MOST_MEMBERS = 1000
_MOST_NUMBERS = 16 * 2**20

_MANIFEST = "manifest.json"

#: What is written down about arrays: little-endian, so that a hash is the same everywhere.
_KINDS = "biuf"


def write(
    path: str | os.PathLike[str], manifest: Mapping[str, object], arrays: Mapping[str, Array], what: str, inside: Sequence[Path]
) -> None:
    """Write the file, whole or not at all, and not out of the folders ``inside``; missing ones are made. ``what`` it is, for
    the message.

    Raises:
        ReportPathError: it cannot be written.
    """
    plain = {name: np.asarray(array) for name, array in sorted(arrays.items())}
    plain = {name: np.array(array, dtype=array.dtype.newbyteorder("<"), order="C") for name, array in plain.items()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        text = json.dumps({**manifest, "hash": hash_of(manifest, plain)}, indent=1, allow_nan=False)
        archive.writestr(zipfile.ZipInfo(_MANIFEST), text, zipfile.ZIP_DEFLATED)
        for name, array in plain.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)

    def writer(file: TextIO) -> None:
        file.buffer.write(packed.getvalue())  # a text file on top of a binary one

    atomic.atomically(path, writer, what, inside)


def hash_of(manifest: Mapping[str, object], arrays: Mapping[str, Array]) -> str:
    """Of the file's content but for the hash itself."""
    found = hashlib.blake2b(digest_size=32)
    given = {key: value for key, value in manifest.items() if key != "hash"}
    found.update(json.dumps(given, sort_keys=True, separators=(",", ":")).encode())
    for name, array in sorted(arrays.items()):
        found.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.ravel().view(np.uint8).data)
    return found.hexdigest()


def schema_of(path: str | os.PathLike[str]) -> str | None:
    """What a file says that it is; ``None`` where it says nothing that can be read, which :func:`read` will say."""
    try:
        if reading.head(path, 4) != b"PK\x03\x04":
            return None
        with zipfile.ZipFile(path) as archive, archive.open(_MANIFEST) as member:
            found = checked.decode(member.read(_MOST_MANIFEST).decode()).get("schema")
    except Exception:  # as in read()
        return None
    return found if isinstance(found, str) else None


def read(path: Path, schema: str, what: str) -> tuple[Mapping[str, object], dict[str, Array]]:
    """The manifest, whose ``schema`` is that, and the arrays. ``what`` the file should be, for the message.

    Raises:
        OSError: it cannot be read.
        Bad: it is no such file.
    """
    data = reading.read_bytes(path, MOST_PACKED)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check(members, what)
            # Read up to the size that the directory says, whatever else is in there; the checksum tells.
            parts = {member.filename: archive.read(member) for member in members}
    except Bad:
        raise
    except Exception:  # zipfile believes what a directory says of places and sizes, and stumbles in many ways
        whole = data[:4] != b"PK\x03\x04"
        raise Bad(f"is no {what} file (a zip archive of numbers)" if whole else "is damaged: it is not whole") from None
    text = parts.pop(_MANIFEST, None)
    if text is None:
        raise Bad(f"is no {what} file: it has no {_MANIFEST}")
    manifest = _manifest(text, schema)
    arrays = {}
    for name, part in parts.items():
        with checked.within(name):
            arrays[name.removesuffix(".npy")] = _array(part)
    if (numbers := sum(array.size for array in arrays.values())) > _MOST_NUMBERS:
        raise Bad(f"holds {numbers} numbers, and no {what} of ours more than {_MOST_NUMBERS}")
    if checked.required(manifest, "hash", str) != hash_of(manifest, arrays):
        raise Bad("was changed after it was written, or is damaged: its hash does not fit")
    return manifest, arrays


def _check(members: list[zipfile.ZipInfo], what: str) -> None:
    names = [member.filename for member in members]
    size = sum(member.file_size for member in members)
    if size > MOST_UNPACKED:
        raise Bad(f"would unpack to {size / 2**20:.0f} MiB, and no {what} of ours to more than {MOST_UNPACKED // 2**20}")
    if len(names) > _MOST_MEMBERS or len(set(names)) < len(names):
        raise Bad(f"is no {what} file: it holds too many files, or two of one name")
    if other := [name for name in names if name != _MANIFEST and not name.endswith(".npy")]:
        raise Bad(f"is no {what} file: it holds {checked.shown(other[0])}")
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
        raise Bad(f"is no {what} file: it is packed in another way than ours")
    if any(member.filename == _MANIFEST and member.file_size > _MOST_MANIFEST for member in members):
        raise Bad(f"has a {_MANIFEST} of more than {_MOST_MANIFEST // 2**20} MiB")


def _manifest(text: bytes, schema: str) -> Mapping[str, object]:
    try:
        if not text.lstrip().startswith(b"{"):
            raise Bad("is no JSON object")
        manifest = checked.decode(text.decode())
    except (Bad, UnicodeDecodeError) as error:
        what = str(error) if isinstance(error, Bad) else "is no text"
        raise Bad(f"has a {_MANIFEST} that {what}") from None
    if manifest.get("schema") != schema:
        raise Bad(f"has the schema {checked.shown(manifest.get('schema'))}, and this version reads {schema}")
    return manifest


def _array(data: bytes) -> Array:
    """numpy's own reader makes room for what the header says before it looks at what there is."""
    file = io.BytesIO(data)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = read_header[version](file)
    except Exception:  # numpy reads the header as Python's tokenizer and parser do, with all that these may raise
        raise Bad("is no array") from None
    if dtype.kind not in _KINDS or dtype.hasobject or fortran or dtype.itemsize > 8:
        raise Bad(f"is an array of {dtype}, not of plain numbers")
    if math.prod(shape) * dtype.itemsize != len(data) - file.tell() or min(shape, default=0) < 0:
        raise Bad("is an array of another size than it says")
    return np.frombuffer(data, dtype=dtype, offset=file.tell()).reshape(shape)
