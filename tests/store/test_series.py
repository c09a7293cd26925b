"""Series over time hold what can be compared, and nothing else."""

import sqlite3
from contextlib import closing

import pytest
from long_histories import code_of, commit_of, counted, counting, write

from pytest_joules.store import open_store
from pytest_joules.store.entries import Within
from pytest_joules.store.queries import EVERYTHING

TEST, OTHER = "tests/test_a.py::test_one", "tests/test_a.py::test_two"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.db"


def asked(path, question, nodeid=None, within=EVERYTHING):
    store = open_store(path, write=False)
    try:
        return getattr(store, question)(store.past_sessions(within), nodeid)
    finally:
        store.close()


def test_machines_sources_and_provenances_have_series_of_their_own(path):
    write(path, {TEST: [1.0, 2.0], OTHER: [5.0]})
    write(path, {TEST: [3.0]}, source="nvml", begin=2)
    write(path, {TEST: [{"provenance": "estimated", "energy": {"median": 4.0, "ci95": None}}]}, begin=3)
    write(path, {TEST: [6.0]}, machine_id="ffff", begin=4)
    found = asked(path, "joules_over_time")
    assert {(one.nodeid, one.machine_id, one.source, one.provenance): one.values for one in found} == {
        (TEST, "0a1b2c3d4e5f", "rapl", "measured"): [1.0, 2.0],
        (TEST, "0a1b2c3d4e5f", "nvml", "measured"): [3.0],
        (TEST, "0a1b2c3d4e5f", "rapl", "estimated"): [4.0],
        (TEST, "ffff", "rapl", "measured"): [6.0],
        (OTHER, "0a1b2c3d4e5f", "rapl", "measured"): [5.0],
    }
    assert [one.values for one in asked(path, "joules_over_time", OTHER)] == [[5.0]]
    assert [one.values for one in asked(path, "joules_over_time", within=Within(machine_id="ffff"))] == [[6.0]]
    since = "2026-01-04T00:00:00+00:00"
    assert [one.values for one in asked(path, "joules_over_time", within=Within(since))] == [[4.0], [6.0]]


def test_only_what_passed_and_was_measured_the_oldest_first(path):
    write(path, {TEST: [2.0]}, begin=5)
    write(path, {TEST: [1.0, {"outcome": "failed", "energy": {"median": 9.0, "ci95": None}}, 0.0, {"energy": None}]})
    (found,) = asked(path, "joules_over_time")
    assert found.values == [1.0, 2.0]


def test_the_last_measurement_of_a_session_counts(path):
    store_of = {TEST: [1.0]}
    write(path, store_of)
    with closing(sqlite3.connect(path)) as connection, connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(measurements)") if row[1] not in ("id", "number")]
        chosen = ", ".join("7.0" if name == "energy_median" else name for name in columns)
        connection.execute(f"INSERT INTO measurements (number, {', '.join(columns)}) SELECT 99, {chosen} FROM measurements")
    assert [one.values for one in asked(path, "joules_over_time")] == [[7.0]]


def test_instructions_of_other_surroundings_are_never_mixed(path):
    alike = {"energy": None, "provenance": "unavailable"}
    counts = [{"instructions": counted(count), **alike} for count in (1000, 1001)]
    write(path, {TEST: counts}, surroundings=counting())
    # Another machine with the same of what decides counts.
    write(path, {TEST: counts[:1]}, machine_id="ffff", begin=2, surroundings=counting())
    write(path, {TEST: [{"instructions": counted(5000, misses=10), **alike}]}, begin=3, surroundings=counting("Another"))
    write(path, {TEST: [{"instructions": counted(7000), **alike}]}, begin=4)
    found = asked(path, "instructions_over_time")
    assert sorted(one.values for one in found) == [[1000, 1001, 1000], [4990]]
    assert len({one.identity for one in found}) == 2
    assert asked(path, "joules_over_time") == []


def test_what_was_kept_of_a_counts_surroundings_is_no_part_of_a_record(path):
    write(path, {TEST: [{"instructions": counted(1000)}]}, surroundings=counting())
    store = open_store(path, write=False)
    (entry,) = store.history(TEST)
    assert len(entry["counting"]) == 16
    store.close()


def test_codes_are_told_by_number(path):
    write(path, {TEST: [1.0, 2.0]}, codes={TEST: lambda session: code_of(pay=session)})
    (found,) = asked(path, "joules_over_time")
    store = open_store(path, write=False)
    codes = store.executed(found.codes)
    store.close()
    assert [codes[number]["functions"] for number in found.codes] == [{"src/shop.py::pay": "0"}, {"src/shop.py::pay": "1"}]


def test_damaged_rows_are_left_out(path):
    write(path, {TEST: [1.0, 2.0, 3.0]})
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE measurements SET energy_median = 'much' WHERE energy_median = 2.0")
        connection.execute("UPDATE sessions SET created = 'once' WHERE commit_id = ?", (commit_of(2),))
    store = open_store(path, write=False)
    (found,) = store.joules_over_time(store.past_sessions())
    assert found.values == [1.0]
    store.close()
    assert "2 damaged rows" in store.notices[0]
