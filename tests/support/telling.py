"""Inner tests that tell what they do."""

from __future__ import annotations

import textwrap

import loaded  # noqa: F401 - so that runs in this process need not import it all each time
import pytest

ENERGY = ("-p", "pytest_joules.plugin", "--energy")
ROUNDS = (*ENERGY, "--energy-rounds=3", "--energy-warmup=1", "-p", "no:cacheprovider")

#: Each test appends to this file what it does, so that what happened can be read afterwards.
TELL = """
from pathlib import Path

def tell(what):
    with open(Path(__file__).parent / "told", "a") as told:
        told.write(what + "\\n")
"""


def told(pytester: pytest.Pytester) -> list[str]:
    path = pytester.path / "told"
    return path.read_text().splitlines() if path.exists() else []


def make(pytester: pytest.Pytester, source: str) -> None:
    pytester.makepyfile(teller=TELL)
    pytester.makepyfile("import pytest\nfrom teller import tell\n" + textwrap.dedent(source))
