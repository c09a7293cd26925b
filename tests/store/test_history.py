"""What is kept comes back: measurements, what they executed, sessions before."""

import sqlite3
import statistics
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from histories import coded, fill, measured, names, report_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_joules import stats, store
from pytest_joules.model import empty_record
from pytest_joules.store import StoreError, checked, open_store, tables


def test_what_goes_in_comes_out(tmp_path):
    path = tmp_path / "deep" / "history.db"
    record = measured(budget={"joules": 2.0, "verdict": "ok", "why": None}, net_energy=0.5)
    fill(path, record, empty_record("tests/t.py::test_b") | {"outcome": "skipped"})
    opened = open_store(path)
    assert opened.notices == []
    (entry,) = opened.history("tests/t.py::test_a")
    assert entry["machine"] == report_of().machine and entry["machine_id"] == "0a1b"
    assert entry["commit"] == {"id": "c" * 40, "dirty": True}
    assert entry["created"] == report_of().created and entry["settings"] == {"rounds": "auto"}
    assert entry["energy"] == {"median": record["energy"]["median"], "ci95": record["energy"]["ci95"]}
    assert entry["duration"] == {"median": record["duration"]["median"]}
    for key in ("nodeid", "outcome", "source", "provenance", "resolution", "rounds", "budget", "net_energy", "notes"):
        assert entry[key] == record[key]
    for key in ("energy", "duration", "tsc"):
        assert entry["samples"][key] == pytest.approx([sample[key] for sample in record["samples"]], rel=1e-8)
    assert entry["samples"]["domains"]["dram"] == [None] * 5
    (nothing,) = opened.history("tests/t.py::test_b")
    assert nothing["energy"] is None and nothing["duration"] is None and nothing["samples"]["energy"] == []
    assert opened.history("no such") == []
    opened.close()
    opened.close()


def test_newest_first_and_names(tmp_path):
    path = tmp_path / "history.db"
    for number in range(3):
        fill(path, measured(joules=1.0 + number), measured("tests/t.py::TEST_b"), measured("tests/t.py::test_100%_[x]"))
    opened = open_store(path)
    medians = [entry["energy"]["median"] for entry in opened.history("tests/t.py::test_a")]
    assert medians == sorted(medians, reverse=True) and len(medians) == 3
    assert len(opened.history("tests/t.py::test_a", limit=2)) == 2
    assert opened.nodeids("t.py::test_a") == ["tests/t.py::test_a"]
    assert opened.nodeids("test_b") == [] and opened.nodeids("TEST_b") == ["tests/t.py::TEST_b"]
    assert opened.nodeids("%_[") == ["tests/t.py::test_100%_[x]"] and opened.nodeids("%x") == []
    assert len(opened.nodeids()) == 3
    overview = opened.overview()
    assert {entry["nodeid"]: entry["count"] for entry in overview} == dict.fromkeys(opened.nodeids(), 3)
    assert next(e for e in overview if e["nodeid"].endswith("test_a"))["energy_median"] == medians[0]
    opened.close()


def test_nan_and_odd_characters_are_kept_out_of_the_database(tmp_path):
    record = measured("t.py::x[\udc80\0]", scores={"a": float("nan")})
    record["samples"][0]["energy"] = float("nan")
    fill(tmp_path / "history.db", record)
    opened = open_store(tmp_path / "history.db")
    (entry,) = opened.history("t.py::x[\udc80\0]")
    assert entry["samples"]["energy"][0] is None and entry["nodeid"] == "t.py::x[\\udc80\\x00]"
    opened.close()


def test_a_sample_takes_few_bytes(tmp_path):
    fill(tmp_path / "history.db", *(measured(f"tests/test_module.py::test_{n}", rounds=20) for n in range(100)))
    assert (tmp_path / "history.db").stat().st_size / 2000 <= 200


def test_what_a_test_executes_is_kept(tmp_path):
    path = tmp_path / "history.db"
    shared = {f"src/shop.py::f{number}": f"h{number}" for number in range(200)}
    first = {**shared, "tests/t.py::a": "1"}
    odd = {"fingerprint": None, "functions": {"x\udc80.py::<lambda>\0": "9"}, "unknown": ["a thread"]}
    fill(path, coded("a", first), coded("b", shared, "g"), measured("c", code=odd), measured("d"))
    changed = {**first, "src/shop.py::f7": "new"}
    fill(path, coded("a", changed, "f2"), coded("b", shared, "g"))
    opened = open_store(path)
    assert [entry["code"]["functions"] for entry in opened.history("a")] == [changed, first]
    assert [entry["code"]["fingerprint"] for entry in opened.history("a")] == ["f2", "f"]
    assert [entry["code"]["functions"] for entry in opened.history("b")] == [shared, shared]
    assert opened.history("c")[0]["code"] == {
        "fingerprint": None,
        "functions": {"x\\udc80.py::<lambda>\\x00": "9"},
        "unknown": ["a thread"],
        "counts": {},
        "outside": {},
    }
    assert opened.history("d")[0]["code"] is None
    latest = opened.latest_code("0a1b", "rapl")
    assert latest["a"]["code"]["functions"] == changed and set(latest) == {"a", "b", "c"}
    opened.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM functions").fetchone() == (203,)
        assert connection.execute("SELECT count(*) FROM codes").fetchone() == (4,)
        assert connection.execute("SELECT max(length(functions)) FROM codes").fetchone()[0] < 20


def test_how_often_it_ran_and_its_source_are_kept(tmp_path):
    path = tmp_path / "history.db"
    functions = {"a.py::f": "h1", "a.py::g": "h2", "a.py::<module> N": "h3", "<python>": "3"}
    counts = {"a.py::g": [2, 2, 20], "a.py::f": [1]}
    outside = {"a.py::g": {"re.compile": [2, 45000, 0], ".größe": [1, 90, 3]}, "a.py::f": {"()": [1, 0, 0]}}
    code = {"fingerprint": "x", "functions": functions, "unknown": [], "counts": counts, "outside": outside}
    # What an older session did not count or time is now, though the code is the same.
    fill(path, measured("a", code={**code, "counts": {}, "outside": {}}))
    opened = open_store(path)
    opened.begin(report_of(created="2026-01-15T00:00:00+00:00"))
    opened.add(measured("a", code={**code, "outside": {}}))
    opened.begin(report_of(created="2026-02-01T00:00:00+00:00"))
    opened.add(measured("a", code=code))
    assert opened.without_source() == {(key, functions[key]) for key in functions if "::" in key}
    opened.add_sources({("a.py::f", "h1"): "def f(): pass\n", ("a.py::<module> N", "h3"): "N = 1\n", ("b.py::no", "h"): "?"})
    assert opened.without_source() == {("a.py::g", "h2")}
    opened.add_files({"a.py": "d"})
    opened.add_predicting({"joules": 1.0})
    opened.close()
    opened = open_store(path, write=False)
    assert [entry["code"]["counts"] for entry in opened.history("a")] == [counts, counts, {}]
    assert [entry["code"]["outside"] for entry in opened.history("a")] == [outside, {}, {}]
    assert opened.sources([("a.py::f", "h1"), ("a.py::f", "other"), ("a.py::g", "h2")]) == {("a.py::f", "h1"): "def f(): pass\n"}
    latest = opened.latest("0a1b", "rapl")["a"]
    assert (
        latest["code"]["counts"] == counts
        and latest["code"]["outside"] == outside
        and latest["files"] == {"a.py": "d"}
        and latest["created"] == "2026-02-01T00:00:00+00:00"
    )
    both = opened.versions()
    assert [entry["code"]["counts"] for entry in both] == [{}, counts, counts]
    samples = opened.history("a")[0]["samples"]
    assert both[-1]["joules"] == pytest.approx(statistics.median(samples["energy"]))
    assert both[-1]["tsc"] == pytest.approx(statistics.median(samples["tsc"]))
    assert opened.predictings(10) == [{"joules": 1.0, "created": "2026-02-01T00:00:00+00:00"}]
    opened.close()


def test_a_failed_write_leaves_no_half_of_it_to_others(tmp_path):
    """The second test's functions are the first's, whose transaction was undone."""
    path = tmp_path / "history.db"
    opened = open_store(path)
    opened.begin(report_of())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON measurements BEGIN SELECT RAISE(ABORT, 'no'); END")
    functions = {f"a.py::{number}": "h" for number in range(5)}
    with pytest.raises(StoreError, match=r"\(no\)"):
        opened.add(coded("a", functions))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER no")
    opened.add(coded("a", functions))
    assert opened.history("a")[0]["code"]["functions"] == functions
    opened.close()


def test_earlier_sessions_of_a_test(tmp_path):
    path = tmp_path / "history.db"
    other = report_of().machine | {"id": "ffff"}
    for day, records, report in (
        (3, [coded("a", {}, "f3", joules=3.0), measured("b"), coded("c", {}, outcome="failed")], {}),
        (1, [coded("a", {}, "f1", joules=1.0), measured("b", provenance="shared"), measured("c", energy=None)], {}),
        (2, [measured("a", joules=2.0, provenance="estimated"), measured("b", source="estimate")], {}),
        (4, [coded("a", {}, "f4", joules=4.0)], {"machine": other}),
    ):
        opened = open_store(path)
        opened.begin(report_of(created=f"2026-01-0{day}T00:00:00+00:00", **report))
        for record in records:
            opened.add(record)
        opened.close()
    opened = open_store(path)
    opened.begin(report_of(created="2026-01-05T00:00:00+00:00"))
    opened.add(coded("a", {}, "now"))
    found = opened.sessions_of(["a", "b", "c", "no such"], "0a1b", "rapl")
    assert set(found) == {"a", "b"} and len(found["b"]) == 1
    assert [entry["fingerprint"] for entry in found["a"]] == ["f1", None, "f3"]
    assert [entry["median"] for entry in found["a"]] == pytest.approx([1 + 2 / 97, 2 + 4 / 97, 3 + 6 / 97])
    assert [entry["created"][8:10] for entry in found["a"]] == ["01", "02", "03"]
    few = opened.sessions_of(["a"], "0a1b", "rapl", limit=1)
    assert [entry["fingerprint"] for entry in few["a"]] == ["f3"]
    earlier = opened.sessions_of(["a"], "0a1b", "rapl", before="2026-01-03T00:00:00+00:00")
    assert [entry["fingerprint"] for entry in earlier["a"]] == ["f1", None]
    assert opened.sessions_of([], "0a1b", "rapl") == {}
    assert opened.sessions_of(["a"], "0a1b", "rapl+nvml") == {}
    latest = opened.latest_code("0a1b", "rapl")
    assert set(latest) == {"a"} and latest["a"]["code"]["fingerprint"] == "f3"
    assert latest["a"]["created"] == "2026-01-03T00:00:00+00:00"
    many = opened.sessions_of([f"t{number}" for number in range(5000)] + ["a"], "0a1b", "rapl")
    assert set(many) == {"a"}
    opened.close()


def test_the_newest_record_comes_back_as_it_was(tmp_path):
    record = coded("a", {"p.py::f": "1"}, regions={"load": {"energy": None, "duration": stats.summarise([2.0])}}, net_energy=0.5)
    record["energy"]["ci95"] = [0.1, 9.0]  # wider than the samples say
    fill(tmp_path / "history.db", record)
    opened = open_store(tmp_path / "history.db")
    found = opened.latest_code("0a1b", "rapl")["a"]
    opened.close()
    assert found.pop("created") == report_of().created
    assert found.keys() == record.keys()
    for key in ("nodeid", "outcome", "source", "provenance", "rounds", "code", "regions", "net_energy", "notes", "cached"):
        assert found[key] == record[key]
    assert found["energy"].pop("ci95") == record["energy"].pop("ci95")
    assert found["energy"] == pytest.approx(record["energy"])
    assert found["duration"]["mean"] == pytest.approx(stats.summarise([s["duration"] for s in record["samples"]])["mean"])
    assert [sample["energy"] for sample in found["samples"]] == pytest.approx([s["energy"] for s in record["samples"]])
    assert found["samples"][0]["domains"] == {"package-0": 1.0, "dram": None}
    assert found["power"]["median"] == pytest.approx(20)


def test_cached_joules_are_not_kept_again(tmp_path):
    fill(tmp_path / "history.db", measured("a"), measured("b", cached="2026-01-01"))
    opened = open_store(tmp_path / "history.db")
    assert opened.nodeids() == ["a"]
    opened.close()


@given(st.sets(st.integers(1, 300)))
@settings(derandomize=True)
def test_ranges_there_and_back(numbers):
    text = tables.ranges(numbers)
    assert checked.numbers(text, 300) == sorted(numbers)
    assert len(text.split()) <= len(numbers)


@given(st.lists(st.lists(st.text(max_size=3), max_size=4), max_size=8))
@settings(derandomize=True)
def test_other_texts_have_another_number(lists):
    distinct = set(map(tuple, lists))
    assert len({tables.number_of(*parts) for parts in distinct}) == len(distinct)


def test_reading_makes_nothing(tmp_path):
    with pytest.raises(StoreError, match="no history"):
        open_store(tmp_path / "history.db", write=False)
    (tmp_path / "history.db").touch()
    with pytest.raises(StoreError, match="no measurements yet"):
        open_store(tmp_path / "history.db", write=False)
    assert names(tmp_path) == ["history.db"] and not (tmp_path / "history.db").stat().st_size
    (tmp_path / "history.db").unlink()
    fill(tmp_path / "history.db", measured())
    opened = open_store(tmp_path / "history.db", write=False)
    with pytest.raises(StoreError, match="writable"):
        opened.begin(report_of())
    opened.close()


def test_only_one_file_knows_sqlite():
    """A server is only a URL: no PRAGMA and no raw SQL outside the one file, and types every database has."""
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.schema import CreateTable

    for table in tables.tables().metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))
    sources = {path.name: path.read_text("utf-8") for path in Path(store.__file__).parent.glob("*.py")}
    del sources["sqlite.py"]
    assert not [name for name, source in sources.items() if "PRAGMA" in source]
    # The one place that sends text: it was compiled for the database in use.
    assert [name for name, source in sources.items() if "exec_driver_sql(" in source] == ["writing.py"]
    assert sources["writing.py"].count("exec_driver_sql(") == 1


def test_importing_the_module_does_not_import_sqlalchemy():
    code = "import sys, pytest_joules.store; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_add_needs_a_session(tmp_path):
    opened = open_store(tmp_path / "history.db")
    with pytest.raises(RuntimeError, match="begin"):
        opened.add(measured())
    opened.close()
