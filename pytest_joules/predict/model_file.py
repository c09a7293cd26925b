"""A model as a file of numbers: loading it runs nothing.

A zip archive of ``manifest.json`` and arrays in numpy's format (``.npz``). No pickle is ever read. The hash in the manifest finds
a file that was damaged or edited; it is no signature: who can write the file can write its hash.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import platform
import zipfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO, cast

import numpy as np

from pytest_joules import __version__
from pytest_joules.files import checked, reading
from pytest_joules.files.checked import Bad
from pytest_joules.predict.level.model import LevelModel, within
from pytest_joules.predict.model import LearnedFrom, Model, ModelError
from pytest_joules.predict.scoring.arrays import Array
from pytest_joules.predict.scoring.conformal import Conformal

SCHEMA = "pytest-joules-model/1"


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


# Written


def save(path: str | os.PathLike[str], model: Model, inside: Sequence[Path] = ()) -> None:
    """Write the file, whole or not at all, and not out of these folders; missing ones are made.

    Raises:
        ModelError: it cannot be written.
    """
    from pytest_joules.files import atomic
    from pytest_joules.predict.facts.features import SCHEMA as FEATURES

    arrays = _arrays(model)
    manifest = {
        "schema": SCHEMA,
        "name": model.name,
        "features": FEATURES,
        "levels": {
            key: {"kind": level.regressor.kind, "representations": list(level.representations)}
            for key, level in model.level.items()
        },
        "change": model.change is not None,
        "last": model.last is not None,
        "summary": dict(model.summary),
        "error": dict(model.error),
        "created": model.created or datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "plugin": __version__,
        "python": platform.python_version(),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        text = json.dumps(manifest | {"hash": _hash(manifest, arrays)}, indent=1, allow_nan=False)
        archive.writestr(zipfile.ZipInfo(_MANIFEST), text, zipfile.ZIP_DEFLATED)
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)

    def writer(file: TextIO) -> None:
        file.buffer.write(packed.getvalue())  # a text file on top of a binary one

    try:
        atomic.atomically(path, writer, "model", inside)
    except atomic.ReportPathError as error:
        raise ModelError(str(error)) from None


def _arrays(model: Model) -> dict[str, Array]:
    parts: dict[str, Mapping[str, Array]] = {f"level.{key}": level.arrays() for key, level in model.level.items()}
    if model.change is not None:
        parts["change"] = model.change.arrays()
    if model.last is not None:
        parts["last"] = model.last.arrays()
    found = {f"{part}.{name}": np.asarray(array) for part, arrays in parts.items() for name, array in arrays.items()}
    return {name: np.array(array, dtype=array.dtype.newbyteorder("<"), order="C") for name, array in sorted(found.items())}


def _hash(manifest: Mapping[str, object], arrays: Mapping[str, Array]) -> str:
    found = hashlib.blake2b(digest_size=32)
    given = {key: value for key, value in manifest.items() if key != "hash"}
    found.update(json.dumps(given, sort_keys=True, separators=(",", ":")).encode())
    for name, array in sorted(arrays.items()):
        found.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.ravel().view(np.uint8).data)
    return found.hexdigest()


# Read


def is_numbers(path: str | os.PathLike[str]) -> bool:
    """Whether a file may be one of ours (a zip archive), rather than one that only joblib or pickle can read."""
    try:
        return reading.head(path, 4) == b"PK\x03\x04"
    except OSError:
        return True  # load() says what is wrong with it


def load(path: str | os.PathLike[str]) -> Model:
    """The model in a file.

    Raises:
        ModelError: there is none, or it is no model for this version of the plugin.
    """
    place = Path(path)
    try:
        return _model(*_unpacked(reading.read_bytes(place, MOST_PACKED)))
    except FileNotFoundError:
        raise ModelError(f"there is no model {place}: make one with joules train") from None
    except OSError as error:
        raise ModelError(f"the model {place} cannot be read: {error.strerror or error}") from None
    except Bad as error:
        raise ModelError(f"the model {place} {error}: make a new one with joules train") from None


def _unpacked(data: bytes) -> tuple[Mapping[str, object], dict[str, Array]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check(members)
            # Read up to the size that the directory says, whatever else is in there; the checksum tells.
            parts = {member.filename: archive.read(member) for member in members}
    except Bad:
        raise
    except Exception:  # zipfile believes what a directory says of places and sizes, and stumbles in many ways
        whole = data[:4] != b"PK\x03\x04"
        raise Bad("is no model file (a zip archive of numbers)" if whole else "is damaged: it is not whole") from None
    text = parts.pop(_MANIFEST, None)
    if text is None:
        raise Bad(f"is no model file: it has no {_MANIFEST}")
    manifest = _manifest(text)
    arrays = {}
    for name, part in parts.items():
        with checked.within(name):
            arrays[name.removesuffix(".npy")] = _array(part)
    if (numbers := sum(array.size for array in arrays.values())) > _MOST_NUMBERS:
        raise Bad(f"holds {numbers} numbers, and no model of ours more than {_MOST_NUMBERS}")
    if checked.required(manifest, "hash", str) != _hash(manifest, arrays):
        raise Bad("was changed after it was written, or is damaged: its hash does not fit")
    return manifest, arrays


def _check(members: list[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    size = sum(member.file_size for member in members)
    if size > MOST_UNPACKED:
        raise Bad(f"would unpack to {size / 2**20:.0f} MiB, and no model of ours to more than {MOST_UNPACKED // 2**20}")
    if len(names) > _MOST_MEMBERS or len(set(names)) < len(names):
        raise Bad("is no model file: it holds too many files, or two of one name")
    if other := [name for name in names if name != _MANIFEST and not name.endswith(".npy")]:
        raise Bad(f"is no model file: it holds {checked.shown(other[0])}")
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
        raise Bad("is no model file: it is packed in another way than ours")
    if any(member.filename == _MANIFEST and member.file_size > _MOST_MANIFEST for member in members):
        raise Bad(f"has a {_MANIFEST} of more than {_MOST_MANIFEST // 2**20} MiB")


def _manifest(text: bytes) -> Mapping[str, object]:
    from pytest_joules.predict.facts.features import SCHEMA as FEATURES

    try:
        if not text.lstrip().startswith(b"{"):
            raise Bad("is no JSON object")
        manifest = checked.decode(text.decode())
    except (Bad, UnicodeDecodeError) as error:
        what = str(error) if isinstance(error, Bad) else "is no text"
        raise Bad(f"has a {_MANIFEST} that {what}") from None
    if manifest.get("schema") != SCHEMA:
        raise Bad(f"has the schema {checked.shown(manifest.get('schema'))}, and this version reads {SCHEMA}")
    if manifest.get("features") != FEATURES:
        found = checked.shown(manifest.get("features"))
        raise Bad(f"was trained on other features (version {found}) than this version computes ({FEATURES})")
    return manifest


def _array(data: bytes) -> Array:
    """numpy's own reader makes room for what the header says before it looks at what there is."""
    file = io.BytesIO(data)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = read[version](file)
    except Exception:  # numpy reads the header as Python's tokenizer and parser do, with all that these may raise
        raise Bad("is no array") from None
    if dtype.kind not in _KINDS or dtype.hasobject or fortran or dtype.itemsize > 8:
        raise Bad(f"is an array of {dtype}, not of plain numbers")
    if math.prod(shape) * dtype.itemsize != len(data) - file.tell() or min(shape, default=0) < 0:
        raise Bad("is an array of another size than it says")
    return np.frombuffer(data, dtype=dtype, offset=file.tell()).reshape(shape)


def _model(manifest: Mapping[str, object], arrays: dict[str, Array]) -> Model:
    level = {}
    for key, facts in checked.required(manifest, "levels", dict).items():
        if not isinstance(facts, dict):
            raise Bad(f"'levels' holds {checked.shown(facts)}")
        representations = checked.list_of(facts, "representations", str)
        level[key] = LevelModel.from_arrays(checked.required(facts, "kind", str), representations, within(arrays, f"level.{key}"))
    change = None
    if checked.required(manifest, "change", bool):
        from pytest_joules.predict.change.model import ChangeModel

        error = checked.required(manifest, "error", dict).get("change")
        change = ChangeModel.from_arrays(within(arrays, "change"), error if isinstance(error, dict) else None)
    last = Conformal.from_arrays(within(arrays, "last")) if checked.required(manifest, "last", bool) else None
    return Model(
        checked.required(manifest, "name", str),
        level,
        change,
        last,
        cast("LearnedFrom", checked.required(manifest, "summary", dict)),
        checked.required(manifest, "error", dict),
        checked.required(manifest, "created", str),
    )
