"""The modelled effect of a change against the instructions that the interpreter really executes before and after it."""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from pytest_joules.code.statements import statements
from pytest_joules.explore.dearer import DEARER
from pytest_joules.explore.neutral import NEUTRAL
from pytest_joules.explore.rewriting import functions, variants
from pytest_joules.predict.change.effect import FEATURES, Effect
from pytest_joules.predict.change.modelling import effects
from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.protocol import Before, Question

FILE = "shop.py"
SECONDS = 1e-3


def sources_of(text: str) -> dict[str, str]:
    """Functions, and statements of the module that bind a name, by key."""
    tree = ast.parse(text)
    found = {f"{FILE}::{name}": textwrap.dedent(_source(text, node)) for name, node in functions(tree)}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[f"{FILE}::<module> {node.targets[0].id}"] = _source(text, node)
    return found


def _source(text: str, node: ast.stmt) -> str:
    first = min([node.lineno, *(entry.lineno for entry in getattr(node, "decorator_list", ()))])
    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])


def run(text: str, call: str = "test()") -> tuple[dict[str, list[float]], int]:
    """Counts as the recorder gives them, by an own tracer; and how many instructions ran."""
    tree = ast.parse(text)
    by_place = {}
    for name, node in functions(tree):
        first = min([node.lineno, *(entry.lineno for entry in node.decorator_list)])
        by_place[first, node.name] = f"{FILE}::{name}", {entry.lineno: number for number, entry in enumerate(statements(node))}
    counts = {place: [0.0, *[0.0] * len(lines)] for place, lines in by_place.values()}
    instructions = 0

    def trace(frame, event, argument):
        nonlocal instructions
        frame.f_trace_opcodes = True
        known = by_place.get((frame.f_code.co_firstlineno, frame.f_code.co_name))
        inner = frame.f_code.co_name in ("<listcomp>", "<genexpr>", "<lambda>")
        if event == "call" and known is not None and frame.f_code.co_filename == FILE:
            counts[known[0]][0] += 1
        elif event == "opcode":
            instructions += 1
        elif event == "line" and frame.f_code.co_filename == FILE:
            for place, lines in [known] if known is not None else by_place.values() if inner else []:
                if frame.f_lineno in lines:
                    (inside if inner else counts[place])[
                        lines[frame.f_lineno] + 1 if not inner else (place, lines[frame.f_lineno] + 1)
                    ] += 1
        return trace

    inside: dict[object, float] = _Counting()
    module: dict[str, object] = {}
    exec(compile(text, FILE, "exec"), module)
    code = compile(call, "call", "eval")
    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 tells of instructions only where somebody asked before
    sys.settrace(trace)
    try:
        eval(code, module)
    finally:
        sys.settrace(before)
    for (place, number), count in inside.items():
        counts[place][number] = max(counts[place][number], count)
    return {place: values for place, values in counts.items() if values[0]}, instructions


class _Counting(dict):
    def __missing__(self, key):
        return 0.0


def question(before: str, now: str, counts: Mapping[str, Sequence[float]], seconds: float = SECONDS) -> Question:
    old, new = sources_of(before), sources_of(now)
    in_path = {key: text for key, text in old.items() if key in counts or "<module>" in key}
    there = {key: text for key, text in new.items() if key in in_path or key not in old}
    changed = tuple(key for key, text in in_path.items() if new.get(key) != text)
    facts = TestFacts("test_shop.py::test", there, counts, f"{FILE}::test", "")
    return Question(facts, Before(1.0, seconds, in_path, counts, "2026-01-01"), changed)


def effect(before: str, now: str, call: str = "test()") -> tuple[Effect, float]:
    """The modelled effect, and the true ratio of instructions."""
    counts, instructions = run(before, call)
    _, after = run(now, call)
    # As long as its instructions take.
    return effects([question(before, now, counts, instructions * 4.5e-9)])[0], after / instructions


def value(found: Effect, name: str) -> float:
    return float(found.features[FEATURES.index(name)])


SHOP = '''
RATES = {1: 2, 2: 3}
DAYS = 20

def rate(kind):
    value = RATES.get(kind, 1)
    if value > 2:
        value = value - 1
    return value * 2

def total(prices, kind):
    """Of a basket."""
    result = 0
    for price in prices:
        if price % 2:
            result += price * rate(kind)
        else:
            result += price
    return result

def known(prices):
    seen = set()
    for price in prices:
        if price not in seen:
            seen.add(price)
    return len(seen)

def days():
    count = 0
    for day in range(DAYS):
        count += day
    return count

def test():
    prices = list(range(40))
    assert total(prices, 1) > 0
    assert known(prices) == 40
    assert days() > 0
'''


def changed(old: str, new: str, text: str = SHOP) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


DEARER_CHANGES = [
    pytest.param("    count = 0\n", "    count = 0\n    for again in range(300):\n        count += 0\n", id="a loop"),
    pytest.param(
        "            result += price * rate(kind)",
        "            for again in range(9):\n                rate(kind)\n            result += price * rate(kind)",
        id="calls in a loop",
    ),
    pytest.param("DAYS = 20", "DAYS = 400", id="a constant"),
    pytest.param("range(DAYS)", "range(DAYS * 15)", id="the range"),
    pytest.param(
        "    for price in prices:\n        if price not in seen:",
        "    for price in prices:\n        for other in prices:\n            if other == price:\n"
        "                pass\n        if price not in seen:",
        id="quadratic",
    ),
    pytest.param(
        "    return value * 2\n", "    more = 0\n    while more < 60:\n        more += 1\n    return value * 2\n", id="deep down"
    ),
    pytest.param(
        "    for price in prices:\n        if price not in seen:",
        "    for again in range(12):\n      for price in prices:\n        if price not in seen:",
        id="around a loop",
    ),
    pytest.param(
        "def known(prices):\n",
        "def turns(count):\n    for turn in range(count):\n        pass\n\ndef known(prices):\n    turns(500)\n",
        id="a new function",
    ),
    pytest.param(
        "    assert known(prices) == 40\n",
        "    assert known(prices) == 40\n    for again in range(3):\n        known(prices)\n",
        id="in the test",
    ),
]


@pytest.mark.parametrize(("old", "new"), DEARER_CHANGES)
def test_what_is_added(old, new):
    found, ratio = effect(SHOP, changed(old, new))
    assert ratio > 1.2
    assert found.known
    assert found.why
    # Instructions are not all as dear as each other.
    assert 10**found.physical - 1 == pytest.approx(ratio - 1, rel=0.6)


def test_and_taken_away():
    for old, new in [parameter.values for parameter in DEARER_CHANGES]:
        found, ratio = effect(changed(old, new), SHOP)
        assert ratio < 0.85
        assert 10**found.physical < 0.93, new


NEUTRAL_CHANGES = [
    pytest.param(
        "    result = 0\n    for price in prices:\n        if price % 2:\n"
        "            result += price * rate(kind)\n        else:\n            result += price\n"
        "    return result",
        "    amount = 0\n    for each in prices:\n        if not each % 2:\n            amount += each\n"
        "        else:\n            amount += each * rate(kind)\n    return amount",
        id="renamed and turned round",
    ),
    pytest.param(
        "def total(prices, kind):\n",
        "def _one(price, kind):\n    if price % 2:\n        return price * rate(kind)\n    return price\n\n"
        "def total(prices, kind):\n",
        id="nothing calls it",
    ),
    pytest.param(
        "        if price % 2:\n            result += price * rate(kind)\n        else:\n            result += price\n",
        "        result += price * rate(kind) if price % 2 else price\n",
        id="one expression",
    ),
    pytest.param(
        "    seen = set()\n    for price in prices:\n        if price not in seen:\n"
        "            seen.add(price)\n    return len(seen)",
        "    return _known(prices)\n\ndef _known(prices):\n    seen = set()\n    for price in prices:\n"
        "        if price not in seen:\n            seen.add(price)\n    return len(seen)",
        id="a helper",
    ),
    pytest.param(
        "    count = 0\n    for day in range(DAYS):\n        count += day\n    return count",
        "    count = 0\n    last = DAYS\n    for day in range(last):\n        count = count + day\n    return count",
        id="a name for the end",
    ),
    pytest.param("DAYS = 20\n", "DAYS = 20\nTWICE = 2\n", id="another constant"),
]


@pytest.mark.parametrize(("old", "new"), NEUTRAL_CHANGES)
def test_what_is_only_written_otherwise(old, new):
    found, ratio = effect(SHOP, changed(old, new))
    assert ratio == pytest.approx(1, abs=0.12)
    assert found.physical == pytest.approx(0, abs=0.045)


def test_a_loop_as_a_comprehension():
    before = (
        "def f(values):\n    found = []\n    for value in values:\n        if value > 3:\n"
        "            found.append(value * 2)\n    return found\n\ndef test():\n    f(range(200))\n"
    )
    now = "def f(values):\n    return [value * 2 for value in values if value > 3]\n\ndef test():\n    f(range(200))\n"
    assert abs(effect(before, now)[0].physical) < 0.4
    assert abs(effect(now, before)[0].physical) < 0.4


MEMORY = """
import functools

@functools.lru_cache(maxsize=None)
def squares(count):
    total = 0
    for index in range(count):
        total += index * index
    return total

def test():
    for again in range(50):
        squares(30)
"""


def test_a_memory_taken_away():
    found, ratio = effect(MEMORY, MEMORY.replace("@functools.lru_cache(maxsize=None)\n", ""))
    assert ratio > 10
    assert 10**found.physical == pytest.approx(ratio, rel=0.6)
    assert value(found, "memory") > 1
    assert found.why == "no longer remembers its results"
    assert found.places[0][0] == f"{FILE}::squares"


def test_a_memory_that_kept_a_recursion_short():
    text = (
        "import functools\n@functools.lru_cache\ndef fib(n):\n"
        "    return n if n < 2 else fib(n - 1) + fib(n - 2)\n\ndef test():\n    fib(15)\n"
    )
    found, ratio = effect(text, text.replace("@functools.lru_cache\n", ""))
    assert ratio > 10
    assert 10**found.physical > 3


def test_a_dictionary_of_results_taken_away():
    before = """
KNOWN = {}

def slow(value):
    if value in KNOWN:
        return KNOWN[value]
    total = 0
    for index in range(100):
        total += index * value
    KNOWN[value] = total
    return total

def test():
    for again in range(40):
        slow(7)
"""
    now = before.replace("    if value in KNOWN:\n        return KNOWN[value]\n", "")
    found, ratio = effect(before, now)
    assert ratio > 10
    assert 10**found.physical == pytest.approx(ratio, rel=0.5)


def test_more_calls_of_what_did_not_change():
    old, new = "            result += price * rate(kind)", "            result += price * rate(kind) - rate(kind) + rate(kind)"
    found, ratio = effect(SHOP, changed(old, new))
    assert 10**found.physical == pytest.approx(ratio, rel=0.25)
    assert found.why == "calls rate 40 more times"


@pytest.mark.parametrize("kind", [kind for kind, _, _ in NEUTRAL])
def test_neutral_variants(kind):
    found = 0
    counts, instructions = run(SHOP)
    rewrites = [entry for entry in NEUTRAL if entry[0] == kind]
    for name in ("rate", "total", "known", "days"):
        for variant in variants(SHOP, name, rewrites):
            result = effects([question(SHOP, variant.source, counts, instructions * 4.5e-9)])[0]
            assert abs(result.physical) < 0.05, (name, variant.source)
            found += 1


@pytest.mark.parametrize("kind", [kind for kind, _, _ in DEARER])
def test_dearer_variants(kind):
    counts, instructions = run(SHOP)
    rewrites = [entry for entry in DEARER if entry[0] == kind]
    for name in ("rate", "total", "known", "days"):
        for variant in variants(SHOP, name, rewrites, amounts=(40,)):
            truth = run(variant.source)[1] / instructions
            result = effects([question(SHOP, variant.source, counts, instructions * 4.5e-9)])[0]
            if truth > 1.2:
                assert 10 ** (result.physical + value(result, "up")) > 1.1, (name, variant.source)
            assert result.physical > -0.02


@pytest.mark.parametrize(
    ("now", "counts", "known", "unknown"),
    [
        ("def f(:\n", {f"{FILE}::f": [3, 3], f"{FILE}::test": [1, 1]}, True, True),
        ("def f():\n    return 2\n", {f"{FILE}::f": [3], f"{FILE}::test": [1]}, True, True),
        ("def f():\n    return 2\n", {f"{FILE}::f": [0, 0], f"{FILE}::test": [1, 1]}, True, False),
        ("def f():\n    return 2\n", {}, False, False),
        ("", {f"{FILE}::f": [3, 3], f"{FILE}::test": [1, 1]}, True, True),
    ],
    ids=["no Python", "calls only", "never called", "nothing counted", "gone"],
)
def test_what_is_not_known(now, counts, known, unknown):
    before = {f"{FILE}::f": "def f():\n    return 1\n", f"{FILE}::test": "def test():\n    f()\n"}
    there = {**before, f"{FILE}::f": now} if now else {f"{FILE}::test": before[f"{FILE}::test"]}
    facts = TestFacts("t.py::test", there, counts, None, "")
    found = effects([Question(facts, Before(1.0, 1e-5, before, counts, ""), (f"{FILE}::f", "<distributions>"))])[0]
    assert found.known == known
    # A function that nobody can look into is exposed all the same.
    assert (value(found, "unknown") > 0) == unknown
    assert all(abs(number) < 1e6 for number in found.features)


def test_a_property_and_its_setter():
    text = """
class Box:
    def __init__(self):
        self._size = 3

    @property
    def size(self):
        total = 0
        for index in range(50):
            total += index
        return total + self._size

def test():
    box = Box()
    box.size
"""
    found, ratio = effect(text, text.replace("    box.size\n", "    box.size\n    box.size + box.size\n"))
    assert 10**found.physical == pytest.approx(ratio, rel=0.3)


def test_the_work_of_a_callee_is_followed():
    text = """
def leaf():
    total = 0
    for index in range(100):
        total += index
    return total

def middle():
    return leaf() + leaf()

def top():
    return 1

def test():
    top()
    middle()
"""
    found, ratio = effect(text, text.replace("    return 1\n", "    return middle() + middle()\n"))
    assert ratio > 2.5
    assert 10**found.physical - 1 == pytest.approx(ratio - 1, rel=0.6)
    assert found.why == "calls middle 2 more times"


def test_the_source_of_what_changed_was_not_kept():
    before = {f"{FILE}::g": "def g():\n    return 1"}
    counts = {f"{FILE}::f": (3, 3), f"{FILE}::g": (3, 3)}
    facts = TestFacts("t.py::t", {**before, f"{FILE}::f": "def f():\n    return g()"}, counts, None, "")
    found = effects([Question(facts, Before(1.0, 1e-5, before, counts, ""), (f"{FILE}::f",))])[0]
    assert not found.known
    assert found.why == "the source of what changed was not kept: that run was stopped"


def test_what_is_priced_at_more_than_the_whole_test_hides_nothing():
    # Somebody has replaced the function that sleeps: the test took 20 microseconds.
    wait = "def wait(self):\n    time.sleep(5)\n    {}return self.other()"
    key, counts = f"{FILE}::Shop.wait", {f"{FILE}::Shop.wait": (1, 1, 1), f"{FILE}::f": (1, 1)}
    before = {key: wait.format(""), f"{FILE}::f": "def f():\n    return [number for number in range(100)]"}
    now = {key: wait.format("self.more()\n    "), f"{FILE}::f": "def f():\n    return [number for number in range(900)]"}
    facts = TestFacts("t.py::t", now, counts, None, "")
    found = effects([Question(facts, Before(1.0, 2e-5, before, counts, ""), (key, f"{FILE}::f"))])[0]
    assert value(found, "unknown") > 0.9
    # The other change is not made smaller by it.
    assert found.physical > 0.2


def test_an_element_may_cost_more_than_a_number():
    before = {f"{FILE}::f": "def f(rows):\n    kept = rows"}
    now = {f"{FILE}::f": "def f(rows):\n    kept = sorted(rows.items())"}
    counts = {f"{FILE}::f": (1, 1)}
    facts = TestFacts("t.py::t", now, counts, None, "")
    found = effects([Question(facts, Before(1.0, 7e-6, before, counts, ""), (f"{FILE}::f",))])[0]
    assert value(found, "up") > 0.15


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[digit for digit in str(kind) * 20 if digit.isdigit()]", "[digit for digit in str(kind) * 80 if digit.isdigit()]"),
        ("sum(digit == '1' for digit in str(kind) * 20)", "sum(digit == '1' for digit in str(kind) * 200)"),
        ("[number for number in range(kind * 30)]", "[number for number in range(kind * 90)]"),
        ("[word for word in str(kind).split()]", "[word for word in 20 * str(kind)]"),
    ],
)
def test_a_comprehension_over_another_number_of_elements(old, new):
    text = f"def f(kind):\n    found = {old}\n    return found\n\ndef test():\n    f(1234)\n    f(1234)\n"
    found, ratio = effect(text, text.replace(old, new))
    # It is found, or it is open.
    assert ratio > 2
    assert found.physical > 0.5 * np.log10(ratio) or found.physical + value(found, "up") > 0.25


def test_a_text_made_of_something_is_as_dear_as_that_is_large():
    before = {f"{FILE}::f": "def f(rows):\n    kept = rows"}
    now = {f"{FILE}::f": "def f(rows):\n    kept = rows\n    said = 'kept %s' % (rows,)"}
    facts = TestFacts("t.py::t", now, {f"{FILE}::f": (1, 1)}, None, "")
    found = effects([Question(facts, Before(1.0, 2e-6, before, facts.counts, ""), (f"{FILE}::f",))])[0]
    assert found.physical > 0.02 and value(found, "up") > 0.25


@pytest.mark.parametrize(("name", "open_"), [("f", True), ("g", False)])
def test_how_deep_a_function_goes_that_calls_itself_now_is_open(name, open_):
    before = {f"{FILE}::f": "def f(rows):\n    return rows[0]", f"{FILE}::g": "def g(rows):\n    return rows[0]"}
    now = {**before, f"{FILE}::f": f"def f(rows):\n    return rows[0] + {name}(rows[1:])"}
    counts = {f"{FILE}::f": (1, 1), f"{FILE}::g": (1, 1)}
    facts = TestFacts("t.py::t", now, counts, None, "")
    found = effects([Question(facts, Before(1.0, 2e-7, before, counts, ""), (f"{FILE}::f",))])[0]
    assert (value(found, "up") > 0.25) == open_


@pytest.mark.parametrize(
    ("decorator", "open_"),
    [
        ("traced", True),
        ("app.traced(level=3)", True),
        ("staticmethod", False),
        ("pytest.mark.slow", False),
        ("typing.final", False),
    ],
)
def test_what_a_function_is_wrapped_by_is_open(decorator, open_):
    before = {f"{FILE}::f": "def f(rows):\n    return rows[0]"}
    now = {f"{FILE}::f": f"@{decorator}\ndef f(rows):\n    return rows[0]"}
    facts = TestFacts("t.py::t", now, {f"{FILE}::f": (1, 1)}, None, "")
    found = effects([Question(facts, Before(1.0, 1e-6, before, facts.counts, ""), (f"{FILE}::f",))])[0]
    assert (value(found, "up") > 0.25) == open_
    assert (found.why == f"it is wrapped by {decorator}") == open_
