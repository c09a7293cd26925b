"""What a CI system is told at the end of a run: never more than it takes, at the right place, and never a reason to fail."""

import json
from contextlib import closing

import pytest

from pytest_joules.store import open_store

SHOP = """
from counter import draw

def total():
    draw(1_000_000)

class Cart:
    def price(self):
        draw(2_000_000)
"""
TESTS = """
from shop import Cart, total
@pytest.mark.energy_budget(joules="1 nJ")
def test_dear(): total()

class TestCart:
    @pytest.mark.energy_budget(joules="1 nJ")
    @pytest.mark.parametrize("n", ["a,b:c%d", "e\\n::error::f"])
    def test_price(self, n): Cart().price()

def test_cheap(): draw(1000)
"""


@pytest.fixture
def shop(inner):
    (inner.path / "shop.py").write_text(SHOP)
    inner.file(test_shop=TESTS)
    return inner


def line_of(inner, file, text):
    """The number of the first line that has this text."""
    lines = (inner.path / file).read_text("utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def commands(result):
    return [line for line in result.outlines if line.startswith("::")]


def run(inner, *args, ret=1):
    result = inner.run("--energy-rounds=2", "--energy-trust-estimates", *args)
    assert result.ret == ret, result.stdout.str()
    return result


def test_github_has_a_summary_and_annotations(shop, monkeypatch):
    summary = shop.path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(shop.path.parent))
    result = run(shop)
    text = summary.read_text("utf-8")
    assert text.startswith("before\n")
    assert "**Energy: 3 over budget**" in text
    found = commands(result)
    assert len(found) == 3
    here = shop.path.name
    dear = next(line for line in found if "test_dear" in line)
    first = line_of(shop, "test_shop.py", "energy_budget")
    assert dear.startswith(f"::error file={here}/test_shop.py,line={first},title=over budget")
    price = line_of(shop, "test_shop.py", "    @pytest.mark.energy_budget")
    assert sum(f"file={here}/test_shop.py,line={price}," in line for line in found) == 2
    # A name is no command, and no property.
    assert not any(line.startswith("::error::f") for line in result.outlines)
    assert any("a%2Cb%3Ac%25d" in line for line in found)


def test_what_is_dearer_is_annotated_where_the_function_changed(inner, monkeypatch):
    source = inner.path / "shop.py"
    source.write_text(SHOP)
    inner.file(test_shop="from shop import Cart\ndef test_price(): Cart().price()\n")
    inner.run("--energy-save=main").assert_outcomes(passed=1)
    source.write_text(SHOP.replace("2_000_000", "3_000_000"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(inner.path / "summary.md"))
    result = inner.run("--energy-compare=main")
    result.assert_outcomes(failed=1)
    (line,) = commands(result)
    assert line.startswith(f"::error file=shop.py,line={line_of(inner, 'shop.py', 'def price')},title=regressed 1.50×")
    assert "changed in its path: shop.Cart.price" in line


def test_an_output_without_the_characters_gets_others(shop, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(shop.path / "summary.md"))
    monkeypatch.setenv("PYTHONIOENCODING", "ascii:strict")
    result = shop.run("--energy-rounds=2", "--energy-trust-estimates", "-k", "dear", subprocess=True)
    (line,) = commands(result)
    assert "over budget" in line
    assert "x%3A test_shop.py" in line


def test_github_shows_ten_annotations_the_worst_first(inner, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(inner.path / "summary.md"))
    tests = "\n".join(f'@pytest.mark.energy_budget(joules="{n} nJ")\ndef test_{n}(): draw({n}_000_000)' for n in range(1, 13))
    inner.file(test_a=tests)
    found = commands(run(inner))
    assert len(found) == 10


def test_gitlab_has_code_quality_and_metrics(shop, monkeypatch):
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("CI_PROJECT_DIR", str(shop.path))
    result = run(shop)
    assert commands(result) == []
    issues = json.loads((shop.path / "gl-energy-code-quality.json").read_text("utf-8"))
    assert len(issues) == 3
    assert len({issue["fingerprint"] for issue in issues}) == 3
    for issue in issues:
        assert issue["location"]["path"] == "test_shop.py"
        assert issue["location"]["lines"]["begin"] > 1
        assert issue["severity"] == "major"
        assert set(issue) == {"description", "check_name", "fingerprint", "severity", "location"}
    assert (shop.path / "gl-energy-metrics.txt").read_text("utf-8").endswith("# EOF\n")
    first = [issue["fingerprint"] for issue in issues]
    run(shop)
    again = json.loads((shop.path / "gl-energy-code-quality.json").read_text("utf-8"))
    assert sorted(first) == sorted(issue["fingerprint"] for issue in again)


@pytest.mark.parametrize(("args", "told"), [(("--energy-ci=off",), False), (("--energy-ci=github",), True), ((), False)])
def test_nothing_is_told_unless_one_is_there_or_asked_for(shop, args, told):
    result = run(shop, *args)
    assert bool(commands(result)) is told
    assert not list(shop.path.glob("gl-*"))


def test_a_run_that_does_not_measure_tells_nothing(shop, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(shop.path / "summary.md"))
    result = shop.run(energy=False)
    assert result.ret == 0
    assert not (shop.path / "summary.md").exists()


@pytest.mark.parametrize("summary", ["missing/folder/summary.md", ".", "full.md"])
def test_a_summary_that_cannot_be_written_changes_nothing(shop, monkeypatch, summary):
    if summary == "full.md":
        (shop.path / summary).write_text("x" * (1024 * 1024 - 100))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(shop.path / summary))
    result = shop.run("--energy-rounds=2", "-k", "cheap")
    assert result.ret == 0, result.stdout.str()
    if summary == "full.md":
        assert (shop.path / summary).stat().st_size <= 1024 * 1024


@pytest.mark.inner_plugins("xdist")
def test_workers_tell_nothing_by_themselves(shop, monkeypatch):
    summary = shop.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    result = run(shop, "-n2")
    assert summary.read_text("utf-8").count("### pytest-joules") == 1
    assert len(commands(result)) == 3


def test_labels_are_in_the_report_and_the_history(inner):
    inner.file(test_a="def test_a(): draw(1000)")
    inner.ini("energy_label =", "    runner = hosted", "    os = linux")
    inner.run("--energy-label=os=Debian 12", "--energy-label", "branch=main", "--energy-rounds=2")
    labels = {"runner": "hosted", "os": "Debian 12", "branch": "main"}
    assert inner.report()["settings"]["labels"] == labels
    with closing(open_store(inner.path / ".pytest_cache/d/joules/history.db")) as store:
        (entry,) = store.history("test_a.py::test_a")
    assert entry["settings"]["labels"] == labels


@pytest.mark.parametrize("label", ["os", "=x", "os=", "1=x", "o s=x", "os=a\nb", "os=" + "x" * 201])
def test_bad_labels_are_refused(inner, label):
    inner.file(test_a="def test_a(): draw(1_000_000)")
    result = inner.run(f"--energy-label={label}")
    assert result.ret == 4
    assert "--energy-label" in result.stderr.str()


@pytest.mark.parametrize("one", ["html", "markdown"])
def test_two_reports_want_two_files(inner, one):
    inner.file(test_a="def test_a(): draw(1_000_000)")
    result = inner.run(f"--energy-{one}=x", "--energy-csv=./x")
    assert result.ret == 4
    assert f"--energy-csv and --energy-{one} both name" in result.stderr.str()


def test_all_reports_of_one_run(inner):
    inner.file(test_a="def test_a(): draw(1_000_000)")
    inner.run("--energy-rounds=2").assert_outcomes(passed=1)
    result = inner.run("--energy-html=a.html", "--energy-markdown=b/a.md", "--energy-rounds=2")
    assert result.ret == 0
    text = (inner.path / "a.html").read_text("utf-8")
    assert "test_a.py::test_a" in text
    assert "2 sessions on" in text, "the past is drawn"
    assert (inner.path / "b" / "a.md").read_text("utf-8").startswith("**Energy: 1 test, one pass ")


def test_a_page_that_cannot_be_written_is_refused_before_anything_runs(inner):
    inner.file(
        test_a="def test_a(): draw(1_000_000)",
        conftest="import shutil, pathlib\ndef pytest_sessionstart(): pathlib.Path('gone').mkdir()\n",
    )
    result = inner.run("--energy-html=test_a.py/x.html", "--energy-rounds=2")
    assert result.ret == 4
    assert "--energy-html" in result.stderr.str()
