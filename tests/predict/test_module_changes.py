"""What a changed statement of a module leaves changed."""

import pytest

from pytest_joules.predict.change.effect import COLUMN
from pytest_joules.predict.change.modelling import effects
from pytest_joules.predict.change.module_changes import touched
from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.protocol import Before, Question


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("LIMIT = 3", "LIMIT = 30", {"LIMIT"}),
        ("LIMIT = 3", "", {"LIMIT"}),
        ("from a import LIMIT", "from a import LIMIT, other", set()),
        ("from a import LIMIT", "from b import LIMIT", {"LIMIT"}),
        ("from a import LIMIT", "from .a import LIMIT", {"LIMIT"}),
        ("from a import b as LIMIT", "from a import c as LIMIT", {"LIMIT"}),
        ("import LIMIT", "import LIMIT, json", set()),
        ("from a import LIMIT", "LIMIT = 3", {"LIMIT"}),
        ("class LIMIT(object):\n    '''Old.'''", "class LIMIT:\n    '''New.'''\n    each: int", set()),
        ("class LIMIT:\n    kinds = 1\n    rows = 2", "class LIMIT:\n    kinds = 3\n    rows: int = 2", {"kinds"}),
        ("class LIMIT:\n    kinds = 1", "class LIMIT:\n    pass", {"kinds"}),
        ("class LIMIT(Base):\n    kinds = 1", "class LIMIT(Other):\n    kinds = 2", {"LIMIT", "kinds"}),
        ("@one\nclass LIMIT: pass", "@two\nclass LIMIT: pass", {"LIMIT"}),
        ("class LIMIT(metaclass=A): pass", "class LIMIT(metaclass=B): pass", {"LIMIT"}),
        ("class LIMIT:\n    a[0] = 1", "class LIMIT:\n    a[0] = 2", {"LIMIT"}),
        ("class LIMIT:", "class LIMIT: pass", {"LIMIT"}),  # unreadable
    ],
)
def test_touched(old, new, names):
    assert touched("LIMIT", old, new) == names


READER = "def read(text):\n    return text.split(LIMIT)"
METHOD = "def first(self):\n    return [self.kinds for _ in self.rows]"


def unknown(before, now, changed, counts):
    """The share of the test's time that is of no known cost now."""
    facts = TestFacts("test_a.py::test", {**before, **now}, counts, None, "")
    question = Question(facts, Before(1.0, 1e-6, before, counts, ""), changed)
    return effects([question])[0].features[COLUMN["unknown"]]


@pytest.mark.parametrize(
    ("file", "there", "whether"),
    [
        ("limits.py", {}, True),  # its own file
        ("other.py", {"other.py::<module> LIMIT": "from limits import LIMIT"}, True),
        ("other.py", {"other.py::<module> limits": "import limits"}, True),
        ("other.py", {}, False),  # another LIMIT
    ],
)
def test_who_reads_a_constant_that_changed(file, there, whether):
    before = {"limits.py::<module> LIMIT": "LIMIT = 'a'.lower()", f"{file}::read": READER, **there}
    now = {"limits.py::<module> LIMIT": "LIMIT = 'b'.lower()"}
    found = unknown(before, now, ("limits.py::<module> LIMIT",), {f"{file}::read": (1, 1)})
    assert (found > 0) == whether


@pytest.mark.parametrize(("attribute", "whether"), [("kinds", True), ("colours", False)])
def test_who_reads_an_attribute_that_changed(attribute, whether):
    before = {"a.py::<module> Rows": f"class Rows:\n    {attribute} = 1", "a.py::Rows.first": METHOD}
    now = {"a.py::<module> Rows": f"class Rows:\n    {attribute} = 2"}
    found = unknown(before, now, ("a.py::<module> Rows",), {"a.py::Rows.first": (1, 1)})
    assert (found > 0) == whether


def test_a_package_is_called_as_its_folder():
    before = {"limits/__init__.py::<module> LIMIT": "LIMIT = f()", "b.py::read": READER, "b.py::<module> limits": "import limits"}
    now = {"limits/__init__.py::<module> LIMIT": "LIMIT = g()"}
    assert unknown(before, now, ("limits/__init__.py::<module> LIMIT",), {"b.py::read": (1, 1)}) > 0
