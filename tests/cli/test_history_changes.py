"""``joules history``: since when a test is dearer, of which sessions, and drawn."""

import io
import json
import math
import random
import sys

import pytest
from long_histories import code_of, commit_of, counted, counting, write

from pytest_joules.cli import main
from pytest_joules.report.text import display_width

TEST, OTHER = "tests/test_a.py::test_one[a b]", "tests/test_b.py::test_two"


@pytest.fixture
def history(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".pytest_cache" / "d" / "joules" / "history.db"


def noisy(level, count, draw, noise=0.01):
    return [level * math.exp(draw.gauss(0, noise)) for _ in range(count)]


def two_levels(path, *, ratio=1.5, tests=1, at=20, count=40):
    """A test that changes its level, when a function that it executes does, beside others that do not."""
    draw = random.Random(1)
    joules = {f"tests/test_c.py::test_{number}": noisy(2.0, count, draw) for number in range(tests - 1)}
    joules[TEST] = noisy(1.0, at, draw) + noisy(ratio, count - at, draw)
    codes = {TEST: lambda session: code_of(pay=session >= at, same=1, elsewhere=session >= at + 1)}
    write(path, joules, codes=codes)


def asked(capsys, *arguments):
    """Exit code, what was printed on one line, and what was said of it."""
    code = main(["history", *arguments])
    shown = capsys.readouterr()
    return code, shown.out, " ".join(shown.err.split())


def test_a_change_is_nominated_with_all_that_convicts(history, capsys):
    two_levels(history)
    code, out, _ = asked(capsys, "--changes")
    text = " ".join(out.split())
    assert code == 0
    assert text.startswith(f"{TEST} nominated: dearer, +5")
    assert "medians of 20 and 20 sessions" in text
    before, after = (commit_of(number) for number in (19, 20))
    assert f"between 2026-01-20 10:20 ({before[:10]}) and 2026-01-21 10:20 ({after[:10]})" in text
    assert "changed in its path: src/shop.py::pay to convict" in text
    assert f"pytest '{TEST}' --energy-against={before[:12]}" in text
    assert "only nominates" in text and "convict" in text
    assert all(len(line) <= 80 for line in out.splitlines())
    (change,) = json.loads(asked(capsys, "--changes", "--json", "one")[1])["changes"]
    assert change["verdict"] == "nominated" and change["ratio"] == pytest.approx(1.5, abs=0.02)
    assert change["ratio"] == pytest.approx(change["after"] / change["before"])
    assert change["last_before"]["commit"] == {"id": before, "dirty": False}
    assert change["changed"] == ["src/shop.py::pay"] and change["same_code"] is False


def test_the_worst_come_first_and_regressions_before_improvements(history, capsys):
    draw = random.Random(2)
    ratios = {"cheaper": 0.5, "hardly": 1.2, "worst": 2.0, "same": 1.0}
    write(history, {f"t.py::{name}": noisy(1.0, 20, draw) + noisy(ratio, 20, draw) for name, ratio in ratios.items()})
    found = json.loads(asked(capsys, "--changes", "--json")[1])
    assert [change["nodeid"] for change in found["changes"]] == ["t.py::worst", "t.py::hardly", "t.py::cheaper"]
    assert found["tests"] == 4
    limited = json.loads(asked(capsys, "--changes", "--json", "--limit=1")[1])
    assert [change["nodeid"] for change in limited["changes"]] == ["t.py::worst"] and limited["left_out"] == 2
    assert "2 more left out (--limit)" in asked(capsys, "--changes", "--limit=1")[1]
    assert json.loads(asked(capsys, "--changes", "--json", "--threshold=60%")[1])["changes"][0]["ratio"] > 1.6
    assert len(json.loads(asked(capsys, "--changes", "--json", "--threshold=60%")[1])["changes"]) == 2


def test_one_test_is_told_alone(history, capsys):
    two_levels(history, tests=12)
    assert len(json.loads(asked(capsys, "--changes", "--json", TEST)[1])["changes"]) == 1
    code, out, _ = asked(capsys, "--changes", "test_c.py::test_5")
    assert code == 0 and out == "no change of level nominated: 1 test looked at.\n"


def test_what_all_tests_had_is_the_machines_doing(history, capsys):
    draw = random.Random(3)
    write(history, {f"t.py::test_{number}": noisy(1.0, 15, draw) + noisy(1.4, 15, draw) for number in range(12)})
    code, out, _ = asked(capsys, "--changes")
    assert code == 0
    assert out.startswith("no change of level nominated: 12 tests looked at.\nall 12 tests together: +40 %")
    (shared,) = json.loads(asked(capsys, "--changes", "--json")[1])["shared"]
    assert shared["tests"] == 12 and shared["ratio"] == pytest.approx(1.4, abs=0.02)


def test_the_same_code_is_no_culprit(history, capsys):
    draw = random.Random(4)
    write(history, {OTHER: noisy(1.0, 20, draw) + noisy(1.5, 20, draw)}, codes={OTHER: lambda session: code_of(pay=1)})
    assert "its code is the same on both sides" in asked(capsys, "--changes")[1]
    history.unlink()
    write(history, {OTHER: noisy(1.0, 20, draw) + noisy(1.5, 20, draw)})
    assert "its code was not recorded" in " ".join(asked(capsys, "--changes")[1].split())


def test_code_that_changed_a_session_beside_the_step_is_between_the_sides(history, capsys):
    draw = random.Random(6)
    for late in (-1, 1):
        write(
            history,
            {OTHER: noisy(1.0, 20, draw) + noisy(2.0, 20, draw)},
            codes={OTHER: lambda session, at=20 + late: code_of(pay=session >= at)},
        )
        (change,) = json.loads(asked(capsys, "--changes", "--json")[1])["changes"]
        assert change["changed"] == ["src/shop.py::pay"] and change["same_code"] is False
        sides = [change[side]["commit"]["id"] for side in ("last_before", "first_after")]
        assert sides == [commit_of(number) for number in ((18, 20) if late < 0 else (19, 21))]
        assert change["convict"] == [f"pytest {OTHER} --energy-against={sides[0][:12]}"]
        history.unlink()


def test_machines_are_never_mixed(history, capsys):
    draw = random.Random(5)
    write(history, {TEST: noisy(1.0, 20, draw)})
    write(history, {TEST: noisy(1.5, 20, draw)}, machine_id="ffff", begin=20)
    assert json.loads(asked(capsys, "--changes", "--json")[1])["changes"] == []


def test_instructions_are_told_at_one_percent_where_counts_compare(history, capsys):
    alike = {"energy": None, "provenance": "unavailable", "source": None}
    counts = [1_000_000] * 4 + [1_015_000] * 4
    records = [{"instructions": counted(count), **alike} for count in counts]
    write(history, {TEST: records}, surroundings=counting())
    code, out, _ = asked(capsys, "--changes")
    assert code == 0 and "nominated: dearer, +1.5 % (1.00 Minstr then" in out
    assert f"    git switch - && pytest '{TEST}' --energy-count --energy-compare={commit_of(3)[:12]}\n" in out
    # The same step between other surroundings is none.
    history.unlink()
    write(history, {TEST: records[:4]}, surroundings=counting())
    write(history, {TEST: records[4:]}, surroundings=counting("Another"), begin=4)
    code, out, _ = asked(capsys, "--changes")
    assert code == 0
    assert out.splitlines()[1] == "too few sessions that can be compared (fewer than 6): 1 of 1 test."


def test_no_history_teaches_as_ever(history, capsys):
    code, out, err = asked(capsys, "--changes")
    assert (code, out) == (1, "") and "no history here" in err


@pytest.mark.parametrize("extra", [[], ["--changes"], ["test_one"], ["--json"], ["test_one", "--json"]])
def test_since_and_machine_filter(history, capsys, extra):
    write(history, {TEST: [1.0] * 3})
    write(history, {TEST: [9.0] * 3}, machine_id="ffff", begin=3)
    for option in ("--since=2026-01-04", f"--since={commit_of(3)[:6]}", "--machine=ff", "--since=2026-01-04T00:00:00Z"):
        code, out, _ = asked(capsys, option, *extra)
        assert code == 0
        if extra == ["--json"]:
            assert [(test["count"], test["energy_median"]) for test in json.loads(out)] == [(3, 9.0)]
        elif "--json" in extra:
            assert [entry["energy"]["median"] for entry in json.loads(out)] == [9.0] * 3
        elif "--changes" not in extra:
            assert "9.00 J" in out and "1.00 J" not in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--since=yesterday"], "'yesterday' is neither a date (2026-01-31) nor a commit"),
        (["--since=2026-02-31"], "neither a date"),
        (["--since="], "neither a date"),
        (["--since=000"], "write more of the commit's id"),
        (["--machine=zz"], "those there are: ffff, 0a1b2c3d4e5f"),
        (["--machine="], "no machine of this history"),
        (["--threshold=5%"], "--threshold is for --changes"),
        (["--prune", "--since=2026-01-01"], "leave out"),
        (["--prune=5", "--changes"], "leave out"),
    ],
)
def test_what_cannot_be_asked_is_one_message(history, capsys, arguments, says):
    write(history, {TEST: [1.0] * 3})
    write(history, {TEST: [2.0]}, machine_id="ffff", begin=3)
    code, out, err = asked(capsys, *arguments)
    assert (code, out) == (2, "") and says in err
    if "--threshold=5%" not in arguments:
        assert asked(capsys, "--limit=3", *arguments)[0] == 2


def test_nothing_in_these_sessions_is_said(history, capsys):
    write(history, {TEST: [1.0]})
    for arguments in ([], ["test_one"]):
        code, out, err = asked(capsys, "--since=2027-01-01", *arguments)
        assert (code, out) == (1, "") and "since 2027-01-01" in err
    assert asked(capsys, "--since=2027-01-01", "--changes")[0] == 0


# The line


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_line_is_drawn_and_fits(history, capsys, monkeypatch, width):
    two_levels(history, count=190, at=100)
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = asked(capsys, TEST)
    assert code == 0
    head = out.partition("date")[0]
    assert "█" in head and all(display_width(line) <= width for line in out.splitlines())
    told = " ".join(head.split())
    assert "joules by rapl, measured, machine 0a1b2c3d4e5f: 190 sessions, 2026-01-01 to 2026-07-09, lowest 9" in told


def test_what_cannot_be_compared_has_a_line_of_its_own(history, capsys):
    write(history, {TEST: [1.0, 1.1, 1.2]})
    write(history, {TEST: [9.0, 9.1, 9.2]}, machine_id="ffff", begin=3)
    write(history, {TEST: [5.0, 5.1, 5.2]}, source="nvml", begin=6)
    bare = {"energy": None, "provenance": "unavailable", "source": None}
    write(history, {TEST: [{"instructions": counted(n * 10**6), **bare} for n in (1, 2, 3)]}, begin=9, surroundings=counting())
    out = " ".join(asked(capsys, TEST)[1].split())
    for name in ("rapl, measured, machine 0a1b", "rapl, measured, machine ffff", "nvml, measured, machine 0a1b"):
        assert f"joules by {name}" in out
    assert "lowest 9.00 J, highest 9.20 J" in out
    assert "instructions by callgrind 3.19.0" in out and "lowest 1.00 Minstr, highest 3.00 Minstr" in out


def test_a_line_is_of_characters_that_the_output_has(history, capsys, monkeypatch):
    two_levels(history)
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["history", TEST]) == 0
    sys.stdout.flush()
    text = written.getvalue().decode("ascii")
    assert "|||" in text and "\\u" not in text
