"""Hashes of functions and statements: what is the same code, and what is not."""

from __future__ import annotations

import ast
import random
import textwrap

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pytest_joules.code.source_file import File

SOURCE = '''
import math
from json import dumps as write

RATE = 0.2
TABLE = {"a": 1}
TABLE["b"] = 2


class Cart(list):
    """Holds things."""

    currency = "EUR"

    def __init__(self, size: int = 3) -> None:
        """Make one."""
        self.size: int = size

    @property
    def total(self) -> float:
        "What it costs."
        def one(price: float) -> float:
            """Of one."""
            return price * (1 + RATE) if price > 0 else -1.5
        return sum(one(price) for price in self)

    @total.setter
    def total(self, value):
        self.size = value


async def fetch(names):
    while True:
        for name in names:
            if name in {"a", "b", "c"}:
                yield [write(name), (lambda x: x ** 2)(3)]
            else:
                pass
        try:
            math.sqrt(len(names))
        except ValueError as error:
            raise KeyError("no", 1_000) from error
        finally:
            names.clear()


def make():
    class Local:
        """Inside."""
        limit = 5
        def get(self):
            return self.limit
    return Local()


if RATE > 0.1:
    def rate():
        return 1
else:
    def rate():
        return 2
'''


def hashes(source: str) -> dict[str, str]:
    file = File(source.encode())
    found = {name: unit.digest for name, unit in file.functions.items()}
    for name, bound in file.bindings.items():
        for kind, facts in bound:
            if kind != "function":
                found[f"{kind} {name}"] = getattr(facts, "digest", str(facts))
    if file.effects is not None:
        found["effects"] = file.effects.digest
    return found


def changed(before: str, after: str) -> set[str]:
    old, new = hashes(before), hashes(after)
    return {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}


class _Undocumented(ast.NodeTransformer):
    """Other docstrings, or none, and no annotations."""

    def __init__(self, numbers: random.Random) -> None:
        self.numbers = numbers

    def _documented(self, node):
        self.generic_visit(node)
        body = [entry for entry in node.body if not (isinstance(entry, ast.Expr) and isinstance(entry.value, ast.Constant))]
        if self.numbers.random() < 0.5:
            body.insert(0, ast.Expr(ast.Constant(f"Another text {self.numbers.random()}")))
        node.body = body or [ast.Pass()]
        return node

    visit_Module = visit_ClassDef = _documented

    def visit_FunctionDef(self, node):
        node.returns = None
        for argument in node.args.args:
            argument.annotation = None
        return self._documented(node)

    visit_AsyncFunctionDef = visit_FunctionDef


def laid_out_anew(source: str, numbers: random.Random) -> str:
    """The same program with comments, empty lines and another layout."""
    lines = []
    for line in ast.unparse(_Undocumented(numbers).visit(ast.parse(source))).splitlines():
        lines += ["", "# a comment"][: numbers.randrange(3)]
        lines.append(line + ("  # why" if numbers.random() < 0.3 and line.strip() else ""))
    text = "\n".join(lines)
    # Wherever a bracket opens a line may be broken.
    return "".join(
        character + ("\n        " if character in "([{" and numbers.random() < 0.5 and not _in_text(text, place) else "")
        for place, character in enumerate(text)
    )


def _in_text(text: str, place: int) -> bool:
    line = text[text.rfind("\n", 0, place) + 1 : place]
    return "#" in line or line.count("'") % 2 == 1 or line.count('"') % 2 == 1


@given(st.integers(0, 2**32))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_layout_comments_docstrings_and_annotations_change_nothing(seed):
    other = laid_out_anew(SOURCE, random.Random(seed))
    assume(_parses(other))
    assert ast.dump(ast.parse(other)) != ast.dump(ast.parse(SOURCE))
    assert changed(SOURCE, other) == set()


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


class _Places(ast.NodeVisitor):
    """Every constant, operator and comparison in a function, with the innermost function with a name around it."""

    def __init__(self):
        self.found = []
        self._function = []

    def visit_FunctionDef(self, node):
        prefix = f"{self._function[-1]}.<locals>." if self._function else ""
        self._function.append(prefix + node.name)
        for statement in node.body:
            self.visit(statement)
        self._function.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Expr(self, node):
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.generic_visit(node)

    def generic_visit(self, node):
        if self._function and isinstance(node, ast.Constant | ast.BinOp | ast.Compare | ast.Attribute):
            self.found.append((node, self._function[-1]))
        super().generic_visit(node)


def _mutate(node, numbers):
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool) or node.value is None:
            node.value = not node.value
        elif isinstance(node.value, str):
            node.value += "!"
        else:
            node.value = numbers.choice([node.value + 1, float(node.value) + 0.5])
    elif isinstance(node, ast.BinOp):
        node.op = ast.Sub() if not isinstance(node.op, ast.Sub) else ast.Mult()
    elif isinstance(node, ast.Compare):
        node.ops[0] = ast.NotEq() if not isinstance(node.ops[0], ast.NotEq) else ast.Eq()
    else:
        node.attr += "_"


@given(st.integers(0, 2**32))
@settings(derandomize=True, max_examples=150, deadline=None)
def test_any_constant_operator_or_attribute_changes_the_hash_of_its_function(seed):
    numbers = random.Random(seed)
    tree = ast.parse(SOURCE)
    places = _Places()
    places.visit(tree)
    node, function = numbers.choice(places.found)
    _mutate(node, numbers)
    ends = function.rpartition(".")[2]
    found = changed(SOURCE, ast.unparse(tree))
    assert found and all(name.rpartition(".")[2] in (ends, "make") for name in found), (found, function)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("def f(): return 1", "def f(): return 1.0", {"f"}),
        ("def f(): return 0.0", "def f(): return -0.0", {"f"}),
        ("def f(): return 1", "def f(): return True", {"f"}),
        ("def f(): return (1, 2)", "def f(): return (1, (2,))", {"f"}),
        ("def f(x): return x in {'a', 'b'}", "def f(x): return x in {'b', 'a'}", set()),
        ("def f(x): return x in {'a', 'b'}", "def f(x): return x in {'a', 'c'}", {"f"}),
        ("def f(a, b): return a", "def f(a, b): return b", {"f"}),
        ("def f(a): return a", "def f(b): return b", {"f"}),
        ("def f():\n x = 1\n return x", "def f():\n y = 1\n return y", set()),
        ("def f(a=1): pass", "def f(a=2): pass", {"f"}),
        ("def f(*, a=1): pass", "def f(*, a=2): pass", {"f"}),
        ("def f(a): pass", "def f(*a): pass", {"f"}),
        ("def f(a): pass", "def f(a, /): pass", {"f"}),
        ("def f(): pass", "async def f(): pass", {"f"}),
        ("def f(): pass", "@cache\ndef f(): pass", {"f"}),
        ("@wait(1)\ndef f(): pass", "@wait(2)\ndef f(): pass", {"f"}),
        ("@pytest.mark.parametrize('n', [1])\ndef f(): pass", "@pytest.mark.parametrize('n', [1, 2])\ndef f(): pass", set()),
        ("def f(): return [x + 1 for x in y]", "def f(): return [x + 2 for x in y]", {"f"}),
        ("def f(): return (x + 1 for x in y)", "def f(): return (x + 2 for x in y)", {"f"}),
        ("def f(): return lambda: 1", "def f(): return lambda: 2", {"f"}),
        ("def f():\n def g(): return 1\n return g", "def f():\n def g(): return 2\n return g", {"f.<locals>.g"}),
        ("def f():\n def g(x=1): return x\n return g", "def f():\n def g(x=2): return x\n return g", {"f", "f.<locals>.g"}),
        ("class A:\n x = 1\n def f(self): pass", "class A:\n x = 2\n def f(self): pass", {"class A"}),
        ("class A:\n def f(self): return 1", "class A:\n def f(self): return 2", {"A.f"}),
        ("class A:\n class B:\n  x = 1", "class A:\n class B:\n  x = 2", {"class A"}),
        ("class A(dict): pass", "class A(list): pass", {"class A"}),
        ("class A:\n x: int", "class A:\n x: str", set()),
        ("@data\nclass A:\n x: int", "@data\nclass A:\n x: int\n y: int", {"class A"}),
        ("A = 1\nB = 1", "A = 2\nB = 1", {"statement A"}),
        ("A = 1\nA += 1", "A = 1\nA += 2", {"statement A"}),
        ("A = {}\nA['x'] = 1", "A = {}\nA['x'] = 2", {"statement A"}),
        ("A: int = 1", "A: float = 1", set()),
        ("A, B = 1, 2", "A, B = 1, 3", {"statement A", "statement B"}),
        ("import a", "import b as a", {"import a"}),
        ("print(1)", "print(2)", {"effects"}),
        ("for x in y:\n A[x] = 1", "for x in y:\n A[x] = 2", {"statement A", "statement x"}),
        ("'''text'''", "'''another'''", set()),
        ("if __name__ == '__main__':\n print(1)", "if __name__ == '__main__':\n print(2)", set()),
        ("if x:\n def f(): return 1", "if x:\n def f(): return 2", {"f"}),
        ("if x:\n def f(): return 1", "if y:\n def f(): return 1", {"statement f"}),
    ],
)
def test_what_is_another_code(before, after, expected):
    assert changed(before, after) == expected


def test_another_function_changes_no_other():
    after = SOURCE.replace("def make():", "def unrelated():\n    return RATE\n\n\ndef make():")
    assert changed(SOURCE, after) == {"unrelated"}


def test_a_line_break_that_costs_an_instruction_is_no_change():
    # The compiler keeps a NOP for a line that would else have no instruction.
    one = "def f(x):\n    while True: pass\n"
    other = "def f(x):\n    while (\n        True\n    ):\n        pass\n"
    assert changed(one, other) == set()


def test_code_objects_are_found_by_name_and_line():
    source = textwrap.dedent(
        """\
        import functools

        @functools.cache
        def first(n):
            return [m for m in range(n)]

        KEY = lambda x: x

        class A:
            key = staticmethod(lambda x: x)

            @property
            def size(self):
                def inner():
                    return 1
                return inner()
            @size.setter
            def size(self, value): pass

        def second(): return (x for x in ())
        """
    )
    file = File(source.encode())
    expected = {
        (3, "first"): ("function", "first"),
        (5, "<listcomp>"): ("function", "first"),
        (7, "<lambda>"): ("statement", "KEY"),
        (10, "<lambda>"): ("statement", "A"),
        (12, "size"): ("function", "A.size"),
        (14, "inner"): ("function", "A.size.<locals>.inner"),
        (17, "size"): ("function", "A.size"),
        (20, "<genexpr>"): ("function", "second"),
    }
    for (line, name), place in expected.items():
        assert file.locate(name, line) == place
    assert file.locate("gone", 40) is None


TEXTS = """
N = 100  # how many

@cache
def f(a,
      b=1):
    '''Why.'''
    return a

class A:
    limit = 3
    def m(self):
        def inner(): return 1
        return inner()
    class B:
        def n(self): pass

if N:
    M = 1
elif f:
    M = 2
"""


def test_the_text_of_what_has_a_name():
    file = File(TEXTS.encode())
    assert file.text("f", function=True) == "@cache\ndef f(a,\n      b=1):\n    '''Why.'''\n    return a\n"
    assert file.text("A.m", function=True).startswith("def m(self):\n    def inner(): return 1\n")
    assert file.text("A.m.<locals>.inner", function=True) == "def inner(): return 1\n"
    assert file.text("N", function=False) == "N = 100  # how many\n"
    assert file.text("f", function=False) is None and file.text("nobody", function=True) is None
    for name in ("A", "M"):
        text = file.text(name, function=False)
        assert text is None or "def " not in text
        compile(text or "", "", "exec")
