"""``joules variants`` on what was measured before."""

import csv
import json

import pytest

from pytest_joules.cli import main

TEST = """
COST = {"fp32": 1_000_000, "int8": 2_000_000, "=half": 500_000}

@pytest.mark.parametrize("length", [8, 16])
@pytest.mark.parametrize("model", list(COST))
def test_it(model, length, energy):
    draw(COST[model] * length)
    energy.work(tokens=length)
    energy.score(loss=[COST[model] / 1e6 + number % 3 / 100 for number in range(30)], higher_is_better=False)
    energy.score(other=1.0)
"""


@pytest.fixture
def measured(inner, monkeypatch):
    monkeypatch.chdir(inner.path)
    monkeypatch.setenv("COLUMNS", "200")
    inner.file(test_a=TEST + "def test_plain(): draw(1_000)\n")
    inner.run("--energy-rounds=8").assert_outcomes(passed=7)
    return inner


def joules(capsys, *args, ret=0):
    found = main(["variants", "report.json", *args])
    out, err = capsys.readouterr()
    assert found == ret, err
    return out if ret == 0 else err


def test_a_table_with_the_warning_that_it_was_not_in_turn(measured, capsys):
    said = joules(capsys, "--by", "model", "--reference", "fp32", "--score", "loss")
    assert "variants of test_a.py::test_it[length=8] by model, not in turn" in said
    assert "variants of test_a.py::test_it[length=16] by model, not in turn" in said
    assert "not measured in turn" in said and "--energy-variants=model:fp32" in said
    (int8,) = {line for line in said.splitlines() if line.startswith("int8") and "16.0 J" in line and "2.00 [2.00, 2.00]" in line}
    assert "dearer" in int8 and "1.00 J" not in int8 and "2.00 J" in int8
    # Less loss is better, and it is cheaper.
    assert "dominated by =half" in int8
    (half,) = {line for line in said.splitlines() if line.startswith("=half") and "4.00 J" in line}
    assert "cheaper" in half and half.rstrip().endswith("front")


def test_within_80_columns_the_score_stands_below(measured, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = joules(capsys, "--by=model")
    assert max(map(len, said.splitlines())) <= 80
    assert "no reference was named: fp32, the first, is taken" in " ".join(said.split())


def test_files(measured, capsys):
    joules(capsys, "--by=model", "--html=v.html", "--svg=v.svg", "--markdown=v.md", "--csv=v.csv")
    page = (measured.path / "v.html").read_text("utf-8")
    assert '<h2 id="variants">Variants</h2>' in page and "<svg" in page and "dominated by =half" in page
    assert (measured.path / "v.svg").read_text("utf-8").startswith("<svg xmlns=")
    assert "| `int8` |" in (measured.path / "v.md").read_text("utf-8")
    with (measured.path / "v.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] for row in rows] == ["fp32", "int8", "'=half"] * 2
    assert float(rows[1]["ratio"]) == pytest.approx(2) and rows[1]["dominated_by"] == "'=half; fp32"
    assert rows[0]["higher_is_better"] == "False" and rows[0]["in_turn"] == "False"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--by=modle"], "no test has a parameter 'modle'; its parameters are length, model"),
        (["--by=model", "--reference=fp16"], "'fp16' is no value of model, which has fp32, int8, =half"),
        (["--by=model", "--score=top1"], "no score 'top1': there are loss, other"),
    ],
)
def test_what_cannot_be_shown(measured, capsys, args, says):
    assert says in joules(capsys, *args, ret=2)


def test_older_reports(measured, capsys):
    report = json.loads((measured.path / "report.json").read_text("utf-8"))
    for test in report["tests"]:
        for key in ("parameters", "score_details", "variants"):
            del test[key]
    (measured.path / "report.json").write_text(json.dumps(report), "utf-8")
    assert "an older version wrote it" in joules(capsys, "--by=model", ret=2)


def test_a_score_without_direction_has_no_front(measured, capsys):
    said = joules(capsys, "--by=model", "--score=other")
    assert "the score other has no direction" in said and "front" not in said.split("the score other")[0]
