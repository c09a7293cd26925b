"""The representations of a test: each from its facts to numbers by name, the same for the same facts on every machine.

All numbers are raw; models take logarithms. A source that does not parse adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pytest_joules.code import sums
from pytest_joules.predict.facts.executed import executed
from pytest_joules.predict.facts.feature_names import NAMES
from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.facts.syntax import parameter_sizes, syntax
from pytest_joules.predict.facts.tokens import parameter_words, tokens

#: Of the names and what their values mean: a model learnt on others cannot be used.
SCHEMA = "pytest-joules-features/3"

_Sparse = tuple[NDArray[np.intp], NDArray[np.float64]]


def of_source(facts: TestFacts) -> dict[str, float]:
    """How often each word occurs: ``test:WORD`` in the test itself, ``path:WORD`` in everything else in its path; numbers and
    texts by their size. ``parameter:WORD`` of what stands in the brackets of its name."""
    found = _summed(facts, _words)
    found.update((f"parameter:{word}", count) for word, count in parameter_words(facts.parameters).items())
    return found


def of_ast(facts: TestFacts) -> dict[str, float]:
    """Counts over syntax trees (:mod:`pytest_joules.predict.facts.syntax`): ``test:NAME`` of the test itself, ``path:NAME`` of
    everything else in its path; ``parameter:1eN``, the numbers in the brackets of its name by size."""
    found = _summed(facts, _nodes)
    found.update(parameter_sizes(facts.parameters))
    return found


#: By name, what makes each.
REPRESENTATIONS: Mapping[str, Callable[[TestFacts], dict[str, float]]] = {
    "source": of_source,
    "ast": of_ast,
    "bytecode": executed,
    "calls": lambda facts: sums.calls(facts.counts),
    "counts": lambda facts: sums.counted(facts.counts),
    "text": lambda facts: sums.text(facts.sources, facts.test),
}


def _summed(facts: TestFacts, counted: Callable[[str, bool], _Sparse]) -> dict[str, float]:
    rows = [counted(text, own) for text, own in _own(facts)]
    return NAMES.summed([numbers for numbers, _ in rows], [values for _, values in rows])


def _own(facts: TestFacts) -> Iterator[tuple[str, bool]]:
    """The sources, and whether each is of the test itself or of a function in it."""
    test = facts.test
    inside = f"{test}."
    for place, text in facts.sources.items():
        yield text, test is not None and (place == test or place.startswith(inside))


@lru_cache(maxsize=32_768)
def _words(text: str, own: bool) -> _Sparse:
    return _prefixed(tokens(text), own)


@lru_cache(maxsize=32_768)
def _nodes(text: str, own: bool) -> _Sparse:
    return _prefixed(syntax(text), own)


def _prefixed(counts: Mapping[str, float], own: bool) -> _Sparse:
    prefix = "test:" if own else "path:"
    return NAMES.sparse({f"{prefix}{name}": value for name, value in counts.items()})
