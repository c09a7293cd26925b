"""Which tests may not stand on both sides of a cross validation.

Splitting by test ids leaks: parametrisations of one function, and tests that were copied, cost the same and look the same. So
tests are split by project where there are enough projects, and otherwise by function: a test function with all its
parametrisations, and all test functions whose code is the same but for their names and docstrings, stay together.
"""

from __future__ import annotations

import ast
from collections.abc import Hashable, Sequence

import numpy as np

from pytest_joules.predict.facts.of_test import TestFacts, test_place
from pytest_joules.predict.scoring.arrays import Array

#: With fewer projects than this, what a new project costs cannot be told: split by function.
FEWEST_PROJECTS = 5


def same_code(source: str) -> str:
    """A text that is the same for two functions that differ in name, docstring, decorators, comments or layout alone."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.name, node.decorator_list = "_", []
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def by_function(facts: Sequence[TestFacts], projects: Sequence[str]) -> Array:
    """A number for each test: that of its group of functions (see above). Projects that share a copied test share its group."""
    parent = list(range(len(facts)))

    def find(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first: dict[Hashable, int] = {}
    code: dict[str, str] = {}
    for place, (one, project) in enumerate(zip(facts, projects, strict=True)):
        keys: list[Hashable] = [(project, test_place(one.nodeid))]
        text = one.sources.get(one.test) if one.test is not None else None
        if text is not None:
            if text not in code:
                code[text] = same_code(text)
            keys.append(code[text])
        for key in keys:
            parent[find(place)] = find(first.setdefault(key, place))
    return _numbered([find(place) for place in range(len(facts))])


def by_project(projects: Sequence[str]) -> Array:
    """A number for each test: that of its project."""
    return _numbered(projects)


def folds(groups: Array, number: int, seed: int = 0) -> Array:
    """The fold (0 to ``number`` - 1) of each row: groups whole, folds about equally large."""
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled = np.zeros(min(number, len(sizes)))
    fold_of = np.zeros(len(sizes), dtype=np.intp)
    for group in order:
        fold_of[group] = int(filled.argmin())
        filled[fold_of[group]] += sizes[group]
    result: Array = fold_of[groups]
    return result


def _numbered(keys: Sequence[Hashable]) -> Array:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)
