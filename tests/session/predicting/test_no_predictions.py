"""What is not as it should be: one clear message each, and the run goes on without predictions; what was misspelt ends it."""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import sqlite3
import zipfile
from contextlib import closing

import pytest
from changing_shop import edit
from foretold import asked, double, predict, predictor, section
from hypothesis import given
from hypothesis import strategies as st
from inner import Inner, sentences

from pytest_joules.predict.choices import MODEL_FILE
from pytest_joules.predict.facts.of_test import TestFacts
from pytest_joules.predict.model import Model
from pytest_joules.predict.model_file import save
from pytest_joules.predict.protocol import Answer, Before, Question
from pytest_joules.predict.questions import PredictorError, answers

HISTORY = ".pytest_cache/d/joules/history.db"


def goes_on(result: pytest.RunResult, *says: str, passed: int = 4, failed: int = 0) -> None:
    """Everything ran, nothing was predicted, and why was said once."""
    result.assert_outcomes(passed=passed, failed=failed)
    lines = [line for line in sentences(result.outlines) if line.startswith("energy: no predictions: ")]
    assert len(lines) == 1, result.outlines
    for words in says:
        assert words in lines[0]
    assert "energy: predicted" not in result.stdout.str()


def refused(inner: Inner, *args: str, says: list[str], energy: bool = True) -> None:
    """It is a usage error, and no report is written."""
    (inner.path / "report.json").unlink(missing_ok=True)
    inner.refused(*args, says=says, energy=energy)


# The history


@pytest.mark.parametrize("energy", [False, True])
def test_no_history(inner, energy):
    inner.conftest(predictor())
    inner.file(test_a="def test_a(): draw(1000)\n")
    says = "has no measurement of these tests" if energy else "there is no history yet: pytest --energy makes one"
    goes_on(predict(inner, "--energy-predict-only", energy=energy), says, passed=1)


def test_no_cache(shop):
    goes_on(predict(shop, "-p", "no:cacheprovider"), "pytest's cache is switched off")


def test_a_corrupt_history(shop):
    path = shop.path / HISTORY
    path.write_bytes(b"this is not a database, and was never one" * 100)
    goes_on(predict(shop), "history.db cannot be read", "move it away")


def test_a_history_of_another_schema(shop):
    for number, says in ((99, "newer schema"), (2, "older schema")):
        with closing(sqlite3.connect(shop.path / HISTORY)) as connection, connection:
            connection.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (str(number),))
        goes_on(predict(shop), says)


def test_a_table_that_is_gone(shop):
    with closing(sqlite3.connect(shop.path / HISTORY)) as connection, connection:
        connection.execute("DROP TABLE codes")
    goes_on(predict(shop), "history.db cannot be read: no such table: codes")


def test_another_database(shop):
    with closing(sqlite3.connect(shop.path / "other.db")) as connection, connection:
        connection.execute("CREATE TABLE mine (x)")
    goes_on(predict(shop, "--energy-store=other.db"), "no history of pytest-joules")
    goes_on(predict(shop, "--energy-store=nothing.db"), "there is no history yet")
    assert not (shop.path / "nothing.db").exists()


def test_a_history_that_cannot_be_reached(shop):
    pytest.importorskip("psycopg")
    goes_on(predict(shop, "--energy-store=postgresql+psycopg://nobody@127.0.0.1:1/none"), "does not answer")


def test_an_older_history_knows_no_sources(shop):
    with closing(sqlite3.connect(shop.path / HISTORY)) as connection, connection:
        connection.execute("UPDATE functions SET source = NULL")
        connection.execute("UPDATE codes SET counts = NULL")
        connection.execute("UPDATE sessions SET files = NULL")
    result = predict(shop)
    assert "4 unchanged" in section(result)
    double(shop)
    predict(shop)
    question = asked(shop)["test_shop.py::test_total[3]"]
    assert question["before"] == {} == question["counts"]
    # What changed is read from the file, and what that names.
    assert question["now"].keys() == {"shop.py::total", "shop.py::<module> RATE"}


# The model


def test_no_model(shop):
    goes_on(shop.run("--energy-predict", energy=False), "there is no model yet: joules train makes one")
    goes_on(shop.run("--energy-predict", "--energy-predict-only"), "there is no model yet: joules train makes one")


@pytest.mark.parametrize("name", ["model.npz", "mine", "./mine", "tests/model.npz"])
def test_a_model_that_is_not_there(shop, name):
    says = ["--energy-predict", repr(name), "no model file", "no predictor that a plugin offers (times)"]
    refused(shop, f"--energy-predict={name}", says=says, energy=False)
    refused(shop, f"--energy-predict={name}", says=says)


def test_a_path_that_was_swallowed(shop):
    (shop.path / "tests").mkdir()
    for path in ("tests", "test_shop.py", "test_shop.py::test_alone"):
        refused(shop, "--energy-predict", path, says=[repr(path), "put --energy-predict last"], energy=False)


def write_model(shop) -> None:
    save(shop.path / f".pytest_cache/d/joules/{MODEL_FILE}", Model("last"))


@pytest.mark.parametrize("damage", ["text", "empty", "truncated", "tampered", "folder", "bomb"])
def test_a_broken_model(shop, damage):
    double(shop)
    write_model(shop)
    path = shop.path / f".pytest_cache/d/joules/{MODEL_FILE}"
    data = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "bomb":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("manifest.json", b"{}")
            archive.writestr("a.npy", bytes(300 * 2**20))
    elif damage == "tampered":
        with zipfile.ZipFile(path) as archive:
            manifest = archive.read("manifest.json").decode()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("manifest.json", manifest.replace('"last"', '"best"'))
    else:
        path.write_bytes({"text": b"no model", "empty": b"", "truncated": data[: len(data) // 2]}[damage])
    goes_on(shop.run("--energy-predict", "--energy-predict-only", energy=False), "model.npz")


def test_a_model_that_is_not_needed_is_not_read(shop):
    (shop.path / f".pytest_cache/d/joules/{MODEL_FILE}").write_bytes(b"no model")
    assert "4 unchanged" in section(shop.run("--energy-predict", energy=False))


# Files that run code


class Touching:
    """Pickled, it makes a file wherever it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import pathlib

        return pathlib.Path.touch, (self.path,)


@pytest.fixture
def evil(shop):
    double(shop)
    data = pickle.dumps(Touching(shop.path / "ran"))
    (shop.path / "evil.joblib").write_bytes(data)
    yield hashlib.sha256(data).hexdigest()


def test_code_is_not_run_unasked(shop, evil):
    goes_on(shop.run("--energy-predict=evil.joblib", energy=False), "evil.joblib", "--energy-trust-model=SHA256")
    assert not (shop.path / "ran").exists()


def test_code_of_another_file_is_not_run(shop, evil):
    goes_on(shop.run("--energy-predict=evil.joblib", f"--energy-trust-model={'0' * 64}", energy=False), "evil.joblib", evil)
    assert not (shop.path / "ran").exists()


def test_a_repository_cannot_trust_itself(shop, evil, monkeypatch):
    trust = f"--energy-trust-model={evil}"
    says = ["--energy-trust-model is taken from the command line only"]
    path = shop.path / "pytest.ini"
    text = path.read_text()
    for words in (trust, f"--energy-trust-model {evil}"):
        path.write_text(text.replace("addopts =", f"addopts = {words}"))
        refused(shop, "--energy-predict=evil.joblib", says=says, energy=False)
    path.write_text(text)
    options = os.environ["PYTEST_ADDOPTS"]
    monkeypatch.setenv("PYTEST_ADDOPTS", f"{options} {trust}")
    refused(shop, "--energy-predict=evil.joblib", says=says, energy=False)
    monkeypatch.setenv("PYTEST_ADDOPTS", options)
    (shop.path / "options").write_text(f"{trust}\n--energy-predict=evil.joblib\n")
    refused(shop, "@options", says=says, energy=False)
    assert not (shop.path / "ran").exists()
    path.write_text(text + f"energy_trust_model = {evil}\n")
    goes_on(shop.run("--energy-predict=evil.joblib", energy=False), "evil.joblib")
    assert not (shop.path / "ran").exists()


def test_what_is_trusted_is_read(shop, evil):
    """It runs, and turns out to be no predictor."""
    result = shop.run("--energy-predict=evil.joblib", "--energy-trust-model", evil, energy=False)
    goes_on(result, "evil.joblib", "no predictor")
    assert (shop.path / "ran").exists()


@pytest.mark.parametrize("text", ["", "yes", "0" * 63, "g" * 64])
def test_a_hash_that_is_none(shop, text):
    says = ["--energy-trust-model", "is not a SHA-256"]
    refused(shop, "--energy-predict=times", f"--energy-trust-model={text}", says=says, energy=False)


# Predictors of others


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise ValueError('no idea')", "the predictor times failed: ValueError: no idea"),
        ("return []", "the predictor times gave 0 answers to 2 questions"),
        ("return [None] * len(questions)", "None, which is no Answer"),
        ("return [Answer(float('nan'), None)] * 2", "answered nan joules for test_shop.py::test_total"),
        ("return [Answer(1.0, (1.0, float('inf')))] * 2", "answered inf joules"),
        ("return [Answer(1.0, (2.0, 1.0))] * 2", "ends before it begins"),
        ("return [Answer(-1.0, (1.0, 2.0))] * 2", "answered -1.0 joules"),
        ("return [Answer('1 J', (1.0, 2.0))] * 2", "answered '1 J' joules"),
        ("return [Answer(1.0, 2.0)] * 2", "which is no pair"),
        ("return [Answer(1.0, (1.0, 2.0), because='shop')] * 2", "answered 'shop' as places"),
        ("return 5", "TypeError"),
        ("return None", "TypeError"),
    ],
)
def test_a_predictor_that_is_wrong(shop, body, says):
    double(shop)
    text = predictor()
    begin = text.index("        with open(")
    end = text.index("    def answer(")
    shop.conftest(f"{text[:begin]}        from pytest_joules.predict.protocol import Answer\n        {body}\n{text[end:]}")
    goes_on(predict(shop, "--energy-predict-only"), says)


@pytest.mark.parametrize(
    ("returned", "says"), [("[5]", "no predictor"), ("5", "not a list"), ("1 / 0", "division by zero"), ("'abc'", "not a list")]
)
def test_a_hook_that_is_wrong(shop, returned, says):
    shop.conftest(f"def pytest_joules_predictors(config):\n    return {returned}\n")
    refused(shop, "--energy-predict=times", says=["--energy-predict", "pytest_joules_predictors", says], energy=False)


def test_a_hook_that_offers_nothing(shop):
    shop.conftest("def pytest_joules_predictors(config):\n    return None\n")
    refused(shop, "--energy-predict=times", says=["'times' is no model file"], energy=False)


class Fixed:
    name = "fixed"

    def __init__(self, answer):
        self.answer = answer

    def predict(self, questions):
        return [self.answer] * len(questions)


QUESTION = Question(TestFacts("a.py::a", {}, {}, None, ""), Before(1.0, 1.0, {}, {}, ""), ())


@given(
    st.builds(
        Answer,
        st.none() | st.floats() | st.text(max_size=3) | st.booleans(),
        st.none() | st.tuples(st.floats(), st.floats()) | st.lists(st.floats(), max_size=3).map(tuple),
        st.tuples(st.text(max_size=3)) | st.just("text"),
        st.text(max_size=5) | st.none(),
    )
)
def test_any_answer_is_good_or_refused(answer):
    try:
        (given,) = answers(Fixed(answer), [QUESTION])
    except PredictorError as error:
        assert "\n" not in str(error).replace(repr(answer), "")
        return
    assert given.joules is None or (math.isfinite(given.joules) and given.joules >= 0)
    if given.interval is not None:
        low, high = given.interval
        assert 0 <= low <= high < math.inf


# Sources


def test_a_file_that_is_no_python_any_more(shop):
    edit(shop, "test_shop.py", "import shop\n", "import importlib\n")
    edit(shop, "test_shop.py", "    assert shop.total(n) > 0", "    assert importlib.import_module('shop').total(n) > 0")
    edit(shop, "test_shop.py", "    assert shop.loud(2)", "    assert 1")
    (shop.path / "shop.py").write_text("def total(n:\n")
    result = predict(shop)
    result.assert_outcomes(passed=2, failed=2)
    assert "3 shop.py cannot be read as Python" in section(result)


def test_a_file_that_is_gone(shop):
    edit(shop, "test_shop.py", "import shop\n", "shop = None\n")
    (shop.path / "shop.py").unlink()
    result = predict(shop)
    question = asked(shop)["test_shop.py::test_loud"]
    assert "shop.py::loud" in question["changed"] and "shop.py::loud" in question["before"]
    assert not any(key.startswith("shop.py::") for key in question["now"])
    result.assert_outcomes(passed=1, failed=3)


def test_sources_in_other_encodings(shop):
    path = shop.path / "shop.py"
    text = path.read_text().replace('"!"', '"ü"')
    path.write_bytes(f"# -*- coding: latin-1 -*-\n{text}".encode("latin-1"))
    predict(shop)
    assert "shop.py::loud" in asked(shop)["test_shop.py::test_loud"]["changed"]


# Options


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--energy-predict=times", "--energy-fail-on=predictions"], "predicted"),
        (["--energy", "--energy-fail-on=predicted"], "needs --energy-predict"),
        (["--energy-predict=times", "--energy-json=test_shop.py/report.json"], "--energy-json"),
        (["--energy-predict=times", "--energy-threshold=-1"], "--energy-threshold"),
    ],
)
def test_misuse(shop, options, says):
    refused(shop, *options, says=[says], energy=False)


def test_a_misspelt_ini_key(shop):
    shop.ini("energy_predict_only = maybe")
    refused(shop, says=["ini energy_predict_only", "'maybe': write true or false"], energy=False)


def test_a_bad_marker_is_said_by_who_measures(shop):
    edit(shop, "test_shop.py", "def test_alone", "@pytest.mark.energy_budget(watts=1)\ndef test_alone")
    predict(shop).assert_outcomes(passed=4)
    refused(shop, "--energy-predict=times", says=["test_alone", "does not know 'watts'"])


def test_the_quiet_run_says_it_too(shop):
    result = shop.run("--energy-predict", "-q", energy=False)
    assert "energy: no predictions: there is no model yet: joules train makes one from the history" in sentences(result.outlines)
