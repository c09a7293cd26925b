"""Asking a language model in a process of its own: the tests that are measured shall not run beside its libraries, threads and
memory, and what it tells these (to fetch nothing) holds for nobody else.

It has texts as a JSON list on its standard input, and prints as JSON what the network says of each (a list of numbers
in the order of the targets), or ``{"error": sentence}``.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pytest_joules.language_model import base, model
from pytest_joules.language_model.model import LanguageModel
from pytest_joules.language_model.network import Network
from pytest_joules.predict.model import ModelError
from pytest_joules.predict.scoring.arrays import Array

#: Nothing of the folder that pytest runs in is taken for a library.
_PROGRAM = """
import sys
if sys.path[:1] == [""]:
    del sys.path[0]
from pytest_joules.language_model.scoring import main
sys.exit(main(sys.argv[1]))
"""

#: Seconds to load all that is needed, and for each text, before an answer is not waited for any longer.
_PATIENCE, _EACH = 120.0, 2.0


def asked(path: Path, texts: Sequence[str]) -> Array:
    """Texts x targets, as the network of the file says them.

    Raises:
        ModelError: it could not be asked.
    """
    command = [sys.executable, "-c", _PROGRAM, str(path)]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(list(texts)),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=_PATIENCE + _EACH * len(texts),
            check=False,
        )
        found = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        what = f"no answer after {error.timeout:.0f} s" if isinstance(error, subprocess.TimeoutExpired) else f"{error}"
        if isinstance(error, ValueError):
            what = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ModelError(f"the language model {path} could not be asked ({what})") from None
    if isinstance(found, dict):
        raise ModelError(str(found["error"]))
    said = np.array(found, float)
    if said.ndim != 2 or len(said) != len(texts) or not np.isfinite(said).all():
        raise ModelError(f"the language model {path} answered what is no number")
    return said


def said_of(found: LanguageModel, texts: Sequence[str]) -> Array:
    """The same in this process.

    Raises:
        ModelError: what is needed is not there.
    """
    network = Network(base.same(found.base), found.settings, len(found.targets))
    network.take(found.numbers)
    return network.score(network.tokens(texts))


def main(path: str) -> int:
    """Answer. Exit code 1 where that is not possible."""
    texts = json.load(sys.stdin)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library has to say
            answer: object = said_of(model.load(Path(path)), texts).tolist()
    except ModelError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)
    return int(isinstance(answer, dict))
