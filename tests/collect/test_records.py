"""Lines of the data set, made of a history."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_joules.collect import records
from pytest_joules.collect.failure import Failed
from pytest_joules.collect.records import Lines, ranges
from pytest_joules.model import Report, empty_record
from pytest_joules.store import open_store

HEAD = {"package": "thing", "version": "1.0", "popularity": 7.5}
MACHINE = {"id": "0a1b", "cpu": "Some CPU", "python": "CPython 3.12.1"}
SOURCES = [{"name": "rapl", "provenance": "measured", "domains": ["package-0"], "uncertainty": None}]


@given(st.sets(st.integers(0, 60)))
def test_ranges(numbers):
    found = ranges(numbers)
    assert {number for first, last in found for number in range(first, last + 1)} == numbers
    assert all(after[0] > before[1] + 1 for before, after in pairwise(found))


def record_of(nodeid, samples, functions=None, counts=None, outside=None, **other):
    """A test with samples ``(joules, seconds, ticks, joules by domain)``."""
    code = {"fingerprint": "f00d", "functions": functions or {}, "unknown": [], "counts": counts or {}, "outside": outside or {}}
    made = [{"energy": e, "duration": d, "tsc": t, "domains": domains, "block": 1} for e, d, t, domains in samples]
    record = empty_record(nodeid) | {"outcome": "passed", "source": "rapl", "provenance": "measured", "resolution": "ok"}
    return record | {"rounds": len(made), "samples": made, "code": code} | other


@pytest.fixture
def written(tmp_path):
    """The lines of a history of these records."""

    def make(*tests, sources=None, representations=None):
        store = open_store(tmp_path / "history.db")
        store.begin(Report("2026-11-21T10:00:00+00:00", MACHINE, None, {"rounds": 20}, SOURCES))
        for record in tests:
            store.add(record)
        store.add_sources(sources or {})
        store.close()
        lines = Lines(HEAD, representations or {})
        records.write_lines(tmp_path / "records" / "thing.jsonl", tmp_path / "history.db", lines)
        made = [json.loads(line) for line in (tmp_path / "records" / "thing.jsonl").read_text("utf-8").splitlines()]
        return lines, made

    return make


class TestLines:
    def test_a_repetition_is_a_place_in_every_column(self, written):
        two = {"package-0": 1.5, "package-1": 0.25, "core-0": 1.0, "core-1": 0.125, "dram": 9.0}
        lines, (head, test) = written(
            record_of("t.py::a", [(1.75, 0.5, 1e9, two), (3.5, 1.0, 2e9, {k: 2 * v for k, v in two.items()})])
        )
        assert head["kind"] == "package" and head["machine"] == MACHINE and head["sources"] == SOURCES
        assert head["created"] == "2026-11-21T10:00:00+00:00"
        assert {key: test[key] for key in HEAD} == HEAD
        assert test["repetitions"] == {
            "duration": [0.5, 1.0],
            "tsc": [1e9, 2e9],
            "energy": [1.75, 3.5],
            "package": [1.75, 3.5],
            "core": [1.125, 2.25],
            "exit_status": [0, 0],
        }
        assert (lines.tests, lines.repetitions) == (1, 2)

    def test_what_is_not_known_is_null(self, written):
        _, (_, test) = written(record_of("t.py::a", [(2.0, 0.5, None, {"cpu": 2.0})], source="estimate", provenance="estimated"))
        assert test["repetitions"] == {
            "duration": [0.5],
            "tsc": None,
            "energy": [2.0],
            "package": None,
            "core": None,
            "exit_status": [0],
        }

    def test_a_domain_that_failed_once(self, written):
        samples = [(None, 0.5, 1.0, {"package-0": None}), (2.0, 0.5, 1.0, {"package-0": 2.0})]
        _, (_, test) = written(record_of("t.py::a", samples))
        assert test["repetitions"]["package"] == [None, 2.0]

    def test_failed_and_skipped_tests_are_lines_and_do_not_count(self, written):
        lines, made = written(
            record_of("t.py::a", [(1.0, 0.5, 1.0, {}), (1.0, 0.5, 1.0, {})], outcome="failed"),
            record_of("t.py::b", [], outcome="skipped"),
        )
        assert [line["outcome"] for line in made[1:]] == ["failed", "skipped"]
        assert [line["repetitions"]["exit_status"] for line in made[1:]] == [[0, 1], []]
        assert (lines.tests, lines.repetitions) == (0, 0)

    def test_functions_are_written_once_and_named_by_number(self, written):
        body = "def f(n):\n    return n\n"
        shared = {"a.py::f": "1", "<python>": "p"}
        sample = [(1.0, 0.5, 1.0, {})]
        _, made = written(
            record_of(
                "t.py::a",
                sample,
                {**shared, "t.py::a": "2"},
                {"a.py::f": [12, 12], "t.py::a": [1, 1]},
                {"a.py::f": {".split": [12, 900, 0]}},
            ),
            record_of("t.py::b", sample, {**shared, "t.py::b": "3"}, {"a.py::f": [5, 5]}),
            # Another version of the same place.
            record_of("t.py::c", sample, {**shared, "a.py::f": "9"}),
            sources={("a.py::f", "1"): body},
        )
        functions = {line["id"]: line for line in made if line["kind"] == "function"}
        assert len(functions) == 5 and list(functions) == [*range(5)]
        tests = {line["nodeid"]: line for line in made if line["kind"] == "test"}

        def of(nodeid):
            numbers = [number for first, last in tests[nodeid]["functions"] for number in range(first, last + 1)]
            return {functions[number]["place"]: functions[number] for number in numbers}

        assert set(of("t.py::a")) == {"a.py::f", "<python>", "t.py::a"}
        assert of("t.py::a")["a.py::f"] == of("t.py::b")["a.py::f"] != of("t.py::c")["a.py::f"]
        assert of("t.py::a")["a.py::f"]["source"] == body and of("t.py::c")["a.py::f"]["source"] is None
        counts = {functions[int(number)]["place"]: entry for number, entry in tests["t.py::a"]["counts"].items()}
        assert counts == {"a.py::f": [12, 12], "t.py::a": [1, 1]}
        outside = {functions[int(number)]["place"]: entry for number, entry in tests["t.py::a"]["outside"].items()}
        assert outside == {"a.py::f": {".split": [12, 900, 0]}} and tests["t.py::b"]["outside"] == {}

    def test_representations(self, written):
        seen = []

        def calls(facts):
            seen.append((facts.nodeid, dict(facts.sources)))
            return {"z": 1.23456789, "a": sum(entry[0] for entry in facts.counts.values())}

        code = {"a.py::f": "1"}
        _, made = written(
            record_of("t.py::a", [(1.0, 0.5, 1.0, {})], code, {"a.py::f": [12, 12]}),
            sources={("a.py::f", "1"): "def f(): ..."},
            representations={"calls": calls},
        )
        assert made[-1]["representations"] == {"calls": {"a": 12, "z": 1.23457}}
        assert seen == [("t.py::a", {"a.py::f": "def f(): ..."})]

    def test_those_of_the_predictor(self):
        assert set(records.representations("all")) >= {"source", "ast", "bytecode"}
        assert list(records.representations("ast, source")) == ["ast", "source"]
        with pytest.raises(ValueError, match="no representation 'nothing'; there are: "):
            records.representations("ast,nothing")

    def test_a_history_that_cannot_be_read(self, tmp_path):
        (tmp_path / "history.db").write_bytes(b"no database at all" * 100)
        with pytest.raises(Failed) as failed:
            records.write_lines(tmp_path / "r.jsonl", tmp_path / "history.db", Lines(HEAD))
        assert failed.value.reason == "not written" and not (tmp_path / "r.jsonl").exists()


class TestOfARun:
    def test_counts_and_sources_of_what_ran(self, inner, tmp_path):
        inner.file(shop="def total(n):\n    s = 0\n    for i in range(n):\n        s += i\n    return s\n")
        inner.file(test_shop="from shop import total\n\ndef test_a():\n    draw(2_000_000)\n    assert total(7) == 21\n")
        inner.run("--energy-rounds=6", "--energy-store=history.db").assert_outcomes(passed=1)
        lines = Lines(HEAD)
        records.write_lines(tmp_path / "r.jsonl", inner.path / "history.db", lines)
        made = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text("utf-8").splitlines()]
        functions = {line["place"]: line for line in made if line["kind"] == "function"}
        test = made[-1]
        assert functions["shop.py::total"]["source"].startswith("def total(n):")
        # One call; s = 0 once, the loop's header 7 times and once more, its body 7 times, return once.
        assert test["counts"][str(functions["shop.py::total"]["id"])] == [1, 1, 8, 7, 1]
        assert lines.tests == 1 and lines.repetitions == len(test["repetitions"]["duration"])
        assert test["repetitions"]["package"] == test["repetitions"]["energy"]
