"""``joules compare``, ``export`` and ``import``: verdicts without a run, and baselines that travel."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from _pytest._io.wcwidth import wcswidth
from baseline_data import FACTS, MACHINE, OTHER, record_of, report_of

from pytest_joules import baseline as baselines
from pytest_joules import machine
from pytest_joules.cli import command
from pytest_joules.report import json_file

NAMES = [f"tests/test_shop.py::TestCart::test_number_{number:02}" for number in range(24)]


def session_of(seed, *, costs=(), n=20, names=NAMES, **other):
    """Tests whose true joules are known: 2 J each, times what ``costs`` says, with 1 % noise."""
    chance = random.Random(seed)
    return [
        record_of(name, *(2.0 * dict(costs).get(name, 1.0) * chance.lognormvariate(0, 0.01) for _ in range(n)), **other)
        for name in names
    ]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(machine, "fingerprint", lambda: MACHINE)
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    return tmp_path


@pytest.fixture
def keep(project):
    def save(name, tests, functions=None, **options):
        baselines.save(report_of(*tests, **options), functions or {}, project / ".joules", name)
        return baselines.path_of(project / ".joules", options.get("machine", MACHINE)["id"], name)

    return save


def said(capsys, *arguments):
    code = command.main(list(arguments))
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    # One message, in as many lines as it takes.
    return code, shown.out, shown.err.replace("\n  ", " ")


class TestCompare:
    def test_the_truth_is_found(self, keep, capsys):
        code = {"fingerprint": "f", "unknown": []}
        functions = {name: {"src/shop/cart.py::total": "1", "src/shop/tax.py::rate": "1"} for name in NAMES}
        dearer = {**functions, NAMES[3]: {"src/shop/cart.py::total": "2", "src/shop/tax.py::rate": "1"}}
        keep("main", session_of(1, code=code), functions)
        keep(
            "now", session_of(2, costs=[(NAMES[3], 1.5), (NAMES[5], 0.5)], code=code), dearer, created="2026-11-21T10:30:00+00:00"
        )
        code, out, _ = said(capsys, "compare", "main", "now")
        assert code == 1
        header, _, first, second, *rest = out.splitlines()
        assert header.split() == ["test", "before", "now", "ratio", "95", "%", "verdict"]
        assert "test_number_03" in first and "1.99 J  3.00 J  1.5" in first and first.endswith("regressed")
        assert "test_number_05" in second and second.endswith("improved")
        text = " ".join(" ".join(rest).split())
        assert f"REGRESSED {NAMES[3]} 1.5" in text and "since main" in text and "20 rounds" in text
        assert "changed in its path: shop.cart.total" in text and "tax.rate" not in text
        assert "compared with main (2026-11-20, 1a2b3c4d): 22 ok, 1 improved, 1 regressed" in text
        assert "… and 4 more: --top=0 shows all" in out
        assert out.count("…") >= 1 and all(wcswidth(line) <= 80 for line in out.splitlines())

    def test_the_same_code_is_no_news(self, keep, capsys):
        keep("a", session_of(1))
        keep("b", session_of(2))
        code, out, _ = said(capsys, "compare", "a", "b", "--top", "0")
        assert code == 0
        assert out.count("×  ") == 24 and "24 ok" in out and "regressed" not in out

    def test_the_threshold(self, keep, capsys):
        keep("a", session_of(1))
        keep("b", session_of(2, costs=[(NAMES[3], 1.5)]))
        assert said(capsys, "compare", "a", "b", "--threshold=60%")[0] == 0
        assert said(capsys, "compare", "a", "b", "--threshold", "0.1")[0] == 1
        for wrong in ("much", "-1%", "nan", "5"):
            with pytest.raises(SystemExit) as exit_:
                command.main(["compare", "a", "b", f"--threshold={wrong}"])
            assert exit_.value.code == 2

    def test_json(self, keep, capsys):
        keep("a", [*session_of(1), record_of("t.py::gone", 1.0, 1.1)])
        keep("b", [*session_of(2, costs=[(NAMES[3], 1.5)]), record_of("t.py::new", 1.0, 1.1)])
        code, out, _ = said(capsys, "compare", "a", "b", "--json")
        found = json.loads(out)
        assert code == 1 and len(found["tests"]) == 24
        assert found["comparison"]["counts"] == {"ok": 23, "regressed": 1}
        assert (found["comparison"]["new"], found["comparison"]["gone"]) == (["t.py::new"], ["t.py::gone"])
        test = next(test for test in found["tests"] if test["nodeid"] == NAMES[3])
        assert test["comparison"]["ratio"] == pytest.approx(1.5, rel=0.02)
        assert test["before"]["median"] == pytest.approx(2.0, rel=0.02) and test["now"]["median"] == pytest.approx(3.0, rel=0.02)

    @pytest.mark.parametrize(
        ("machine", "says"),
        [
            (OTHER, "CPU: Some CPU, now Other CPU"),
            ({**MACHINE, "facts": {**FACTS, "turbo": "off"}}, "turbo: on, now off"),
            ({**MACHINE, "facts": {**FACTS, "governor": "powersave"}}, "governor: performance, now powersave"),
        ],
    )
    def test_another_machine_gives_no_verdict(self, project, keep, capsys, machine, says):
        keep("a", session_of(1))
        path = keep("b", session_of(2, costs=[(NAMES[3], 3.0)]), machine=machine)
        code, out, _ = said(capsys, "compare", "a", str(path))
        assert code == 0
        assert says in " ".join(out.split()) and "24 cannot tell" in out
        assert "6.0" in next(line for line in out.splitlines() if "number_03" in line), "the values are shown all the same"
        assert len(out.splitlines()) < 32, "one reason is said once"

    def test_another_source_gives_no_verdict(self, keep, capsys):
        keep("a", session_of(1))
        keep("b", session_of(2, costs=[(NAMES[3], 3.0)], source="estimate", provenance="estimated"))
        code, out, _ = said(capsys, "compare", "a", "b")
        assert code == 0 and "24 cannot tell" in out and "estimate" in out

    def test_random_examples_give_no_verdict(self, keep, capsys):
        notes = ["random examples (Hypothesis): not judged; seed or derandomize it"]
        keep("a", session_of(1))
        keep("b", session_of(2, costs=[(name, 3.0) for name in NAMES], notes=notes))
        code, out, _ = said(capsys, "compare", "a", "b")
        assert code == 0 and "24 cannot tell" in out and "derandomize" in out

    def test_estimates_say_that_their_error_cancels(self, keep, capsys):
        for seed, name in enumerate("ab"):
            keep(name, session_of(seed, source="estimate", provenance="estimated"))
        _, out, _ = said(capsys, "compare", "a", "b")
        assert " ".join(out.split()).count("the systematic error cancels in the ratio") == 1
        for seed, name in enumerate("cd"):
            keep(name, session_of(seed))
        assert "cancels" not in said(capsys, "compare", "c", "d")[1]

    def test_names_paths_and_reports(self, project, keep, capsys):
        path = keep("main", session_of(1))
        report = project / "report.json"
        json_file.write(report_of(*session_of(2, costs=[(NAMES[3], 1.5)])), report)
        for before in ("main", f"{MACHINE['id']}/main", str(path)):
            code, out, _ = said(capsys, "compare", before, str(report))
            assert code == 1 and "1 regressed" in out
        assert "changed in its path" not in out, "a report does not say which functions there were"
        (project / "elsewhere").mkdir()
        assert said(capsys, "compare", "main", str(report), "--dir", str(project / ".joules"))[0] == 1

    def test_what_is_not_there(self, project, keep, capsys, monkeypatch):
        code, _, err = said(capsys, "compare", "main", "other")
        assert code == 2 and "main" in err and ".joules" in err and "--dir" in err
        keep("main", session_of(1))
        code, _, err = said(capsys, "compare", "main", "other")
        assert code == 2 and "no baseline 'other'" in err and "main of this machine" in err
        code, _, err = said(capsys, "compare", "main", "nowhere.json")
        assert code == 2 and "no such file" in err
        (project / "deep" / "bad.json").write_text("{")
        code, _, err = said(capsys, "compare", "main", "bad.json")
        assert code == 2 and "not whole" in err and err.count("\n") == 1

    def test_no_test_in_common(self, keep, capsys):
        keep("a", session_of(1))
        keep("b", session_of(1, names=["t.py::other"]))
        code, _, err = said(capsys, "compare", "a", "b")
        assert code == 2 and "no test in common" in err

    @pytest.mark.parametrize("width", [20, 50, 80])
    def test_it_fits(self, keep, capsys, monkeypatch, width):
        monkeypatch.setenv("COLUMNS", str(width))
        names = [f"tests/test_漢字.py::test_名前[\x1b[31m{number}]" for number in range(6)]
        keep("a", session_of(1, names=names))
        keep("b", session_of(2, names=names, costs=[(names[0], 1.5), (names[1], 0.5)]))
        code, out, _ = said(capsys, "compare", "a", "b")
        assert code == 1
        assert all(0 <= wcswidth(line) <= width for line in out.splitlines())


class TestTravel:
    def test_there_and_back(self, project, keep, capsys, monkeypatch):
        first, second = keep("main", session_of(1)), keep("main", session_of(2), machine=OTHER)
        code, out, _ = said(capsys, "export", "bundle.json")
        assert code == 0 and "main of machine 0a1b (Some CPU)" in out and "main of machine ffff (Other CPU)" in out
        away = project / "away"
        away.mkdir()
        (project / ".joules").rename(project / "was")
        monkeypatch.chdir(away)
        code, out, _ = said(capsys, "import", str(project / "deep" / "bundle.json"))
        assert code == 0 and out.count("taken, 24 tests") == 2
        for path in (first, second):
            part = path.relative_to(project / ".joules")
            assert (away / ".joules" / part).read_bytes() == (project / "was" / part).read_bytes()
        code, out, _ = said(capsys, "import", str(project / "deep" / "bundle.json"))
        assert code == 0 and out.count("there already") == 2

    def test_by_name(self, keep, capsys):
        keep("main", session_of(1))
        keep("main", session_of(2), machine=OTHER)
        keep("old", session_of(3))
        for names, count in (["main"], 2), (["ffff/main"], 1), (["main", "old", "main"], 3):
            assert said(capsys, "export", *names, "b.json")[0] == 0
            assert len(json.loads(Path("b.json").read_text("utf-8"))["baselines"]) == count
        code, _, err = said(capsys, "export", "mian", "b.json")
        assert code == 2 and "'mian'" in err and "main, old" in err

    def test_another_one_of_the_same_name_stays(self, project, keep, capsys):
        path = keep("main", session_of(1))
        said(capsys, "export", "b.json")
        other = keep("main", session_of(2)).read_bytes()
        code, out, err = said(capsys, "import", "b.json")
        assert code == 1 and "not taken" in out and "--force" in err
        assert path.read_bytes() == other
        code, out, _ = said(capsys, "import", "b.json", "--force")
        assert code == 0 and "replaced" in out
        assert path.read_bytes() != other

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("name", "../../evil"),
            ("name", "/etc/evil"),
            ("name", "..\\evil"),
            ("name", ""),
            ("name", 7),
            ("machine", "../.."),
            ("machine", "bbbb"),
            ("machine", None),
            ("baseline", None),
            ("baseline", {"schema": "pytest-joules-baseline/9"}),
        ],
    )
    def test_a_file_made_to_harm(self, project, keep, capsys, key, value):
        keep("main", session_of(1, n=2))
        keep("second", session_of(2, n=2))
        said(capsys, "export", "b.json")
        bundle = json.loads(Path("b.json").read_text("utf-8"))
        bundle["baselines"][1][key] = value
        if value == "../..":  # consistently
            bundle["baselines"][1]["baseline"]["machine"]["id"] = value
        Path("b.json").write_text(json.dumps(bundle), "utf-8")
        (project / ".joules").rename(project / "was")
        before = sorted(project.rglob("*"))
        code, _, err = said(capsys, "import", "b.json")
        assert code == 2 and "Nothing was taken" in err and err.count("\n") == 1
        assert sorted(project.rglob("*")) == before

    def test_what_is_no_bundle(self, project, keep, capsys):
        path = keep("main", session_of(1, n=2))
        code, _, err = said(capsys, "import", str(path))
        assert code == 2 and "no file of baselines" in err
        code, _, err = said(capsys, "import", "nowhere.json")
        assert code == 2 and "no such file" in err

    def test_nothing_to_export(self, project, capsys):
        code, _, err = said(capsys, "export", "b.json")
        assert code == 2 and "--energy-save" in err
        assert not (project / "deep" / "b.json").exists()

    def test_a_damaged_one_stops_the_export(self, project, keep, capsys):
        keep("main", session_of(1, n=2))
        keep("broken", session_of(1, n=2)).write_text("{")
        code, _, err = said(capsys, "export", "b.json")
        assert code == 2 and "broken.json" in err
        assert not (project / "deep" / "b.json").exists()


def test_the_command_alone_loads_nothing_heavy():
    heavy = "('pytest', 'numpy', 'scipy', 'sqlalchemy')"
    loads = f"print([name for name in {heavy} if name in sys.modules])"
    script = f"import sys; from pytest_joules.cli import command; command._parser(); {loads}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
