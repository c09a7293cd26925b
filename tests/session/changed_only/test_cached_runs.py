"""A run that measures only what has changed: what it says, and what is measured every time."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from changing_shop import ALL, edit, measure, says


def test_the_first_run_measures_all_and_says_why_the_next_none(shop):
    result = shop.run("--energy-changed-only", "--energy-rounds=3")
    assert says(result, "every test was measured: the history has no measurement")
    before = shop.tests()
    assert all(test["cached"] is None and test["code"]["unknown"] == [] for test in before.values())
    result = shop.run("--energy-changed-only", "--energy-rounds=3")
    result.assert_outcomes(passed=6)
    assert says(result, "cached: 6 of 6 tests, measured .* ago; their code has not changed since")
    created = shop.report()["created"]
    for name, test in shop.tests().items():
        assert test["cached"] is not None and test["cached"] <= created
        assert test["outcome"] == "passed"
        for key in ("energy", "duration", "samples", "provenance", "resolution", "rounds", "iterations", "code"):
            assert test[key] == before[name][key], key
    # What was not measured is not kept as if it had been.
    with closing(sqlite3.connect(shop.path / ".pytest_cache/d/joules/history.db")) as connection:
        assert connection.execute("SELECT count(*) FROM measurements").fetchone() == (6,)


def test_a_cached_test_runs_once(shop):
    shop.file(test_count="def test_one():\n    draw(1000)\n    with open('log', 'a') as file:\n        file.write('x')\n")
    measure(shop)
    before = (shop.path / "log").read_text()
    assert "test_one" not in measure(shop)
    assert (shop.path / "log").read_text() == before + "x"


def test_what_starts_threads_or_processes_is_measured_every_time(shop):
    shop.file(
        test_shop="import threading, subprocess, sys\n"
        "def test_thread():\n    draw(1000)\n    thread = threading.Thread(target=int)\n    thread.start()\n    thread.join()\n"
        "def test_process():\n    draw(1000)\n    subprocess.run([sys.executable, '-c', ''])\n"
        "def test_system():\n    draw(1000)\n    os.system('true')\n"
        "def test_none():\n    draw(1000)\n"
    )
    measure(shop)
    result = shop.run("--energy-changed-only", "--energy-rounds=3")
    tests = shop.tests()
    assert {name for name, test in tests.items() if test["cached"] is None} == {"test_thread", "test_process", "test_system"}
    assert tests["test_thread"]["code"]["unknown"] == ["starts a thread"]
    assert "starts a process" in tests["test_process"]["code"]["unknown"]
    assert tests["test_system"]["code"]["unknown"] == ["starts a process"]
    assert says(result, "measured every time, because not all of their code is known: .* starts a process")


def test_what_was_not_warmed_up_is_measured_every_time(shop):
    assert measure(shop, "--energy-warmup=0") == ALL
    assert all(test["code"]["fingerprint"] is None for test in shop.tests().values())
    assert measure(shop) == ALL
    assert measure(shop) == set()


def test_a_test_that_fails_now_fails(shop):
    (shop.path / "state").write_text("1")
    shop.file(test_shop="def test_state():\n    draw(1000)\n    assert os.stat('state').st_size == 1\n")
    measure(shop)
    (shop.path / "state").write_text("22")
    result = shop.run("--energy-changed-only")
    result.assert_outcomes(failed=1)
    test = shop.tests()["test_state"]
    assert (test["outcome"], test["energy"], test["cached"]) == ("failed", None, None)


def test_another_source_is_another_history(measured):
    result = measured.run("--energy-changed-only", "--energy-source=estimate", "--energy-rounds=3")
    assert says(result, "every test was measured: the history has no measurement by this machine and estimate")
    assert all(test["cached"] is None for test in measured.tests().values())


def test_budgets_are_judged_on_cached_joules(measured):
    result = measured.run("--energy-changed-only", "--energy-budget=*test_tax=0.5 mJ")
    result.assert_outcomes(passed=5, failed=1)
    tests = measured.tests()
    assert tests["test_tax"]["budget"]["verdict"] == "over budget"
    assert tests["test_tax"]["cached"] is not None


def test_workers_of_xdist(shop):
    pytest.importorskip("xdist")
    assert measure(shop, "-n2", "-p", "xdist") == ALL
    edit(shop, "shop.py", "LIMIT = 3", "LIMIT = 4")
    assert measure(shop, "-n2", "-p", "xdist") == {"test_limit"}
    result = shop.run("--energy-changed-only", "--energy-store=none.db", "-n2", "-p", "xdist")
    assert says(result, "every test was measured: ")


def test_without_the_cache_plugin_all_is_measured(measured):
    result = measured.run("--energy-changed-only", "-p", "no:cacheprovider")
    assert says(result, "every test was measured: there is no history: pytest's cache is switched off")


def test_a_function_imported_in_the_test(shop):
    (shop.path / "lazy.py").write_text("def work():\n    return 1\n")
    shop.file(test_shop="def test_lazy():\n    draw(1000)\n    import lazy\n    lazy.work()\ndef test_none():\n    draw(1000)\n")
    measure(shop)
    assert measure(shop) == set()
    (shop.path / "lazy.py").write_text("def work():\n    return 2\n")
    assert measure(shop) == {"test_lazy"}
