"""Rules of the house that no import contract can say, checked on the source (the others: ``lint-imports``)."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve()
while not (PACKAGE / "pytest_joules").is_dir():
    PACKAGE = PACKAGE.parent
PACKAGE /= "pytest_joules"
FILES = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}

MOST_LINES, MOST_CLASS = 400, 200
#: Larger classes, and why.
LARGE_CLASSES = {
    "measure/course.py::Course": "one state machine, whose steps share what was read",
    "measure/meter.py::Meter": "what is learnt of the counters is used by each reading",
    "rounds/running.py::Rounds": "one state machine: pytest's protocol, again and again",
    "session/against.py::Against": "one plugin object: both sides of each test, in turn",
    "session/measuring.py::Measuring": "one plugin object: a test's way from its plan to its rounds",
}
#: Files outside of rounds/ that name pytest's private modules, and why.
PRIVATE = {
    "explore/stopwatch.py": "loads once what every run of pytest loads",
    "session/against.py": "runtestprotocol runs a test that exists on one side only",
    "session/body.py": "a type of pytest_fixture_setup's argument",
    "session/tracking.py": "types of pytest_fixture_setup's arguments",
}


def room(name: str) -> str:
    return name.partition("/")[0]


def imports(text: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_no_file_is_long():
    assert {name: lines for name, text in FILES.items() if (lines := text.count("\n")) > MOST_LINES} == {}


def test_no_class_is_large():
    found = {
        f"{name}::{node.name}"
        for name, text in FILES.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno >= MOST_CLASS
    }
    assert found == set(LARGE_CLASSES)


def test_only_rounds_knows_private_parts_of_pytest():
    found = {
        name for name, text in FILES.items() if room(name) != "rounds" and any(one.startswith("_pytest") for one in imports(text))
    }
    assert found == set(PRIVATE)


def test_plugin_imports_nothing_of_ours_before_it_is_needed():
    tree = ast.parse(FILES["plugin.py"])
    top = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert not [name for name in top if name and name.startswith("pytest_joules")]


def test_one_plugin_object_a_file():
    hooks = re.compile(r"    def (pytest_\w+)\(")
    for name, text in FILES.items():
        if room(name) == "session":
            objects = [part for part in re.split(r"(?m)^class ", text)[1:] if hooks.search(part)]
            assert len(objects) <= 2, name  # a controller's and a worker's side of one thing


def test_only_one_place_turns_a_report_into_a_failure():
    found = [name for name, text in FILES.items() if re.search(r'\.outcome = "failed"', text)]
    assert found == ["session/call_report.py"]


def test_only_one_place_of_a_run_says_where_the_history_is():
    # The command looks for it in a folder, a data set has one of its own for each package.
    found = [name for name, text in FILES.items() if re.search(r'[/"]history\.db"', text)]
    assert [name for name in found if room(name) not in ("cli", "collect")] == ["session/history.py"]


@pytest.mark.parametrize("word", ["utils", "helpers", "misc", "common"])
def test_a_file_is_named_by_its_subject(word):
    assert not [name for name in FILES if word in name]
