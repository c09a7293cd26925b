"""The text of a test: what runs most is told, the same each time, and whatever the source is."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_joules.language_model.texts import REPRESENTATIONS, text_of
from pytest_joules.predict.facts.of_test import TestFacts

TEST = "def test_it(n):\n    cart = Cart()\n    assert cart.total(n) == 3\n"
TOTAL = """def total(self, n):
    '''Not told.'''
    result = start()
    for price in self.prices:
        result += with_tax(price,
                           n)
    if result > 1000: warn(result)
    return result
"""
RARE = "def rare():\n" + "".join(f"    step_{number}()\n" for number in range(200))


def facts(**counts: list[float]) -> TestFacts:
    sources = {"t.py::test_it": TEST, "shop.py::Cart.total": TOTAL, "shop.py::rare": RARE, "shop.py::<module> RATE": "RATE = 2\n"}
    places = {place.rpartition("::")[2].rpartition(".")[2]: place for place in sources}
    return TestFacts("t.py::test_it[3]", sources, {places[name]: own for name, own in counts.items()}, "t.py::test_it", "3")


def test_source_of_a_test_that_never_ran():
    told = text_of(facts(), "source", 40).splitlines()
    # First the test, then what probably runs most: the block of a loop, of functions that the test names before others.
    assert told[:4] == ["parameters 3", "def test_it(n):", "cart = Cart()", "assert cart.total(n) == 3"]
    assert "result += with_tax(price, n)" in told
    assert "for price in self.prices:" in told
    assert sum(len(line) + 1 for line in told) <= 5 * 40 + len("parameters 3\n")
    assert not [line for line in told if "RATE" in line or "Not told" in line]
    assert "if result > 1000:" in text_of(facts(), "source", 80).splitlines()


def test_counts_say_what_is_told():
    often = [1.0] * 150 + [900.0] + [1.0] * 50
    told = text_of(facts(test_it=[1, 1, 1], total=[1, 1, 3, 2, 1, 0, 1], rare=often), "source", 40)
    assert "step_149()" in told
    # What did not run is not told, however much room there is.
    whole = text_of(facts(test_it=[1, 1, 1], total=[1, 1, 3, 2, 1, 0, 1]), "source", 500)
    assert "result += with_tax" in whole and "warn" not in whole and "step_" not in whole


def test_syntax_has_no_names():
    told = text_of(facts(), "ast", 100)
    assert "Assert Compare Call Attribute Name Name Eq number 1e0" in told.splitlines()
    assert "Cart" not in told and "total" not in told


def test_operations_with_how_often_they_ran():
    told = text_of(facts(test_it=[1, 1, 1], total=[1, 1, 1001, 1000, 1, 0, 1]), "bytecode", 100)
    assert "called with_tax 3.0" in told.split(", ")
    assert told.startswith("total ")
    assert "called with_tax 1.0" in text_of(facts(), "bytecode", 100).split(", ")  # ten trips, where nothing says how many


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_the_order_of_facts_is_none_of_the_text(representation: str):
    one = facts(test_it=[1, 1, 1], total=[1, 1, 3, 2, 1, 0, 1], rare=[2.0] * 201)
    other = dataclasses.replace(one, sources=dict(reversed(one.sources.items())), counts=dict(reversed(one.counts.items())))
    assert text_of(one, representation, 60) == text_of(other, representation, 60) != ""


def test_of_nothing_there_is_no_text():
    nothing = TestFacts("a.py::test_a", {}, {}, None, "")
    assert [text_of(nothing, representation, 100) for representation in REPRESENTATIONS] == ["", "", ""]
    with pytest.raises(KeyError):
        text_of(nothing, "pixels", 100)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.text(alphabet="def ():\n\tiforx=1é'\"#;", max_size=120), st.sampled_from(REPRESENTATIONS))
def test_whatever_a_source_is(own: str, other: str, representation: str):
    one = TestFacts("a.py::test_a", {"a.py::test_a": own, "b.py::f": f"def f():\n    {other}"}, {}, "a.py::test_a", "")
    told = text_of(one, representation, 32)
    assert len(told) <= 5 * 32 and told == text_of(one, representation, 32)
