"""What ran more often than before, in words."""

from hypothesis import given
from hypothesis import strategies as st

from pytest_joules.judge.more_work import KEPT, most_run, where
from pytest_joules.model import OTHER

TIMES = st.lists(st.integers(0, 10**6), min_size=1, max_size=5)
RAN = st.dictionaries(st.sampled_from([OTHER, *(f"src/p/m.py::f{number}" for number in range(20))]), TIMES)


def line(key, statement):
    return 10 + statement


def test_a_statement_is_named_by_its_line():
    before, now = {"src/shop/cart.py::total": [1, 1, 400, 1]}, {"src/shop/cart.py::total": [1, 1, 40_000, 1]}
    assert where(before, now, [], line) == ["shop.cart.total line 11 ran 40,000 times, was 400"]


def test_of_a_function_that_says_something_else_statements_are_not_held_against_each_other():
    before, now = {"m.py::f": [1, 1, 400]}, {"m.py::f": [1, 1, 1, 900]}
    assert where(before, now, ["m.py::f"], line) == ["m.f line 12 ran 900 times, no line of it more than 400 times before"]


def test_without_statements_calls_are_told():
    assert where({"m.py::f": [4]}, {"m.py::f": [400]}, [], line) == ["m.f was called 400 times, was 4"]
    assert where({"m.py::g": [4]}, {"m.py::f": [400], "m.py::g": [4]}, [], line) == ["m.f was called 400 times, was 0"]


def test_what_was_not_kept_was_not_none():
    before = {f"m.py::f{number}": [1000] for number in range(KEPT)}
    now = {**before, "m.py::g": [9000]}
    assert where(before, now, [], line) == ["m.g was called 9,000 times"]


def test_calls_outside_of_the_project():
    assert where({OTHER: [10]}, {OTHER: [38_010]}, [], line) == ["38,000 more calls of functions that are not the project's"]


def test_what_changed_comes_first_whatever_ran_more():
    before = {"m.py::f": [10], "m.py::g": [10]}
    now = {"m.py::f": [1000], "m.py::g": [110]}
    assert where(before, now, ["m.py::g"], line) == ["m.g was called 110 times, was 10", "m.f was called 1,000 times, was 10"]
    assert where({}, now, ["m.py::g"], line) == ["m.g"]


def test_an_installed_copy_has_the_name_of_its_module():
    before, now = {"installed/m.py::f": [1]}, {"installed/m.py::f": [9]}
    assert where(before, now, ["m.py::f"], line) == ["m.f was called 9 times, was 1"]


@given(RAN, RAN, st.lists(st.sampled_from([f"src/p/m.py::f{number}" for number in range(20)]), unique=True))
def test_every_function_is_named_once(before, now, changed):
    said = where(most_run(before), most_run(now), changed, line)
    functions = [text.split()[0] for text in said if "more calls of functions" not in text]
    assert len(functions) == len(set(functions))
    assert {f"p.m.{key.rpartition('::')[2]}" for key in changed} <= set(functions)


@given(RAN)
def test_the_same_work_names_nothing(ran):
    assert where(most_run(ran), most_run(ran), [], line) == []
