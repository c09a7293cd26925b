"""A project whose tests a predictor of known answers judges."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from changing_shop import edit, git
from inner import Inner, Make

import pytest_joules.predict.outcomes
import pytest_joules.predict.questions
import pytest_joules.predict.trusted
import pytest_joules.report.prediction
import pytest_joules.session.past
import pytest_joules.session.predicting
import pytest_joules.session.spending

assert pytest_joules

#: A predictor that says ``times`` as much, and writes down what it was asked.
PREDICTOR = """
import json, os

class Times:
    name = "times"
    def predict(self, questions):
        from pytest_joules.predict.protocol import Answer
        with open(os.environ.get("ASKED", ".asked.json"), "w") as file:
            json.dump([{
                "nodeid": question.facts.nodeid, "changed": question.changed, "now": dict(question.facts.sources),
                "counts": {place: list(entry) for place, entry in question.facts.counts.items()},
                "test": question.facts.test, "parameters": question.facts.parameters,
                "before": question.before and dict(question.before.sources),
                "joules": question.before and question.before.joules,
            } for question in questions], file)
        return [self.answer(question) for question in questions]
    def answer(self, question):
        from pytest_joules.predict.protocol import Answer
        if question.before is None:
            return Answer(None, None, why="never measured")
        last = question.before.joules
        places = tuple(key for key in question.changed if "::" in key)
        return Answer({times} * last, ({low} * last, {high} * last), places, {why!r})

def pytest_joules_predictors(config):
    return [Times()]
"""

CODE = '''
"""A shop."""
RATE = 2

def total(n):
    result = 0
    for i in range(n):
        result += i * RATE
    return result

def loud(n):
    return "!" * n
'''

TESTS = """
import shop

@pytest.mark.parametrize("n", [3, 5])
def test_total(n):
    draw(1000)
    assert shop.total(n) > 0

def test_loud():
    draw(2000)
    assert shop.loud(2)

def test_alone():
    draw(4000)
"""

TOTALS = {"test_shop.py::test_total[3]", "test_shop.py::test_total[5]"}


def predictor(times: float = 2.0, low: float = 1.5, high: float = 3.0, why: str = "its loop runs 2x as often") -> str:
    text = PREDICTOR
    for name, value in (("{times}", times), ("{low}", low), ("{high}", high), ("{why!r}", repr(why))):
        text = text.replace(name, str(value))
    return text


def _measured(inner: Inner) -> None:
    (inner.path / "shop.py").write_text(CODE)
    inner.file(test_shop=TESTS)
    inner.conftest(predictor())
    # Every test reads the counter's files; git knows that they, and what pytester writes, are none of the project's data.
    git(inner, "init", "-q")
    inner.run("--energy-rounds=5").assert_outcomes(passed=4)


@pytest.fixture
def shop(inner: Inner, begin: Callable[[Inner, Make], None]) -> Inner:
    """A project that has been measured once."""
    begin(inner, _measured)
    return inner


def double(inner: Inner) -> None:
    edit(inner, "shop.py", "range(n)", "range(2 * n)")


def predict(inner: Inner, *args: str, energy: bool = False, **options: bool) -> pytest.RunResult:
    (inner.path / ".asked.json").unlink(missing_ok=True)
    more = () if energy else (f"--energy-powercap={inner.powercap}",)
    return inner.run("--energy-predict=times", *more, *args, energy=energy, **options)


def asked(inner: Inner) -> dict:
    path = inner.path / ".asked.json"
    return {entry["nodeid"]: entry for entry in json.loads(path.read_text())} if path.exists() else {}


def section(result: pytest.RunResult) -> str:
    """What was said before tests ran, on one line."""
    lines = result.outlines
    begin = next(number for number, line in enumerate(lines) if "energy: predicted" in line)
    said = []
    for line in lines[begin + 1 :]:
        if not line.strip() or line.startswith("=") or "workers [" in line:
            break
        assert len(line) <= 80
        said.append(line.strip())
    return " ".join(said)
