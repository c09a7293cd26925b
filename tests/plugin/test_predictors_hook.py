"""``pytest_joules_predictors``: what plugins may offer, and that only it is offered."""

from __future__ import annotations

import textwrap
import types

import pluggy
import pytest

from pytest_joules import hookspecs
from pytest_joules.predict.model import ModelError
from pytest_joules.predict.protocol import Answer, Before, Predictor, Question
from pytest_joules.session.predictor import offered


class Tenth:
    """The predictor of the hook's own example."""

    name = "tenth"

    def predict(self, questions):
        return [self.answer(question) for question in questions]

    def answer(self, question):
        if question.before is None:
            return Answer(None, None, why="never measured")
        joules = question.before.joules * 1.1 ** len(question.changed)
        return Answer(joules, (joules * 0.9, joules * 1.1), because=question.changed)


def config(*plugins: object):
    """A configuration in which these are what the plugins' hooks return."""
    manager = pluggy.PluginManager("pytest")
    spec = pytest.hookspec(hookspecs.pytest_joules_predictors)
    manager.add_hookspecs(types.SimpleNamespace(pytest_joules_predictors=spec))
    for given in plugins:
        manager.register(types.SimpleNamespace(pytest_joules_predictors=pytest.hookimpl(lambda given=given: given)))
    return types.SimpleNamespace(hook=manager.hook)


def test_what_several_plugins_offer_by_name():
    other = types.SimpleNamespace(name="other", predict=lambda questions: [])
    one = Tenth()
    found = offered(config([one], None, (other,)))
    assert found == {"tenth": one, "other": other}
    assert all(isinstance(predictor, Predictor) for predictor in found.values())


def test_nobody_offers_any():
    assert offered(config()) == offered(config(None, [])) == {}


def test_of_one_name_the_plugin_that_came_last_counts():
    first, last = Tenth(), Tenth()
    # pluggy asks the plugin first that was registered last.
    assert offered(config([first], [last])) == {"tenth": last}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Tenth(), "returned a Tenth, not a list of predictors"),
        ("tenth", "returned a str"),
        (7, "returned a int"),
        ([Tenth], "is no predictor but a type"),
        ([object()], "is no predictor but a object"),
        ([types.SimpleNamespace(predict=lambda questions: [])], "needs a name and predict"),
        ([types.SimpleNamespace(name=" ", predict=lambda questions: [])], "needs a name"),
        ([types.SimpleNamespace(name=7, predict=lambda questions: [])], "needs a name"),
    ],
)
def test_what_is_no_predictor(given: object, words: str):
    with pytest.raises(ModelError, match=words):
        offered(config(given))


def test_the_example_in_the_hook_works():
    text = hookspecs.pytest_joules_predictors.__doc__ or ""
    code = textwrap.dedent(text.partition("::")[2])
    made: dict = {}
    exec(code, made)
    (predictor,) = made["pytest_joules_predictors"](None)
    facts = types.SimpleNamespace(nodeid="a.py::test_a")
    before = Before(2.0, 1.0, {}, {}, "")
    known, new = predictor.predict([Question(facts, before, ("a.py::f",)), Question(facts, None, ())])
    assert (known.joules, known.because) == (pytest.approx(2.2), ("a.py::f",)) and new.joules is None
    assert Tenth().predict([Question(facts, before, ("a.py::f",))]) == [known]
