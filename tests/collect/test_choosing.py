"""The pytest plugin inside a package's environment: fewer tests, an end in time, and what was found."""

import json
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_joules.collect.choosing import choose


class TestChoose:
    @given(nodeids=st.lists(st.text("ab:[/", max_size=8), unique=True), most=st.integers(0, 30))
    def test_always_the_same_and_never_too_many(self, nodeids, most):
        chosen = choose(nodeids, most)
        assert len(chosen) == min(most, len(nodeids)) and chosen <= set(nodeids)
        assert choose(nodeids[::-1], most) == chosen
        # More room adds tests and takes none away.
        assert chosen <= choose(nodeids, most + 1)

    def test_spread_over_files_and_functions(self):
        sizes = {"a": (40, 1), "b": (5, 10), "c": (1, 100)}
        nodeids = [
            f"tests/test_{file}.py::test_{function}[{case}]"
            for file, (functions, cases) in sizes.items()
            for function in range(functions)
            for case in range(cases)
        ]
        chosen = choose(nodeids, 30)
        assert Counter(nodeid[:14] for nodeid in chosen) == {f"tests/test_{file}.p": 10 for file in sizes}
        functions = Counter(nodeid.partition("[")[0] for nodeid in chosen if "test_b" in nodeid)
        assert set(functions.values()) == {2} and len(functions) == 5


@pytest.fixture
def facts(pytester):
    """What the plugin finds in a run."""

    def make(*arguments):
        pytester.runpytest_inprocess("-p", "pytest_joules.collect.choosing", "--joules-collect-facts=facts.json", *arguments)
        return json.loads((pytester.path / "facts.json").read_text())

    return make


def test_outcomes(pytester, facts):
    pytester.makepyfile(
        "import pytest\n"
        "@pytest.fixture\ndef bad():\n    assert 0\n"
        "@pytest.fixture\ndef late():\n    yield\n    assert 0\n"
        "def test_a(): pass\ndef test_b(): assert 0\ndef test_c(bad): pass\ndef test_d(late): pass\n"
        "def test_e(): pytest.skip()\n@pytest.mark.xfail\ndef test_f(): assert 0\n"
    )
    found = facts()
    assert found["outcomes"] == {"passed": 1, "failed": 1, "error": 2, "skipped": 2}
    assert found["collected"] == found["chosen"] == 6 and found["current"] is None and not found["late"]


def test_fewer(pytester, facts):
    pytester.makepyfile("import pytest\n@pytest.mark.parametrize('n', range(20))\ndef test_a(n): pass\n")
    found = facts("--joules-collect-most=3")
    assert (found["collected"], found["chosen"], found["outcomes"]) == (20, 3, {"passed": 3})


def test_an_end_in_time_whatever_tests_do_to_the_clock(pytester, facts):
    pytester.makepyfile(
        "import time\ndef test_a(monkeypatch): monkeypatch.setattr(time, 'time', lambda: 0)\ndef test_b(): pass\n"
    )
    found = facts(f"--joules-collect-until={time.time() - 1}")
    assert found["late"] and found["outcomes"] == {"passed": 1}
    found = facts(f"--joules-collect-until={time.time() + 3600}")
    assert not found["late"] and found["outcomes"] == {"passed": 2}


def test_what_is_missing(pytester, facts):
    pytester.makepyfile(
        test_a="import nothing_of_that_name\n",
        test_b=(
            "import pytest\n"
            "@pytest.mark.parametrize('given', [1])\ndef test_b(given, mocker, tmp_path, request): pass\n"
            "def test_c(): import another_of_none\n"
            "def test_d(): assert 0, \"No module named 'third'\"\n"
        ),
    )
    found = facts("--continue-on-collection-errors", "-k", "not test_d")
    assert found["missing_fixtures"] == ["mocker"]
    assert set(found["missing_modules"]) == {"nothing_of_that_name", "another_of_none"}
    assert len(found["errors"]) == 1 and "nothing_of_that_name" in found["errors"][0]


def test_it_does_nothing_unasked(pytester):
    pytester.makepyfile("def test_a(): pass\ndef test_b(): pass\n")
    pytester.runpytest_inprocess("-p", "pytest_joules.collect.choosing", "--joules-collect-most=1").assert_outcomes(passed=2)
