"""Which tests run, and in which order: ``--energy-predict-first``, ``--energy-predict-only`` with and without a share."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from changing_shop import edit, git
from foretold import double, predict, section
from inner import Inner

#: By the last word of a test's name, what it will cost of its last joules: expected, lower and upper bound; ``None``: unknown.
ANSWERS = {"a": (1.5, 1.2, 2.0), "b": (1.1, 1.0, 1.4), "c": (1.0, 0.9, 1.2), "d": None, "e": (1.0, 0.9, 1.04)}

GRADED = """
class Times:
    name = "times"
    def predict(self, questions):
        from pytest_joules.predict.protocol import Answer
        return [self.answer(question, Answer) for question in questions]
    def answer(self, question, Answer):
        found = ANSWERS.get(question.facts.nodeid.partition("[")[0][-1], (1.0, 0.9, 1.04))
        if found is None:
            return Answer(None, None, why="too far away")
        expected, low, high = (question.before.joules * times for times in found)
        return Answer(expected, (low, high), question.changed)
def pytest_joules_predictors(config):
    return [Times()]
"""

#: Functions whose edit changes a test each; test_u calls none of them.
CODE = "".join(f"def {name}():\n    return 1\n\n" for name in "abcde")

TESTS = """
import work
def test_u(): draw(1000)
def test_c(): draw(1000); work.c()
def test_b(): draw(1000); work.b()
"""
MORE = """
import work
def test_d(): draw(1000); work.d()
def test_e(): draw(5000); work.e()
def test_a(): draw(2000); work.a()
"""


def graded(**answers) -> str:
    return f"ANSWERS = {ANSWERS | answers!r}\n{GRADED}"


def change(inner: Inner) -> None:
    (inner.path / "work.py").write_text(CODE.replace("return 1", "return 1 + 1"))


def _measured(inner: Inner) -> None:
    (inner.path / "work.py").write_text(CODE)
    inner.file(test_one=TESTS, test_two=MORE)
    inner.conftest(graded())
    git(inner, "init", "-q")
    inner.run("--energy-rounds=5").assert_outcomes(passed=6)


@pytest.fixture
def work(inner: Inner, begin) -> Inner:
    """Two files; every test but one has changed."""
    begin(inner, _measured)
    change(inner)
    return inner


def ran(result: pytest.RunResult) -> list[str]:
    """The names of the tests, as ``-v`` shows them in turn."""
    return [
        line.split(" ")[0].rpartition("::")[2].removeprefix("test_")
        for line in result.outlines
        if "::" in line and line.split(" ")[1:2] in (["PASSED"], ["FAILED"], ["JOULES"], ["PREDICTED"])
    ]


# First


def test_first(work):
    """Of whom nobody can say, the flagged one, the others by their chances; the unchanged one last."""
    result = predict(work, "--energy-predict-first", "-v", "--energy-json=report.json")
    assert ran(result) == ["d", "a", "b", "c", "e", "u"]
    assert "the likeliest run first: 4 of 6 tests moved" in section(result)
    assert work.report()["session"]["predicting"]["reordered"] == 4
    result = predict(work, "--energy-predict-first", "-x", "--energy-fail-on=predicted", "-v")
    assert ran(result) == ["d", "a"]


def test_first_implies_predicting_and_has_an_ini_key(work):
    work.ini("energy_predict_first = true")
    said = " ".join(" ".join(work.run("-v", energy=False).outlines).split())
    assert "no predictions: there is no model yet" in said
    work.ini("energy_predict = times", "energy_predict_first = true")
    assert ran(work.run("-v", energy=False))[:2] == ["d", "a"]


def test_first_while_measuring(work):
    result = predict(work, "--energy-predict-first", "-v", energy=True)
    assert ran(result) == ["d", "a", "b", "c", "e", "u"]
    assert len(work.tests()) == 6


def test_first_and_only(work):
    assert ran(predict(work, "--energy-predict-first", "--energy-predict-only", "-v")) == ["d", "a", "b", "c"]


def test_failed_ones_before_the_likeliest(work):
    edit(work, "test_one.py", "def test_u(): draw(1000)", "def test_u(): assert 0")
    predict(work).assert_outcomes(passed=5, failed=1)
    assert ran(predict(work, "--energy-predict-first", "--ff", "-v"))[:2] == ["u", "d"]


def test_markers_of_an_order_are_left_alone(work):
    edit(work, "test_one.py", "def test_b", "@pytest.mark.order(1)\ndef test_b")
    result = predict(work, "--energy-predict-first", "-v", "-W", "ignore")
    assert ran(result) == ["u", "c", "b", "d", "e", "a"]
    assert "the likeliest do not run first: some tests have the marker order" in section(result)


def test_wider_fixtures_are_set_up_once(work):
    """Of a file, of classes of both kinds, and of each value of a session's parameter."""
    log = "def log(word):\n    with open('.log', 'a') as file: file.write(word + ' ')\n"
    (work.path / "logged.py").write_text(log)
    work.conftest(
        graded() + "\nimport pytest\nfrom logged import log\n"
        "@pytest.fixture(scope='session', params=[1, 2])\ndef world(request):\n    log(f'world{request.param}')\n"
    )
    work.file(
        test_one=TESTS + "from logged import log\n@pytest.fixture(scope='module', autouse=True)\ndef whole(): log('module')\n",
        test_three="import unittest, work\nfrom logged import log\n"
        "class TestFirst(unittest.TestCase):\n"
        "    @classmethod\n    def setUpClass(cls): log('unittest')\n"
        "    def test_1(self): draw(1000)\n"
        "    def test_a(self): draw(1000); work.a()\n"
        "class TestSecond:\n"
        "    @pytest.fixture(scope='class', autouse=True)\n    @classmethod\n    def whole(cls): log('class')\n"
        "    def test_2(self): draw(1000)\n"
        "    def test_b(self): draw(1000); work.b()\n"
        "def test_b(world): draw(1000); work.b()\n"
        "def test_c(world): draw(1000); work.c()\n",
        test_four="def test_4(world): draw(1000)\n",
    )
    (work.path / "work.py").write_text(CODE)
    work.run("--energy-rounds=5").assert_outcomes(passed=16)
    change(work)
    (work.path / ".log").unlink()
    result = predict(work, "--energy-predict-first", "-v")
    result.assert_outcomes(passed=16)
    assert sorted((work.path / ".log").read_text().split()) == ["class", "module", "unittest", "world1", "world2"]
    order = ran(result)
    # What shares nothing stands where its chance says, in between the files.
    assert order[0] == "d" and sorted(order[1:4]) == ["1", "a", "a"]
    assert order.index("e") > order.index("c[1]")


# Only a share


def only(work: Inner, *args: str) -> tuple[list[str], str]:
    result = predict(work, *args, "-v", "--energy-json=report.json")
    return sorted(ran(result)), section(result)


def test_only_those_with_a_chance(work):
    names, said = only(work, "--energy-predict-only")
    assert names == ["a", "b", "c", "d"]
    assert "left out: 1 unchanged, 1 changed predicting" in said


@pytest.mark.parametrize(
    ("share", "names", "left_out"),
    [
        ("100%", "abcde", {"unchanged": 1, "changed": 0, "reaching": 0}),
        ("1", "abcde", {"unchanged": 1, "changed": 0, "reaching": 0}),
        # Of 10 mJ: d and a in any case, which take 3; then b.
        ("40%", "abd", {"unchanged": 1, "changed": 2, "reaching": 1}),
        ("0.01", "ad", {"unchanged": 1, "changed": 3, "reaching": 2}),
    ],
)
def test_a_share_of_the_affected_joules(work, share, names, left_out):
    found, said = only(work, f"--energy-predict-only={share}")
    assert found == list(names)
    account = work.report()["session"]["predicting"]
    joules = 1e-3 * left_out["reaching"]
    assert account["left_out"] == left_out | {"joules": pytest.approx(joules)}
    assert account["affected"] == pytest.approx(10e-3)
    if left_out["reaching"]:
        shown = f"{left_out['reaching']} changed whose interval reaches beyond the limit ({1000 * joules:.2f} mJ of the 10.0 mJ"
        assert f"left out: 1 unchanged, {shown} affected), 1 other changed" in said


def test_what_is_left_out_is_said_where_people_look(work):
    predict(work, "--energy-predict-only=1%", "--energy-markdown=said.md", "--energy-html=said.html", energy=True)
    for name in ("said.md", "said.html"):
        assert "1 unchanged, 2 changed whose interval reaches beyond the limit" in (work.path / name).read_text("utf-8")


def test_none_is_left_though_some_reach_beyond(work):
    work.conftest(graded(a=(1.0, 0.9, 1.2), d=(1.0, 0.9, 1.2)))
    result = predict(work, "--energy-predict-only=1%")
    assert result.ret == pytest.ExitCode.OK
    said = section(result)
    assert "none is left to run" in said and "no test is expected to cost more" not in said


@pytest.mark.parametrize("share", ["0", "0%", "-5%", "101%", "30", "nan", "inf", "maybe", ""])
def test_a_share_that_is_none(work, share):
    says = ["--energy-predict-only: ", repr(share)]
    (work.path / "report.json").unlink()
    work.refused("--energy-predict=times", f"--energy-predict-only={share}", says=says, energy=False)


def test_a_share_that_is_a_file(work):
    says = ["'test_one.py'", "named before this option"]
    (work.path / "report.json").unlink()
    work.refused("--energy-predict=times", "--energy-predict-only", "test_one.py", says=says, energy=False)


@pytest.mark.parametrize(("said", "names"), [("40%", "abd"), ("true", "abcd"), ("0", "abcdeu"), ("off", "abcdeu")])
def test_an_ini_share(work, said, names):
    work.ini("energy_predict = times", f"energy_predict_only = {said}")
    assert sorted(ran(work.run("-v", energy=False))) == list(names)


@pytest.mark.inner_plugins("xdist")
def test_workers_run_the_share_in_order(work):
    pytest.importorskip("xdist")
    (work.path / "work.py").write_text(CODE)
    work.run("--energy-rounds=5", subprocess=True)
    change(work)
    result = predict(
        work, "-n2", "--energy-predict-first", "--energy-predict-only=40%", "--energy-json=report.json", subprocess=True
    )
    result.assert_outcomes(passed=3)
    said = section(result)
    assert "left out: 1 unchanged, 1 changed whose" in said and "the likeliest run first: 3 of 3 tests moved" in said
    assert work.report()["session"]["predicting"]["left_out"]["changed"] == 2


# Only said


@pytest.mark.parametrize("energy", [False, True])
def test_collecting_writes_predictions(work, energy):
    result = predict(work, "--collect-only", "-q", "--energy-json=report.json", energy=energy)
    assert result.ret == pytest.ExitCode.OK
    tests = work.tests()
    assert tests["test_a"]["prediction"]["flagged"] and not tests["test_a"]["samples"]
    assert tests["test_u"]["prediction"]["state"] == "unchanged"
    assert work.report()["session"]["predicting"]["asked"] == 5


def test_collecting_writes_what_cannot_be_predicted(work):
    (work.path / ".pytest_cache/d/joules/history.db").unlink()
    predict(work, "--collect-only", "--energy-json=report.json")
    assert {test["prediction"] for test in work.tests().values()} == {None}
    assert len(work.tests()) == 6


def test_collecting_says_what_it_does_not_write(work):
    result = predict(work, "--collect-only", "--energy-csv=report.csv")
    assert "--energy-csv: nothing is written, as --collect-only runs no test" in result.stdout.str()


# Worth its cost

SLOW = """
import time
class Times:
    name = "times"
    def predict(self, questions):
        from pytest_joules.predict.protocol import Answer
        end = time.process_time() + {seconds}
        while time.process_time() < end: pass
        return [Answer(2 * one.before.joules, (1.5 * one.before.joules, 3 * one.before.joules)) for one in questions]
def pytest_joules_predictors(config):
    return [Times()]
"""


def test_what_costs_more_than_it_can_save_is_not_asked(shop):
    """Known when it was asked once."""
    double(shop)
    shop.conftest(SLOW.format(seconds=0.3))
    assert "2 changed (2 expected to cost more)" in section(predict(shop))
    result = predict(shop, "--energy-predict-only", "--energy-json=report.json", "-v")
    said = section(result)
    assert "2 unchanged, 0 changed, 2 unknown nobody was asked: predicting would take about 0.3" in said
    assert "more than 5 % of running the 2 tests in question" in said and "--collect-only asks all the same" in said
    assert "unknown what they cost: 2 predicting would cost more than 5 % of running it" in said
    # What nobody knows is run.
    assert sorted(ran(result)) == ["total[3]", "total[5]"]
    account = shop.report()["session"]["predicting"]
    assert account["not_asked"].startswith("nobody was asked") and (account["asked"], account["asking"]) == (0, 0)
    # Who wants nothing else, who must not be let through unseen, and who holds it against what is measured.
    assert "2 changed (2 expected to cost more)" in section(predict(shop, "--collect-only"))
    predict(shop, "--energy-fail-on=predicted").assert_outcomes(failed=2, passed=2)
    predict(shop, energy=True)
    assert shop.tests()["test_total[3]"]["prediction"]["flagged"]


def test_long_tests_are_worth_it(shop):
    double(shop)
    shop.conftest(SLOW.format(seconds=0.3))
    predict(shop)
    with closing(sqlite3.connect(shop.path / ".pytest_cache/d/joules/history.db")) as connection, connection:
        connection.execute("UPDATE measurements SET duration_median = 10.0")
    assert "2 changed (2 expected to cost more)" in section(predict(shop))
