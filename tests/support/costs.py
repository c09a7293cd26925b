"""Tests whose costs a variable says."""

#: Every round of every test costs what a variable says (a file would be data that tests depend on), with the scatter of a quiet
#: machine (some per mille) around it.
COSTS = """
import json, pathlib

SCATTER = [0, 3, -2, 5, -4, 1, -5, 2, 4, -1, -3]

def cost(name):
    millijoules = json.loads(os.environ["COSTS"])[name]
    SCATTER.append(SCATTER.pop(0))
    draw(int(millijoules * (1000 + SCATTER[-1])))

def test_a(): cost("a")
def test_b(): cost("b")
def test_c(): cost("c")
"""
