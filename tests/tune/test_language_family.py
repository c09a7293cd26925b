"""The language model as one more family of a search."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tiny_bert
import tuned

from pytest_joules.collect import dataset
from pytest_joules.language_model import base
from pytest_joules.predict.model import ModelError
from pytest_joules.tune import language
from pytest_joules.tune.configurations import Configuration
from pytest_joules.tune.problem import problem, sample


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pytest_joules.language_model.extra.find_spec", lambda name: None)
    given = problem(list(dataset.rows(tuned.write(tmp_path / "data"))), 0)
    with pytest.raises(ModelError, match="the language model needs torch, transformers, peft: pip install"):
        language.Language(given)


@pytest.mark.slow
def test_it_is_fitted_without_a_fold_and_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if find_spec("torch") is None:
        pytest.skip("torch is not installed: pip install 'pytest-joules[lora]'")
    folder = tiny_bert.make(tmp_path / "base")
    monkeypatch.setattr(language, "_SIZES", ((2, 1, 16, 1),))
    monkeypatch.setattr(base, "find", lambda folder_=None, find=base.find: find(folder))
    given = problem(list(dataset.rows(tuned.write(tmp_path / "data", each=6))), 0)
    family = language.Language(given)
    (unit,) = family.units()
    assert Configuration.from_record(unit.as_record()) == unit and unit.label == "lora 16x2x1x1 source"
    out = np.flatnonzero(given.fold == 0)
    inside = np.flatnonzero(given.fold != 0)
    said = family.fold(unit)(inside, out)
    assert said.shape == out.shape and np.array_equal(said, family.fold(unit)(inside, out))
    assert given.truth[inside].min() <= said.min() and said.max() <= given.truth[inside].max()
    fitted = family.whole(unit, given.truth, np.arange(len(given.rows)))
    batch = sample(given)[0].static()
    assert fitted.predict(batch.asked, batch.measured).shape == (len(batch.asked),)
    # Two matrices of rank 2 at each of query and value, and a head, of 32-bit numbers.
    assert fitted.stored == 4 * (2 * (2 * 32 + 32 * 2) + 32 + 1)
