"""``joules report``, ``joules export --format`` and ``joules comment``, on what runs have written."""

import json
import subprocess
import sys

import pytest

from pytest_joules.cli import main


@pytest.fixture
def measured(inner, monkeypatch):
    """A project that was measured twice."""
    monkeypatch.chdir(inner.path)
    inner.file(test_a="def test_a(): draw(1_000_000)\ndef test_b(): draw(3_000_000)\n")
    inner.run("--energy-rounds=2")
    inner.run("--energy-rounds=3", "--energy-label=os=linux").assert_outcomes(passed=2)
    return inner


def joules(capsys, *args, ret=0):
    found = main(args)
    out, err = capsys.readouterr()
    assert found == ret, err
    return out if ret == 0 else err


def test_a_report_is_shown_again(measured, capsys):
    said = joules(capsys, "report", "report.json")
    assert "test_a.py::test_b  3.00 J" in said
    assert "labels: os=linux" in said


def test_a_page_of_the_history_has_the_newest_of_each_test_and_its_past(measured, capsys):
    measured.run("--energy-rounds=2", "-k", "test_a", "--deselect", "test_a.py::test_b")
    joules(capsys, "report", "history", "--html=h.html", "--markdown=h.md")
    text = (measured.path / "h.html").read_text("utf-8")
    assert "3 sessions on" in text
    assert "2 sessions on" in text
    assert "cached: measured in an earlier session" not in text
    assert "test_b" in (measured.path / "h.md").read_text("utf-8")


def test_without_a_name_it_is_the_history(measured, capsys):
    assert "test_a.py::test_b  3.00 J" in joules(capsys, "report")


def other(measured, **changes):
    """Another environment's report: twice the joules, another Python."""
    report = json.loads((measured.path / "report.json").read_text("utf-8"))
    report["machine"] |= {"python": "CPython 3.99.0", **changes}
    report["settings"]["labels"] = {}
    for test in report["tests"][:1]:
        summary = test["energy"]
        for name in ("median", "mean"):
            summary[name] *= 2
        summary["ci95"] = [2 * end for end in summary["ci95"]] if summary["ci95"] else None
    report["tests"].append({**report["tests"][0], "nodeid": "test_a.py::test_new"})
    (measured.path / "other.json").write_text(json.dumps(report), "utf-8")


def test_several_stand_side_by_side_without_a_verdict(measured, capsys):
    measured.run("--energy-rounds=6")
    other(measured)
    said = joules(capsys, "report", "report.json", "other.json")
    rows = {line.split()[0]: line.split() for line in said.splitlines() if "::" in line}
    assert rows["test_a.py::test_a"][-2:] == ["2.00", "differs"]
    assert rows["test_a.py::test_b"][-2:] == ["1.00", "alike"]
    assert "in one only" in said
    assert "CPython 3.99.0" in said
    assert "no verdict" in said
    assert "regressed" not in said
    joules(capsys, "report", "report.json", "other.json", "--html=m.html", "--markdown=m.md")
    assert "differs" in (measured.path / "m.html").read_text("utf-8")
    assert "| 2.00 | differs |" in (measured.path / "m.md").read_text("utf-8")


def test_estimates_of_several_machines_are_not_compared(measured, monkeypatch, capsys):
    other(measured, id="another")
    for name in ("report", "other"):
        path = measured.path / f"{name}.json"
        path.write_text(path.read_text("utf-8").replace('"measured"', '"estimated"'), "utf-8")
    for columns in ("200", "80"):
        monkeypatch.setenv("COLUMNS", columns)
        said = joules(capsys, "report", "report.json", "other.json")
        assert "not comparable: 2 estimates of several machines" in said
        assert "2.00  not comparable" in said
    joules(capsys, "report", "report.json", "other.json", "--markdown=m.md")
    assert "| not comparable: estimates of several machines |" in (measured.path / "m.md").read_text("utf-8")


def test_what_has_no_room_is_named(measured, monkeypatch, capsys):
    other(measured)
    monkeypatch.setenv("COLUMNS", "60")
    here = measured.report()["machine"]["python"]
    said = joules(capsys, "report", "report.json", *["other.json"] * 5)
    assert max(map(len, said.splitlines())) <= 60
    assert f"not shown for want of room: {here}, os=linux; CPython 3.99.0 #1; " in " ".join(said.split())


def test_the_headline_is_one_line(measured, capsys):
    assert joules(capsys, "report", "report.json", "--headline") == "2 tests, one pass 4.00 J\n"


def test_equal_environments_are_numbered(measured, capsys):
    assert "same #2" in joules(capsys, "report", "report.json", "report.json")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("missing.json",), "there is no such file"),
        (("report.json", "history"), "the history is shown by itself"),
        (("test_a.py",), "not whole, or no JSON"),
        (("report.json", "--html=test_a.py/x"), "test_a.py"),
        (("report.json",) * 101, "no more than 100"),
        (("report.json", "report.json", "--headline"), "of one report"),
        (("report.json", "--html=."), "a folder"),
    ],
)
def test_bad_input_is_one_message(measured, capsys, args, says):
    said = joules(capsys, "report", *args, ret=2)
    assert says in said
    assert said.count("joules:") == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report.update(schema="pytest-joules/2"),
        lambda report: report.pop("machine"),
        lambda report: report["machine"].pop("cpu"),
        lambda report: report.update(tests=5),
        lambda report: report["tests"][0].update(energy="much"),
        lambda report: report["tests"][0]["energy"].update(median="much"),
        lambda report: report["tests"][0]["samples"].append(1),
        lambda report: report["tests"][0].update(budget={"joules": "2"}),
        lambda report: report["tests"][0].update(comparison={"verdict": "regressed"}),
        lambda report: report["sources"].append({}),
        lambda report: report.update(settings=None),
    ],
)
def test_a_report_of_another_form_is_refused(measured, capsys, change):
    report = json.loads((measured.path / "report.json").read_text("utf-8"))
    change(report)
    (measured.path / "bad.json").write_text(json.dumps(report), "utf-8")
    assert "bad.json: it is no " in joules(capsys, "report", "bad.json", "--html=x.html", ret=2)
    assert not (measured.path / "x.html").exists()


def test_what_was_no_number_is_unavailable(measured, capsys):
    report = json.loads((measured.path / "report.json").read_text("utf-8"))
    report["tests"][0]["energy"] = dict.fromkeys(report["tests"][0]["energy"])
    (measured.path / "null.json").write_text(json.dumps(report), "utf-8")
    assert "not measured: 1 unavailable" in joules(capsys, "report", "null.json")
    joules(capsys, "report", "null.json", "--html=n.html", "--markdown=n.md")


def test_what_a_later_version_adds_is_let_pass(measured, capsys):
    report = json.loads((measured.path / "report.json").read_text("utf-8"))
    report["tests"][0]["later"] = {"a": 1}
    report["later"] = 1
    (measured.path / "later.json").write_text(json.dumps(report), "utf-8")
    joules(capsys, "report", "later.json")


def test_what_an_older_version_did_not_write_is_nothing(measured, capsys):
    report = json.loads((measured.path / "report.json").read_text("utf-8"))
    for test in report["tests"]:
        del test["instructions"], test["cached"]
    (measured.path / "older.json").write_text(json.dumps(report), "utf-8")
    assert "test_b" in joules(capsys, "report", "older.json")


def test_there_is_no_history(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "no history here" in joules(capsys, "report", ret=2)
    assert "no history here" in joules(capsys, "export", "--format=csv", "x.csv", ret=2)


# For other programs


def test_numbers_for_other_programs(measured, capsys):
    joules(capsys, "export", "--format=github-action-benchmark", "report.json", "b.json")
    entries = json.loads((measured.path / "b.json").read_text("utf-8"))
    assert {entry["name"]: (entry["value"], entry["unit"]) for entry in entries} == {
        "test_a.py::test_a": (1.0, "J"),
        "test_a.py::test_b": (3.0, "J"),
    }
    joules(capsys, "export", "--format=openmetrics", "m.txt")
    assert 'test="test_a.py::test_b"' in (measured.path / "m.txt").read_text("utf-8")
    joules(capsys, "export", "--format=csv", "history", "h.csv")
    assert (measured.path / "h.csv").read_text("utf-8").count("test_a.py::test_b") == 3


def test_a_csv_is_of_one_report(measured, capsys):
    assert "of one report" in joules(capsys, "export", "--format=csv", "report.json", "report.json", "x.csv", ret=2)


# A comment that is written over


def test_the_comment_begins_with_its_marker(measured):
    done = subprocess.run(
        [sys.executable, "-m", "pytest_joules.cli", "comment", "report.json", "--marker=linux"],
        cwd=measured.path,
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=True,
    )
    text = done.stdout.decode("utf-8")
    assert text.startswith("<!-- pytest-joules: linux -->\n**Energy: 2 tests, one pass 4.00 J**")


COMMENTS = [
    {"id": 1, "body": "see <!-- pytest-joules: energy -->", "user": {"login": "somebody"}},
    {"id": 2, "body": "<!-- pytest-joules: energy -->\nx", "user": {"login": "somebody"}},
    {"id": 3, "body": "<!-- pytest-joules: energy -->\r\nx", "user": {"login": "github-actions[bot]"}},
    {"id": 4, "body": "<!-- pytest-joules: other -->\nx", "user": {"login": "github-actions[bot]"}},
    {"id": 5, "body": None, "user": None},
]


@pytest.mark.parametrize(
    ("args", "id_"),
    [((), "2"), (("--author=github-actions[bot]",), "3"), (("--marker=other",), "4"), (("--marker=none",), None)],
)
def test_which_comment_it_replaces_is_told(tmp_path, capsys, args, id_):
    path = tmp_path / "comments.json"
    # One list, or several one behind the other.
    for text in (json.dumps(COMMENTS), f"{json.dumps(COMMENTS[:2])}\n{json.dumps(COMMENTS[2:])}"):
        path.write_text(text, "utf-8")
        said = joules(capsys, "comment", f"--find={path}", *args, ret=0 if id_ else 1)
        assert said.strip() == id_ if id_ else "no comment with this marker among 5" in said


@pytest.mark.parametrize("text", ["", "[]"])
def test_where_there_is_none_that_is_told(tmp_path, capsys, text):
    (tmp_path / "c.json").write_text(text)
    assert "no comment" in joules(capsys, "comment", f"--find={tmp_path / 'c.json'}", ret=1)


@pytest.mark.parametrize(
    "args",
    [
        ("comment",),
        ("comment", "x.json", "--find=-"),
        ("comment", "x.json"),
        ("comment", "--find=x.json"),
        ("comment", "--find=y"),
    ],
)
def test_a_comment_of_nothing_is_refused(tmp_path, monkeypatch, capsys, args):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "y").write_text('{"message": "Not Found"}')
    assert joules(capsys, *args, ret=2).startswith("joules: ")
