"""The representations: what they say of programs whose executed statements and operations are counted in another way."""

from __future__ import annotations

import dis
import sys
import textwrap
from collections import Counter

import pytest

from pytest_joules.code.statements import statements
from pytest_joules.model import OTHER
from pytest_joules.predict.facts.executed import executed
from pytest_joules.predict.facts.features import REPRESENTATIONS
from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.facts.opcodes import statement_features
from pytest_joules.predict.facts.parsed import body_of


def facts(source: str, counts=None, *, place="t.py::test_a", parameters="", **others) -> TestFacts:
    sources = {place: textwrap.dedent(source)} | {f"t.py::{name}": textwrap.dedent(text) for name, text in others.items()}
    return TestFacts("t.py::test_a", sources, counts or {}, place, parameters)


def counted(source: str, call: str) -> tuple[list[int], Counter[str]]:
    """``[calls, times of each statement]`` of the first function in ``source`` while ``call`` runs, by the events of the trace
    function, each statement on a line of its own; and the instructions that were executed in that function, by name."""
    source = textwrap.dedent(source)
    name = body_of(source)[0].name
    lines = {node.lineno: at for at, node in enumerate(statements(body_of(source)[0]), 1)}
    namespace: dict[str, object] = {}
    exec(compile(source, "<counted>", "exec"), namespace)
    times, instructions = [0] * (len(lines) + 1), Counter()
    names: dict[int, dict[int, str]] = {}

    def see(frame, event, argument):
        code = frame.f_code
        if code.co_filename != "<counted>" or (code.co_name != name and not code.co_name.startswith("<")):
            return None
        frame.f_trace_opcodes = True  # at every event: in 3.13 it is too early at the call
        if event == "call":
            names[id(code)] = {entry.offset: entry.opname for entry in dis.get_instructions(code)}
            if code.co_name == name:
                times[0] += 1
        elif event == "line" and code.co_name == name and frame.f_lineno in lines:
            times[lines[frame.f_lineno]] += 1
        elif event == "opcode":
            instructions[names[id(code)][frame.f_lasti]] += 1
        return see

    before = sys.gettrace()
    sys.settrace(see)
    try:
        exec(call, namespace)
    finally:
        sys.settrace(before)
    return times, instructions


LOOPS = """
def work(n):
    total = 0
    for i in range(n):
        for j in range(3):
            total += i * j
        if i % 2:
            total -= 1
            helper(i)
    while total > 100:
        total //= 2
    return total

def helper(x):
    return x
"""
HANDLERS = """
def work(n):
    found = []
    for i in range(n):
        try:
            if i % 4 == 0:
                raise ValueError(i)
            found.append(abs(i))
        except ValueError as error:
            found.append(str(error))
        finally:
            found.reverse()
    with open(__import__("os").devnull) as file:
        file.read()
    return found[0], len(found)
"""


@pytest.mark.parametrize("n", [1, 7, 40])
def test_calls_are_counted_as_often_as_they_are_made(n):
    times, _ = counted(LOOPS, f"work({n})")
    found = executed(facts(LOOPS.partition("def helper")[0], {"t.py::test_a": times}))
    assert found.get("called:helper", 0) == n // 2
    assert found["called:range"] == 1 + n
    assert found["total:calls"] == 1
    assert found["total:trips of a loop"] == max(n, 3)
    times, _ = counted(HANDLERS, f"work({n})")
    found = executed(facts(HANDLERS, {"t.py::test_a": times}))
    raised = -(-n // 4)
    assert found.get("called:ValueError", 0) == found.get("called:str", 0) == raised
    assert found.get("called:abs", 0) == n - raised
    assert found["called:append"] == found["called:reverse"] == n
    assert found["called:open"] == found["called:read"] == found["called:len"] == 1


#: Instructions that do nothing by themselves, or that only some versions have.
_SILENT = frozenset(
    (
        *(
            "RESUME",
            "NOP",
            "CACHE",
            "PRECALL",
            "PUSH_NULL",
            "KW_NAMES",
            "COPY",
            "SWAP",
            "POP_TOP",
            "EXTENDED_ARG",
            "TO_BOOL",
            "DUP_TOP",
        ),
        *("ROT_TWO", "ROT_THREE", "ROT_FOUR", "POP_BLOCK", "SETUP_FINALLY", "MAKE_CELL", "COPY_FREE_VARS", "END_FOR", "POP_ITER"),
        *("NOT_TAKEN", "RERAISE", "PUSH_EXC_INFO", "POP_EXCEPT", "CHECK_EXC_MATCH", "JUMP_IF_NOT_EXC_MATCH", "DUP_TOP_TWO"),
        *("GEN_START", "RETURN_GENERATOR", "SETUP_WITH", "BEFORE_WITH", "WITH_EXCEPT_START", "LOAD_SPECIAL"),
    )
)
#: What is certain to be executed of a group, by the beginning of the names of its instructions, and how many of them at once.
_GROUPS = (
    ("call", ("CALL",)),
    ("binary", ("BINARY_OP", "BINARY_ADD", "BINARY_MULTIPLY", "BINARY_MODULO", "INPLACE_")),
    ("compare", ("COMPARE_OP",)),
    ("attribute", ("LOAD_METHOD", "LOAD_ATTR")),
    ("iterator", ("GET_ITER",)),
    ("iterate", ("FOR_ITER",)),
    ("return", ("RETURN_",)),
)


@pytest.mark.parametrize(("source", "call"), [(LOOPS, "work(40)"), (HANDLERS, "work(40)")])
def test_operations_are_those_that_the_interpreter_executes(source, call):
    times, instructions = counted(source, call)
    found = executed(facts(source.partition("def helper")[0], {"t.py::test_a": times}))
    for group, begins in _GROUPS:
        true = sum(count for name, count in instructions.items() if name.startswith(begins) and name not in _SILENT)
        # Leaving a with calls its exit, which is counted as "with".
        assert found.get(f"op:{group}", 0) == pytest.approx(true, abs=2, rel=0.03), group
    loud = sum(
        count * (1 + name.count("_LOAD_FAST") + name.count("_STORE_FAST"))
        for name, count in instructions.items()
        if name not in _SILENT
    )
    assert found["total:ops"] == pytest.approx(loud, rel=0.15)


def test_a_comprehension_runs_as_its_trips_say():
    source = "def work(n):\n    rows = [abs(a) for a in n]\n    return rows\n"
    assert executed(facts(source))["called:abs"] == 10  # where nothing says more
    # The recorder gives a statement the larger count of its own and of what runs inside it, which begins once and on each trip.
    for n in (2, 450):
        assert executed(facts(source, {"t.py::test_a": [2, 2 * (n + 1), 2]}))["called:abs"] == pytest.approx(2 * n)
    assert executed(facts(source, {"t.py::test_a": [2, 2, 2]}))["called:abs"] == 2  # at most once each
    literal = executed(facts("def work():\n    return {a: len(b) for a in range(20) for b in 'abc'}\n"))
    assert literal["called:len"] == literal["op:append"] == 60


def test_a_comprehension_in_a_loop():
    source = "def work(rows):\n    total = 0\n    for row in rows:\n        total += sum(abs(x) for x in row)\n    return total\n"
    found = executed(facts(source, {"t.py::test_a": [1, 1, 21, 80, 1]}))  # as recorded for 20 rows of 3
    assert found["called:sum"] == 20
    assert found["called:abs"] == pytest.approx(60)


def test_longer_loops_of_literals_show_without_counts():
    def ops(n: str) -> float:
        return executed(facts(f"def test_a():\n    total = 0\n    for i in {n}:\n        total += f(i)\n    assert total\n"))[
            "total:ops"
        ]

    assert ops("range(1000)") / ops("range(100)") == pytest.approx(10, rel=0.05)
    for same in ("range(0, 2000, 2)", "[1] * 1000", "list(range(10 ** 3))", "enumerate(range(500 + 500))"):
        assert ops(same) == pytest.approx(ops("range(1000)"), abs=5)
    assert ops("unknown()") == pytest.approx(ops("range(10)"), rel=0.05)


def test_parameters_and_module_constants_say_how_long_a_loop_is():
    source = """
    @pytest.mark.parametrize("word", ["a", "b"])
    @pytest.mark.parametrize(("n", "m"), [(10, 1), (500, 1)])
    def test_a(n, m, word):
        for i in range(2 * n):
            f(i)
        for j in range(SIZE):
            g(j)
    """
    constant = {"<module> SIZE": "SIZE = 3_000\n"}
    found = executed(facts(source, parameters="500-1-a", **constant))
    assert found["called:f"] == 1000
    assert found["called:g"] == 3000
    assert executed(facts(source, parameters="nonsense"))["called:f"] == 10


def test_counts_of_another_version_give_the_calls():
    source = "def work():\n    for i in range(5):\n        f(i)\n"
    found = executed(facts(source, {"t.py::test_a": [4, 1]}))
    assert found["called:f"] == 20
    assert found["total:calls"] == 4
    assert "total:other calls" not in found
    assert executed(facts(source, {"t.py::test_a": [4, 1], OTHER: [70]}))["total:other calls"] == 70


def test_what_was_not_counted_adds_nothing_to_a_test_that_ran():
    others = {"counted": "def counted(n):\n    return n\n", "at_import": "def at_import():\n    return fresh(1)\n"}
    caller = "def test_a():\n    for i in data():\n        counted(i)\n"
    found = executed(facts(caller, {"t.py::test_a": [1, 51, 50], "t.py::counted": [50, 50]}, **others))
    assert (found["total:calls"], found["total:functions"], found.get("called:fresh")) == (51, 2, None)
    # Where nothing was counted, each may be called.
    found = executed(facts(caller, **others))
    assert (found["total:calls"], found["total:functions"], found["called:fresh"]) == (3, 3, 1)


def test_what_a_loop_is():
    source = """
    def work(rows, n=3):
        size = 40
        for row in range(size):
            while row < 500:
                row += 1
            yield [x for x in rows[:n] if x]
    """
    found = statement_features(textwrap.dedent(source))
    assert found.name == "work"
    assert found.kind == "generator"
    assert [(loop.kind, loop.iterated, loop.size, loop.depth) for loop in found.loops] == [
        ("for", "range(size)", 40, 0),
        ("while", "row < 500", 500, 1),
        ("comprehension", "rows[:n]", None, 1),
    ]
    assert found.loops[2].names == ("rows", "n")
    assert [found.places[loop.statement].kind for loop in found.loops] == ["For", "While", "Expr"]
    assert executed(facts(source, {"t.py::test_a": [2, 2, 2 * 41, 80, 0, 80]}))["op:call"] == 2  # range, twice


def test_layout_comments_and_docstrings_change_nothing():
    plain = """
def test_a(x):
    y = {'a': [1, x]}
    for i in y:
        f(i, 'long text', x=3)
    return y
"""
    other = '''
def test_a(x):
    """What it does:
    a lot."""
    # first
    y = {
        "a": [
            1, (x)
        ]  # why
    }

    for i in y:

        f(
            i,
            'long '
            'text', x=0x3)
    'Done.'
    pass
    return (y)
'''
    counts = {"t.py::test_a": [1, 1, 2, 1, 1]}
    assert executed(facts(plain, counts)) == executed(facts(other, counts))
    for name in ("ast", "bytecode"):
        before, after = (REPRESENTATIONS[name](facts(text)) for text in (plain, other))
        if name == "ast":  # ``pass`` is a statement
            assert after.pop("test:Pass") == 1
        assert before == after, name
    words = [REPRESENTATIONS["source"](facts(text)) for text in (plain, other)]
    assert words[1].pop("test:pass") == 1
    assert words[0] == words[1]
    assert words[0]["test:num:1e0"] == 2


def test_the_test_itself_is_told_from_the_rest_of_its_path():
    found = REPRESENTATIONS["ast"](
        facts("def test_a():\n    return 1000\n", f="@lru_cache\ndef f(n):\n    return f(n - 1)\n", parameters="64-x")
    )
    assert found["test:number:1e3"] == 1
    assert found["path:cached"] == found["path:recursive"] == found["path:call@0"] == 1
    assert found["parameter:1e1"] == 1
    assert "path:number:1e3" not in found
    words = REPRESENTATIONS["source"](
        facts("def test_a():\n    g('%s' % 1.5e-7)\n", f="def f(n): return n\n", parameters="64-blue")
    )
    assert words["test:num:1e-6"] == words["test:text:1e0"] == words["test:mod"] == words["path:f"] == 1
    assert words["parameter:num:1e1"] == words["parameter:blue"] == 1
