"""Any text has features: what does not parse, what has no indentation, what leaves no code."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_joules.code.statements import statements
from pytest_joules.predict.facts.executed import executed
from pytest_joules.predict.facts.features import REPRESENTATIONS
from pytest_joules.predict.facts.of_test import TestFacts, facts_of, parameters_of, test_place
from pytest_joules.predict.facts.opcodes import statement_features
from pytest_joules.predict.facts.parsed import body_of


def facts(source: str, counts=None, *, place="t.py::test_a", parameters="", **others) -> TestFacts:
    sources = {place: textwrap.dedent(source)} | {f"t.py::{name}": textwrap.dedent(text) for name, text in others.items()}
    return TestFacts("t.py::test_a", sources, counts or {}, place, parameters)


def test_functions_inside_count_by_themselves():
    outer = "def test_a():\n    def inner(x):\n        return missing(x)\n    inner(1)\n"
    inner = "def inner(x):\n    return missing(x)\n"
    found = executed(
        facts(outer, {"t.py::test_a": [1, 1, 1], "t.py::test_a.<locals>.inner": [1, 1]}, **{"test_a.<locals>.inner": inner})
    )
    assert found["called:missing"] == 1
    assert executed(facts(outer)).get("called:missing") is None
    assert "test:missing" not in REPRESENTATIONS["source"](facts(outer))
    assert REPRESENTATIONS["source"](facts(outer, **{"test_a.<locals>.inner": inner}))["test:missing"] == 1


def test_texts_with_values_are_the_same_words_on_every_version():
    words = REPRESENTATIONS["source"](facts("def test_a(x):\n    return f'{x:>{10}} and {x!r}' + rb'12345678901'.decode()\n"))
    assert words["test:text:f"] == words["test:text:1e1"] == 1
    assert words["test:x"] == 1


def test_what_does_not_parse_is_nothing():
    broken = facts("def test_a(:\n", f="def f():\n    return 1\n", g="\0")
    for make in REPRESENTATIONS.values():
        make(broken)
    assert executed(broken)["kind:nothing"] == 2
    deep = facts("def test_a():\n    return " + "-(" * 3000 + "1" + ")" * 3000 + "\n")
    for make in REPRESENTATIONS.values():
        make(deep)


def test_a_text_without_indentation_in_a_method():
    source = '    def method(self):\n        return """\nno indentation"""\n'
    assert statement_features(source).name == "method"
    assert len(statement_features(source).places) == 1


def test_statements_leave_out_what_leaves_no_code():
    source = """
def f():
    'doc'
    x: int
    pass
    if x:
        global y
        1
    def g():
        return 1
    class C:
        a = 1
"""
    body = body_of(source)
    assert [type(node).__name__ for node in statements(body[0])] == ["If", "FunctionDef", "ClassDef"]


def test_facts_from_a_record_of_the_history():
    code = {
        "fingerprint": "f",
        "functions": {
            "a.py::TestX.test_b": "1",
            "a.py::<module> N": "2",
            "b.py::gone": "gone",
            "<python>": "3",
            "a.py::<module>": "4",
        },
        "counts": {"a.py::TestX.test_b": [1, 1]},
    }
    sources = {
        ("a.py::TestX.test_b", "1"): "def test_b(n): f(n)\n",
        ("a.py::<module> N", "2"): "N = 3\n",
        ("a.py::TestX.test_b", "0"): "old",
    }
    found = facts_of("a.py::TestX::test_b[x::y[1]]", code, sources)
    assert dict(found.sources) == {"a.py::TestX.test_b": "def test_b(n): f(n)\n", "a.py::<module> N": "N = 3\n"}
    assert found.counts == code["counts"]
    assert (found.test, found.parameters) == ("a.py::TestX.test_b", "x::y[1]")
    assert test_place("a.py") == "a.py"
    assert parameters_of("a.py::b") == ""
    assert facts_of("c.py::test_c", {"fingerprint": None, "functions": {}}, {}).test is None


# Any text


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(st.text(), st.text("def f(x):\n  for=[]{}'\"if0123.\\@", max_size=60)),
    st.lists(st.floats(0, 1e12), max_size=6),
    st.text(max_size=12),
)
def test_no_text_raises(text, counts, parameters):
    given_facts = TestFacts(
        "t.py::test_a[x]", {"t.py::test_a": text, "t.py::<module> N": text}, {"t.py::test_a": counts}, "t.py::test_a", parameters
    )
    for make in REPRESENTATIONS.values():
        found = make(given_facts)
        assert all(isinstance(name, str) and math.isfinite(value) for name, value in found.items())


PYTHON = sorted(Path(__file__).parents[1].glob("*/test_s*.py"))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_the_same_facts_give_the_same_numbers(data):
    source = data.draw(st.sampled_from(PYTHON)).read_text("utf-8")
    nodes = [node for node in body_of(source) or () if hasattr(node, "lineno")]
    lines = source.splitlines(keepends=True)
    picked = data.draw(st.lists(st.sampled_from(range(len(nodes))), min_size=1, max_size=6, unique=True))
    sources, counts = {}, {}
    for at in picked:
        text = "".join(lines[nodes[at].lineno - 1 : nodes[at].end_lineno])
        sources[f"a.py::f{at}"] = text
        if data.draw(st.booleans()):
            counts[f"a.py::f{at}"] = data.draw(
                st.lists(st.integers(0, 10**6), min_size=1, max_size=len(statement_features(text).places) + 1)
            )
    given_facts = TestFacts("a.py::f", sources, counts, None, "")
    first = [REPRESENTATIONS[name](given_facts) for name in REPRESENTATIONS]
    for cached in (statement_features, body_of):
        cached.cache_clear()
    # Others may come before; the order of a path's functions means nothing.
    turned = TestFacts("a.py::f", dict(reversed(sources.items())), counts, None, "")
    for name, before in zip(REPRESENTATIONS, first, strict=True):
        after = REPRESENTATIONS[name](given_facts)
        assert after == before
        assert REPRESENTATIONS[name](turned) == pytest.approx(before, rel=1e-9)
        assert all(value >= 0 for value in before.values()), before
