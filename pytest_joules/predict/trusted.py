"""Models of others: offered by plugins, and files that only joblib or pickle can read.

Reading such a file runs whatever it says. So it is read only where somebody named its SHA-256, and the very bytes that were
hashed are the ones that are read. Only the command line names it: an ini file or ``addopts``, which the repository under test
could have written itself, vouches for nothing.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from pathlib import Path

from pytest_joules.files import checked, reading
from pytest_joules.predict.model import ModelError
from pytest_joules.predict.protocol import Predictor

OPTION = "--energy-trust-model"

#: Bytes of a file that joblib is to read.
MOST_TRUSTED = 256 * 2**20


def load_trusted(path: str | os.PathLike[str], sha256: str | None, option: str = OPTION) -> Predictor:
    """The predictor in a file of joblib or pickle whose SHA-256 somebody named with ``option``.

    Raises:
        ModelError: nobody did, it is another file's, or what is in there is no predictor.
    """
    place = Path(path)
    if sha256 is None:
        raise ModelError(
            f"the model {place} is no file of numbers but one that runs code when it is read: if you trust it, "
            f"say so with {option}=SHA256 (sha256sum {place.name} shows it)"
            if place.exists()
            else f"there is no model {place}: name a file that is there, or make one with joules train"
        )
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ModelError(f"{option}={checked.shown(sha256)}: this is no SHA-256, which has 64 hexadecimal digits")
    try:
        # Not kept before it is known to be the one: whatever else it is, it may be large.
        data, found = b"", reading.sha256(place, MOST_TRUSTED)
        if found == sha256.lower():
            data = reading.read_bytes(place, MOST_TRUSTED)
            found = hashlib.sha256(data).hexdigest()
    except FileNotFoundError:
        raise ModelError(f"there is no model {place}: name a file that is there, or make one with joules train") from None
    except OSError as error:
        raise ModelError(f"the model {place} cannot be read: {error.strerror or error}") from None
    if found != sha256.lower():
        raise ModelError(f"the model {place} was not read: its SHA-256 is {found}, not the one named with {option}")
    return checked_predictor(_read(data, place), f"the model {place}")


def _read(data: bytes, place: Path) -> object:
    import joblib

    try:
        found: object = joblib.load(io.BytesIO(data))
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ModelError(
            f"the model {place} cannot be read by joblib ({what}): make it anew with what is installed here"
        ) from None
    return found


def checked_predictor(found: object, what: str) -> Predictor:
    """``found``, which must be a predictor.

    Raises:
        ModelError: it is none.
    """
    name = getattr(found, "name", None)
    if not isinstance(name, str) or not name.strip() or not isinstance(found, Predictor) or isinstance(found, type):
        raise ModelError(f"{what} is no predictor but a {type(found).__name__}: it needs a name and predict(questions)")
    return found
