"""Tests whose cost is a known function of words in their source, as rows and as a data set, and a model's numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pytest_joules.collect import SCHEMA
from pytest_joules.language_model.model import LanguageModel
from pytest_joules.language_model.network import names_of
from pytest_joules.language_model.settings import Settings
from pytest_joules.predict.facts.of_test import TestFacts, test_place
from pytest_joules.predict.model import Model
from pytest_joules.predict.scoring.conformal import Conformal
from pytest_joules.predict.train.level import Row

#: Decades of joules, by the word that the test's source has.
COSTS = {"quick": -3.0, "middle": -2.0, "heavy": -1.0}
WORDS = ("def", "test", "return", "work", "assert", "(", ")", ":", "_", "parameters", *COSTS, *"0123456789")

SMALL = Settings(rank=4, layers=2, tokens=32, epochs=3, seed=1)


def rows(projects: Sequence[str] = "abcdef", each: int = 24, noise: float = 0.05) -> list[Row]:
    """Tests of projects; what is not their word says nothing of their cost."""
    chance = np.random.default_rng(5)
    made = []
    for project in projects:
        for number in range(each):
            word = list(COSTS)[int(chance.integers(3))]
            cost = COSTS[word] + float(chance.normal(0, noise))
            nodeid = f"tests/test_{project}.py::test_{number}"
            place = test_place(nodeid)
            own = f"def test_{number}():\n    assert {word}({word}({word}({word}({number}))))\n"
            sources = {place: own, "work.py::work": "def work():\n    return 1\n"}
            facts = TestFacts(nodeid, sources, {place: [1, 1], "work.py::work": [1, 1]}, place, "")
            made.append(Row(facts, project, {"joules": cost, "seconds": cost - 1, "tsc": cost + 9}))
    return made


def data_set(folder: Path, made: Sequence[Row]) -> Path:
    """The same as ``joules collect`` writes it."""
    (folder / "records").mkdir(parents=True)
    lines: dict[str, list[object]] = {}
    for number, row in enumerate(made):
        of = lines.setdefault(row.project, [{"kind": "package", "schema": SCHEMA}])
        ids = {place: 10 * number + at for at, place in enumerate(row.facts.sources)}
        for place, identity in ids.items():
            of.append(
                {"kind": "function", "id": identity, "place": place, "hash": f"h{number}", "source": row.facts.sources[place]}
            )
        joules, seconds, ticks = (10 ** row.log10[target] for target in ("joules", "seconds", "tsc"))
        of.append(
            {
                **{"kind": "test", "package": row.project, "nodeid": row.facts.nodeid, "outcome": "passed", "other_calls": None},
                "functions": [[identity, identity] for identity in ids.values()],
                "counts": {str(identity): row.facts.counts[place] for place, identity in ids.items()},
                "repetitions": {"duration": [seconds] * 5, "tsc": [ticks] * 5, "energy": [joules] * 5},
            }
        )
    for project, of in lines.items():
        (folder / "records" / f"{project}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in of))
    return folder


def base_folder(folder: Path, **config: object) -> Path:
    """A base model without weights: what there is to be said of it can be said."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 2, "max_position_embeddings": 64, **config}
    (folder / "config.json").write_text(json.dumps(said))
    (folder / "model.safetensors").write_bytes(b"none")
    return folder


def language_model(base: dict[str, object], settings: Settings = SMALL, hidden: int = 8) -> LanguageModel:
    """One of numbers by chance, that nobody trained."""
    chance = np.random.default_rng(0)
    numbers = {
        name: chance.normal(size=(settings.rank, hidden) if name.endswith("A") else (hidden, settings.rank)).astype(np.float32)
        for name in names_of(settings)
    }
    numbers |= {"head.weight": np.zeros((2, hidden), np.float32), "head.bias": np.array([0.5, 0.0], np.float32)}
    return LanguageModel(
        settings,
        base,
        "source",
        ("joules", "seconds"),
        numbers,
        np.array([-2.0, -3.0]),
        np.array([1.0, 1.0]),
        np.array([[-3.0, -1.0], [-4.0, -2.0]]),
        {name: Conformal.fit(np.zeros(20), np.linspace(-1, 1, 20)) for name in ("joules", "seconds")},
        {"prediction": 0.02, "start": 5.0},
        Model("change", summary={"tests": 20, "projects": 5}, error={}),
    )
