"""Variants of functions do what the function did: on small programs with any input, and they are the kinds they say."""

from __future__ import annotations

import ast
import functools
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_joules.explore.dearer import DEARER
from pytest_joules.explore.neutral import NEUTRAL
from pytest_joules.explore.rewriting import Variant, find, functions, pure, variants

PROGRAM = '''
import functools
import re

WORDS = re.compile(r"[a-z]+|[0-9]+")
NAMES = {"a": "first", "b": "second", "c": "third"}
LIMIT = 3


def double(number):
    """Twice as much."""
    return number * 2


@functools.lru_cache(maxsize=None)
def squares(count):
    total = 0
    for index in range(count):
        total += index * index
    return total


def unique(values):
    """Every value once,

      in order."""
    seen = set()
    result = []
    for value in values:
        if value not in seen:
            seen.add(value)
            result.append(value)
    return result


def large(values):
    found = []
    for value in values:
        if value > LIMIT:
            found.append(double(value))
    return sorted(found)


def described(values):
    names = [f"{value}: {NAMES.get(str(value), value)!r}" for value in values if value]
    text = ", ".join(names)
    parts = {len(name) for name in names}
    size = len(text) + len(parts)
    return f"{text} ({size})" if size > 2 else text


def sign(values):
    total = sum(values)
    if total > 0 and len(values) > 1:
        word = "more"
    elif total == 0:
        return "none"
    else:
        word = "less"
    if not (word == "more" or len(values) < 2):
        word = word.upper()
    return word + str(total)


def halves(values):
    middle = len(values) // 2
    if middle:
        return [values[:middle], values[middle:]]
    left = values[:middle]
    right = values[middle:]
    return [left, right]


def steps(values):
    total = 0
    for value in values:
        for index in range(3):
            total += value * index
    again = total * 2 - 1
    low, high = again, total
    return low + high


def words(values):
    text = " ".join(str(value) for value in values)
    return [match.lower() for match in WORDS.findall(text)]


def pairs(values):
    for index, value in enumerate(values):
        if index % 2:
            yield index, value
        else:
            continue


class Basket:
    """Things."""

    def __init__(self, values):
        self.values = list(values)

    def total(self, factor=2):
        count = len(self.values) * factor
        if count > 4:
            return count - squares(4)
        return count + squares(2)
'''

NAMES = ("unique", "large", "described", "sign", "halves", "steps", "words", "pairs", "squares", "double", "Basket.total")
LISTS = st.lists(st.integers(-20, 20), max_size=8)


def made(source: str) -> types.ModuleType:
    module = types.ModuleType("program")
    exec(compile(source, "program", "exec"), module.__dict__)
    return module


def result(module: types.ModuleType, name: str, values: list[int]) -> object:
    if name == "Basket.total":
        return module.Basket(values).total()
    if name in ("squares", "double"):
        return getattr(module, name)(len(values))
    found = getattr(module, name)(values)
    return list(found) if name == "pairs" else found


@functools.cache
def all_variants(name: str, seed: int = 0) -> list[Variant]:
    return list(variants(PROGRAM, name, (*DEARER, *NEUTRAL), amounts=(1, 9, 40), seed=seed))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(values=LISTS, seed=st.integers(0, 2))
def test_variants_do_the_same(name, values, seed):
    before = result(made(PROGRAM), name, list(values))
    for variant in all_variants(name, seed):
        given_values = list(values)
        assert result(made(variant.source), name, given_values) == before, variant.kind
        assert given_values == values, variant.kind


def test_every_kind_finds_something_to_do():
    found = {variant.kind for name in NAMES for seed in range(3) for variant in all_variants(name, seed)}
    wanted = {kind for kind, _, _ in (*DEARER, *NEUTRAL)}
    assert found == wanted


def test_the_rest_of_the_module_stays_as_it_was():
    for variant in all_variants("unique"):
        before, after = ast.parse(PROGRAM), ast.parse(variant.source)
        kept = {name: ast.dump(node) for name, node in functions(after)}
        for name, node in functions(before):
            assert name == "unique" or kept[name] == ast.dump(node)
        assert ast.get_docstring(find(after, "unique"), clean=False) == ast.get_docstring(find(before, "unique"), clean=False)


def test_the_same_seed_gives_the_same():
    again = list(variants(PROGRAM, "large", (*DEARER, *NEUTRAL), amounts=(1, 9, 40), seed=3))
    assert all_variants("large", 3) == again
    assert all_variants("large", 3) != all_variants("large", 4)


def test_dearer_ones_run_more():
    ran = []

    def count(frame, event, argument):
        frame.f_trace_opcodes = True
        ran.append(event)
        return count

    def steps_of(source):
        import sys

        module = made(source)
        ran.clear()
        before = sys.gettrace()
        sys.settrace(count)
        try:
            result(module, "steps", [1, 2, 3, 4])
        finally:
            sys.settrace(before)
        return len(ran)

    steps_of(PROGRAM)  # Python 3.12 tells of opcodes from the second time on
    before = steps_of(PROGRAM)
    dearer = list(variants(PROGRAM, "steps", DEARER, amounts=(50,)))
    assert {variant.kind for variant in dearer} >= {"loop added", "recomputed", "pass added", "call added"}
    for variant in dearer:
        assert steps_of(variant.source) > before, variant.kind
    for variant in variants(PROGRAM, "steps", NEUTRAL):
        assert steps_of(variant.source) < 1.5 * before, variant.kind


@pytest.mark.parametrize(
    ("source", "kind", "wanted"),
    [
        (
            "def f(a):\n    if a is not None:\n        return 1\n    else:\n        return 2\n",
            "if turned round",
            "if a is None:\n        return 2",
        ),
        ("def f(a):\n    return f'{a!r}{{'\n", "text formatted", "return '{!r}{{'.format(a)"),
        (
            "def f(a):\n    if a and not b:\n        c()\n    else:\n        d()\n",
            "if turned round",
            "if not a or b:\n        d()",
        ),
        (
            "def f(a):\n    return [b for b in a if b]\n",
            "loop for comprehension",
            "if each_b:\n            collected.append(each_b)",
        ),
        (
            "def f(a):\n    b = 1 if a else 2\n    return b\n",
            "choice written out",
            "if a:\n        b = 1\n    else:\n        b = 2",
        ),
        ("def f(a):\n    b = a + 1\n    return b * 2\n", "helper extracted", "return _f_rest(b)"),
    ],
)
def test_what_a_kind_makes(source, kind, wanted):
    found = [variant for variant in variants(source, "f", NEUTRAL) if variant.kind == kind]
    assert len(found) == 1
    assert wanted in found[0].source


@pytest.mark.parametrize(
    "source",
    [
        "def f(a):\n    return locals()\n",
        "def f(a):\n    global b\n    b = a\n",
        "class A:\n    def f(self):\n        return self.__secret\n",
        "def f(a): return a\n",
        "range = None\ndef f(a):\n    for b in a:\n        print(b)\n",
        "def f(a):\n  for b in a:\n    print(b)\ndef f(b):\n    return 1\n",
    ],
    ids=["sees itself", "global", "mangled", "one line", "own range", "twice"],
)
def test_what_is_left_alone(source):
    name = "A.f" if source.startswith("class") else "f"
    assert not list(variants(source, name, (*DEARER, *NEUTRAL)))


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("return a * 2 + len(str(a))", True),
        ("return helper(a)", True),
        ("a.append(1)", False),
        ("a[0] = 1", False),
        ("a += [1]\n    return a", False),
        ("return next(a)", False),
        ("return other(a)", False),
        ("yield a", False),
        ("return a()", False),
        ("return f(a)", False),
    ],
)
def test_pure(body, wanted):
    module = ast.parse(f"def helper(b):\n    return b.strip()\ndef f(a):\n    {body}\n")
    assert pure(module, "f") is wanted
