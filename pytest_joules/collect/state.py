"""What a collection has come to, on the disk: one small file a finished package, and the lists made of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TextIO

from pytest_joules.collect import SCHEMA
from pytest_joules.collect.package import Outcome
from pytest_joules.files import atomic, reading


class State:
    """The folder of a collection.

    ``finished/KEY.json`` says that a package is finished, well or not; ``failures.jsonl`` and ``manifest.json`` are made of
    these.
    """

    def __init__(self, out: Path, facts: Mapping[str, object], schema: str = SCHEMA, kind: type[Outcome] = Outcome) -> None:
        self.out = out
        self._schema, self._kind = schema, kind
        self._facts = facts
        """Of the latest run, for the manifest."""
        self._finished = out / "finished"

    def note(self, key: str) -> Path:
        """The file that says that a package is finished."""
        return self._finished / f"{key}.json"

    def finished(self, key: str) -> Outcome | None:
        """What came of a package in this or an earlier run; ``None`` for one that is still to be collected."""
        try:
            found = json.loads(reading.read_text(self.note(key), 16 * 2**20))
            return self._kind(**found)
        except (OSError, ValueError, TypeError):
            return None

    def finish(self, key: str, outcome: Outcome) -> None:
        """Note that a package is finished.

        Raises:
            pytest_joules.files.atomic.ReportPathError: it cannot be written.
        """
        self._write(self.note(key), json.dumps(outcome.as_record(), indent=1) + "\n")

    def outcomes(self) -> list[Outcome]:
        """Of every finished package, by name."""
        found = (self.finished(path.stem) for path in sorted(self._finished.glob("*.json")))
        return [outcome for outcome in found if outcome is not None]

    def summarise(self) -> None:
        """Write ``failures.jsonl`` and ``manifest.json`` anew.

        Raises:
            pytest_joules.files.atomic.ReportPathError: they cannot be written.
        """
        outcomes = self.outcomes()
        failures: Iterable[Outcome] = (outcome for outcome in outcomes if outcome.reason is not None)
        keys = ("package", "version", "reason", "detail", "tests", "seconds")
        lines = [json.dumps({key: outcome.as_record()[key] for key in keys}) + "\n" for outcome in failures]
        self._write(self.out / "failures.jsonl", "".join(lines))
        measured = [outcome for outcome in outcomes if outcome.tests]
        totals = {
            "packages": len(measured),
            "failures": len(lines),
            "tests": sum(outcome.tests for outcome in measured),
            "repetitions": sum(outcome.repetitions for outcome in measured),
        }
        manifest = {
            "schema": self._schema,
            **self._facts,
            "totals": totals,
            "packages": [outcome.as_record() for outcome in outcomes],
        }
        self._write(self.out / "manifest.json", json.dumps(manifest, indent=1) + "\n")

    @staticmethod
    def _write(path: Path, text: str) -> None:
        def writer(file: TextIO) -> None:
            file.write(text)

        atomic.atomically(path, writer, "data set's state")
