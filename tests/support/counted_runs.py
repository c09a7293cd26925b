"""Runs that count instructions, by a simulated counter."""

import json
import os
import sys

from inner import sentences

#: Tests whose work an environment variable says, so that the code is the same.
TESTS = """
import json
from simulated_count import work

COSTS = json.loads(os.environ["COSTS"])

def test_a(): work(COSTS["a"])
def test_b(): work(COSTS["b"])
def test_c(): work(COSTS["c"])
"""


def costs(**thousands):
    os.environ["COSTS"] = json.dumps({name: 1000 * value for name, value in {"a": 100, "b": 2000, "c": 30, **thousands}.items()})


def count(inner, *args, ret=0, **options):
    result = inner.run("--energy-count", "--energy-json=report.json", *args, energy=False, **options)
    assert result.ret == ret, result.stdout.str()
    return result


def instructions(inner):
    return {name: test["instructions"] for name, test in inner.tests().items()}


def verdicts(inner):
    return {name: found["comparison"]["verdict"] for name, found in instructions(inner).items()}


def command(inner, *args):
    """``joules``."""
    return inner.pytester.run(sys.executable, "-m", "pytest_joules.cli", *args)


def said(result):
    return "\n".join(sentences(result.outlines))
