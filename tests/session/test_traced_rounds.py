"""Accounts of tests: rounds of their own after the measured ones, never among them."""

import json
import sys

import pytest

#: A test that writes down, in each round, who watches it; 1 mJ a round.
WATCHED = """
import json, sys, time

def child():
    time.sleep(0.02)

def events():
    if sys.version_info < (3, 12):
        return sys.getprofile() is not None
    return any(
        sys.monitoring.get_tool(tool) == "pytest-joules account"
        and (sys.monitoring.get_events(tool) or sys.monitoring.get_local_events(tool, child.__code__))
        for tool in range(6)
    )

def test_a(energy):
    with open("rounds.txt", "a") as file:
        print(json.dumps([bool(events()), energy.tracing]), file=file)
    child()
    draw(1000)
"""


def rounds(inner) -> list[list[bool]]:
    return [json.loads(line) for line in (inner.path / "rounds.txt").read_text().splitlines()]


def test_measured_rounds_are_as_without(inner):
    inner.file(test_a=WATCHED)
    inner.run("--energy-rounds=5").assert_outcomes(passed=1)
    plain = inner.tests()["test_a"]
    (inner.path / "rounds.txt").unlink()
    inner.run("--energy-rounds=5", "--energy-trace=functions").assert_outcomes(passed=1)
    traced = inner.tests()["test_a"]
    assert plain["account"] is None
    assert len(traced["samples"]) == len(plain["samples"]) == 5
    assert traced["rounds"] == plain["rounds"]
    assert [sample["energy"] for sample in traced["samples"]] == pytest.approx([1e-3] * 5)
    seen = [watched for watched, _ in rounds(inner)]
    # One to warm up, which is recorded by other means, then five that nobody watches, then the traced ones.
    assert not any(seen[1:6]) and all(seen[6:]) and len(seen) >= 6 + traced["account"]["rounds"] >= 7
    assert not any(tracing for _, tracing in rounds(inner))  # there is nothing to name


def test_the_account_is_of_the_measured_joules(inner):
    inner.file(test_a=WATCHED)
    result = inner.run("--energy-rounds=5", "--energy-trace=functions")
    record = inner.tests()["test_a"]
    account = record["account"]
    assert account["joules"] == record["energy"]["median"]
    parts = [*account["flat"], account["unattributed"]]
    assert sum(part["joules"] for part in parts) == pytest.approx(1e-3)
    slept = next(part for part in account["flat"] if part["name"] == "test_a.py::child")
    assert slept["busy"] < slept["seconds"] and slept["calls"] == 1
    # Its time is that of measured rounds, of which it is nearly all.
    assert 0.5 * record["duration"]["median"] < slept["seconds"] <= record["duration"]["median"]
    assert "where test_a.py::test_a goes" in result.stdout.str()


def test_blocks_and_iterations(inner):
    inner.file(test_a="def part(): draw(10)\n@pytest.mark.energy(iterations=4)\ndef test_a(): part()\n")
    inner.run("--energy-trace=functions").assert_outcomes(passed=1)
    record = inner.tests()["test_a"]
    assert record["account"] is not None, record["notes"]
    (part,) = (part for part in record["account"]["flat"] if part["name"].endswith("::part"))
    assert part["calls"] == 1


def test_what_a_round_tells_is_of_measured_rounds(inner):
    inner.file(
        test_a="""
rounds = 0
def test_a(energy):
    global rounds
    rounds += 1
    energy.work(items=7)
    energy.score(good=0.5 if rounds <= 6 else 0.1)
    draw(1000)
"""
    )
    inner.run("--energy-rounds=5", "--energy-trace=functions")
    record = inner.tests()["test_a"]
    assert record["scores"] == {"good": 0.5}
    assert record["work"]["items"]["amount"] == 7
    assert record["account"]["rounds"] >= 1


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("where", ["assert rounds < 7", "request.addfinalizer(fail) if rounds == 7 else None"])
def test_a_traced_round_that_fails_is_a_note(inner, strict, where):
    inner.file(
        test_a=f"""
rounds = 0
def fail(): assert 0
def test_a(request):
    global rounds
    rounds += 1
    draw(1000)
    {where}
"""
    )
    more = ["--energy-repeat-failures=fail"] if strict else []
    inner.run("--energy-rounds=5", "--energy-trace=functions", *more).assert_outcomes(passed=1)
    record = inner.tests()["test_a"]
    assert len(record["samples"]) == 5 and record["energy"]["median"] == pytest.approx(1e-3)
    assert any("tracing ended: round 7 did not pass" in note for note in record["notes"])


def test_what_has_no_account(inner):
    inner.file(
        test_a="""
def test_fails():
    draw(1000)
    assert 0
@pytest.mark.skip
def test_skipped(): pass
@pytest.mark.xfail
def test_xfail(): assert 0
@pytest.mark.energy(rounds=1, warmup=0)
def test_once(): draw(100000)
"""
    )
    inner.run("--energy-trace=functions").assert_outcomes(passed=1, failed=1, skipped=1, xfailed=1)
    assert not any(inner.tests()[name]["account"] for name in ("test_fails", "test_skipped", "test_xfail", "test_once"))
    assert any(note.startswith("no account: one round") for note in inner.tests()["test_once"]["notes"])


def test_wider_fixtures_stay_up_and_their_errors_count(inner):
    inner.file(
        test_a="""
@pytest.fixture(scope="module")
def wide():
    with open("wide.txt", "a") as file:
        file.write("x")
    yield
    assert 0, "at the end"
def test_a(wide): draw(1000)
"""
    )
    inner.run("--energy-rounds=3", "--energy-trace=functions").assert_outcomes(passed=1, errors=1)
    assert (inner.path / "wide.txt").read_text() == "x"
    assert inner.tests()["test_a"]["account"] is not None


def test_a_profiler_of_the_tests_own(inner):
    if sys.version_info >= (3, 12):
        pytest.skip("events of sys.monitoring are not in its way")
    inner.file(
        test_a="import sys\ndef test_a():\n    sys.setprofile(lambda *_: None)\n    draw(1000)\n    sys.setprofile(None)\n"
    )
    inner.run("--energy-trace=functions").assert_outcomes(passed=1)
    assert "no account: another profiler took over" in inner.tests()["test_a"]["notes"]


def test_modules_that_nobody_names(inner):
    inner.file(test_a="def test_a(energy): draw(1000)\n")
    result = inner.run("--energy-trace=modules")
    assert inner.tests()["test_a"]["account"] is None
    assert "--energy-trace=modules: no account" in " ".join(result.outlines)


def test_something_else_is_named(inner):
    inner.file(test_a="def test_a(energy): energy.trace(7)\n")
    result = inner.run("--energy-trace=modules")
    result.assert_outcomes(failed=1)
    assert "energy.trace() needs a torch module, or the path of a trace file, not 7" in result.stdout.str()


@pytest.mark.parametrize(("content", "said"), [(None, "trace.json"), ("no json", "trace.json")])
def test_a_bad_trace_file_is_a_note(inner, content, said):
    write = f"open('trace.json', 'w').write({content!r})" if content is not None else "pass"
    inner.file(test_a=f"def test_a(energy):\n    draw(1000)\n    if energy.tracing: {write}\n    energy.trace('trace.json')\n")
    inner.run("--energy-trace=modules").assert_outcomes(passed=1)
    record = inner.tests()["test_a"]
    assert record["account"] is None
    assert any(note.startswith("no account: energy.trace('trace.json')") and said in note for note in record["notes"])


def test_unmeasured(inner):
    inner.file(test_a="def test_a(energy):\n    energy.trace(7)\n    assert not energy.tracing\n")
    inner.run(energy=False).assert_outcomes(passed=1)


@pytest.mark.inner_plugins("xdist")
def test_workers(inner):
    pytest.importorskip("xdist")
    inner.file(test_a=WATCHED)
    inner.run("-n2", "--energy-rounds=3", "--energy-trace=functions", subprocess=True).assert_outcomes(passed=1)
    record = inner.tests()["test_a"]
    assert len(record["samples"]) == 3 and record["account"]["joules"] == record["energy"]["median"]


def test_the_history_does_without_it(inner):
    inner.file(test_a="def test_a(): draw(1000)\n")
    for _ in range(2):
        result = inner.run("--energy-rounds=3", "--energy-trace=functions", "--energy-changed-only")
        result.assert_outcomes(passed=1)
    record = inner.tests()["test_a"]
    assert record["cached"] is not None and record["account"] is None


def test_a_regression_says_where(inner):
    inner.file(test_a="def part(): draw(1000)\ndef test_a(): part()\n")
    inner.run("--energy-save=first", "--energy-trace=functions").assert_outcomes(passed=1)
    inner.file(test_a="def part(): draw(2000)\ndef test_a(): part()\n")
    result = inner.run("--energy-compare=first", "--energy-trace=functions")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*grew: counter.py::draw*"])
    record = inner.tests()["test_a"]
    assert record["comparison"]["verdict"] == "regressed"
    assert record["account"]["joules"] == pytest.approx(record["energy"]["median"])
    assert any(part["name"] == "test_a.py::part" for part in record["account"]["flat"])
    # It is what the part calls that takes them.
    assert record["account"]["grown"][0]["name"] == "counter.py::draw"


def test_a_first_look(inner):
    inner.file(test_a=WATCHED)
    inner.run("--energy-quick", "--energy-trace=functions").assert_outcomes(passed=1)
    record = inner.tests()["test_a"]
    assert len(record["samples"]) == 3 and record["account"]["rounds"] >= 1
