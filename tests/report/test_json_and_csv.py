"""JSON and CSV hold what was measured, and a report file is written whole or not at all."""

import csv
import errno
import json
import math
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_joules import stats
from pytest_joules.files import atomic
from pytest_joules.model import Measurement, Report, Sample, SourceFacts, empty_record
from pytest_joules.report import csv_file, json_file

#: Shared machines are slow at times, and Hypothesis' own tables take a second to make on a fresh checkout.
calmly = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])

SCHEMA = json.loads(resources.files("pytest_joules.data").joinpath("report.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def strict(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text("utf-8"), parse_constant=refuse)


def report_of(*tests, **other):
    machine = {"id": "0a1b", "cpu": "Some CPU", "cores": 8, "os": "Linux", "python": "3.12.1", "virtual": False}
    machine["facts"] = {"CPU": "Some CPU", "governor": None}
    facts = SourceFacts("rapl", "measured", ("package-0", "dram"), 0.001, None, "powercap")
    values = {
        "created": "2026-01-01T00:00:00+00:00",
        "machine": machine,
        "versions": {},
        "commit": {"id": "c" * 40, "dirty": True},
        "settings": {"rounds": "auto"},
        "sources": [facts.as_record()],
        "tests": list(tests),
        "session": {"seconds": 1.5, "joules": None, "idle_watts": None},
    }
    return Report(**(values | other))


def measured(nodeid="tests/t.py::test_a", joules=(1.0, 1.1, 0.9), **other):
    samples = [Sample(value, value / 20, value * 1e8, {"package-0": value, "dram": None}) for value in joules]
    summary = stats.summarise(list(joules))
    measurement = Measurement(
        nodeid, "rapl", "measured", "ok", 3, 1, samples, summary, summary, summary, summary, {"package-0": summary, "dram": None}
    )
    return measurement.as_record() | {"outcome": "passed"} | other


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_json_is_the_report_and_fits_the_schema(tmp_path):
    report = report_of(
        measured(
            budget={"joules": 2.0, "verdict": "ok", "why": None},
            comparison={
                **{"baseline": "main", "ratio": 1.3, "ci95": [1.2, 1.4], "p": 0.01, "verdict": "regressed", "why": None},
                **{"floor": 0.02, "sessions": 7, "blocks": 2, "changed": ["src/a.py::f"]},
            },
            code={"fingerprint": "f00d", "unknown": ["threads"]},
            prediction={"model": "builtin", "joules": 1.0, "interval": [0.5, 2.0], "flagged": True, "why": "new loop"},
            regions={"parse": {"energy": stats.summarise([0.5, 0.6]), "duration": stats.summarise([0.1])}},
            work={"tokens": {"amount": 128.0, "joules_per_unit": None}},
            scores={"pass_at_1": 0.31},
            extra={"anything": [1]},
        ),
        empty_record("tests/t.py::test_b") | {"outcome": "skipped"},
        measured("tests/t.py::test_c", cached="2025-12-31T00:00:00+00:00"),
        comparison={
            **{"baseline": "main", "created": "2026-01-01T00:00:00+00:00", "commit": "c" * 40, "threshold": 0.05, "why": None},
            **{"counts": {"regressed": 1}, "new": ["a"], "gone": [], "renamed": {"b": "c"}, "notes": ["another Python"]},
        },
    )
    json_file.write(report, tmp_path / "r.json")
    found = strict(tmp_path / "r.json")
    VALIDATOR.validate(found)
    assert found == json.loads(json.dumps(report.as_record()))
    assert sum(line.startswith('{"nodeid"') for line in (tmp_path / "r.json").read_text("utf-8").splitlines()) == 3


def test_an_empty_report_fits_the_schema(tmp_path):
    json_file.write(report_of(commit=None, session={}), tmp_path / "r.json")
    VALIDATOR.validate(strict(tmp_path / "r.json"))


@pytest.mark.parametrize(
    "drift",
    [
        {"unknown": 1},
        {"energy": 1.0},
        {"provenance": None},
        {"iterations": 0},
        {"samples": [{"energy": 1.0}]},
        {"samples": [{"energy": 1.0, "duration": 1.0, "tsc": None, "domains": {}, "block": 0}]},
        {"budget": {"joules": 1.0, "verdict": "fine", "why": None}},
    ],
)
def test_the_schema_catches_drift(drift):
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(report_of(measured() | drift).as_record())


def test_every_key_of_the_model_is_in_the_schema_and_the_other_way_round():
    assert set(SCHEMA["$defs"]["test"]["properties"]) - {"extra"} == set(empty_record("x"))
    assert set(SCHEMA["properties"]) - {"extra"} == set(report_of().as_record())
    assert set(SCHEMA["$defs"]["summary"]["properties"]) == set(stats.summarise([1.0]))


VALUES = st.none() | st.floats() | st.integers() | st.text() | st.booleans()


@calmly
@given(st.dictionaries(st.text(), VALUES | st.lists(VALUES, max_size=3), max_size=4), st.text())
def test_any_value_becomes_strict_json(tmp_path_factory, extra, nodeid):
    path = tmp_path_factory.mktemp("json") / "r.json"
    json_file.write(report_of(measured(nodeid=nodeid, extra=extra)), path)
    found = strict(path)["tests"][0]
    assert found["nodeid"] == nodeid

    def finite(value):
        if isinstance(value, list):
            return [finite(entry) for entry in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    assert found["extra"] == {key: finite(value) for key, value in extra.items()}


def test_odd_values_do_not_lose_the_report(tmp_path):
    numpy = pytest.importorskip("numpy")
    extra = {
        "path": tmp_path,
        "number": numpy.int64(3),
        "small": numpy.float32(0.5),
        "set": {1},
        "nan": numpy.float64("nan"),
        1: (2,),
    }
    json_file.write(report_of(measured(nodeid="t.py::x[\udc80]", extra=extra)), tmp_path / "r.json")
    found = strict(tmp_path / "r.json")["tests"][0]
    assert found["extra"] == {"path": str(tmp_path), "number": 3, "small": 0.5, "set": [1], "nan": None, "1": [2]}
    assert found["nodeid"] == "t.py::x[\udc80]"


@calmly
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    st.lists(st.tuples(st.none() | st.floats(0, 1e6), st.floats(1e-9, 1e4)), min_size=1, max_size=5),
)
def test_csv_is_the_samples(tmp_path_factory, nodeid, values):
    samples = [{"energy": e, "duration": d, "tsc": None, "domains": {"package-0": e}, "block": 7} for e, d in values]
    path = tmp_path_factory.mktemp("csv") / "r.csv"
    report = report_of(measured(nodeid=nodeid, samples=samples), measured(nodeid="other"), empty_record("none"))
    csv_file.write(report, path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    mine = rows[: len(values)]
    (cell,) = {row["nodeid"] for row in mine}
    formula = nodeid.startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))
    assert cell.replace("\u200c", "").replace("\u200d", "").isprintable() and cell.startswith("'") >= formula
    assert cell == (f"'{nodeid}" if formula else nodeid) or not nodeid.isprintable()
    assert {row["block"] for row in mine} == {"7"}
    assert [row["round"] for row in mine] == [str(n + 1) for n in range(len(values))]
    assert [(float(row["energy_j"]) if row["energy_j"] else None, float(row["duration_s"])) for row in mine] == values
    assert [row["domain_package-0_j"] for row in mine] == [row["energy_j"] for row in mine]
    assert {row["nodeid"] for row in rows[len(values) :]} == {"other"}
    assert len(rows) == len(values) + 3


def test_csv_names_units_and_circumstances(tmp_path):
    csv_file.write(report_of(measured(joules=(1.5, float("nan")))), tmp_path / "r.csv")
    header, first, second = (tmp_path / "r.csv").read_text("utf-8").splitlines()
    assert header == (
        "nodeid,outcome,source,provenance,resolution,block,round,iterations,energy_j,duration_s,tsc_ticks,"
        "domain_package-0_j,domain_dram_j,machine_id,cpu,python,commit,created,counter,instructions"
    )
    about = "tests/t.py::test_a,passed,rapl,measured,ok"
    assert first.startswith(f"{about},1,1,1,1.5,0.075,150000000.0,1.5,,0a1b,Some CPU,3.12.1,cccc")
    assert second.startswith(f"{about},1,2,1,,,,,,0a1b")


def test_csv_says_when_a_cached_test_was_measured(tmp_path):
    report = report_of(measured("now", joules=(1.0,)), measured("then", joules=(1.0,), cached="2025-12-31T00:00:00+00:00"))
    csv_file.write(report, tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as file:
        now, then = csv.DictReader(file)
    assert (now["created"], now["commit"]) == ("2026-01-01T00:00:00+00:00", "c" * 40)
    assert (then["created"], then["commit"]) == ("2025-12-31T00:00:00+00:00", ""), "not the revision of this session"
    assert then["machine_id"] == "0a1b"


def put(text):
    return lambda file: file.write(text) and None


def test_check_leaves_nothing_behind(tmp_path):
    old = tmp_path / "old.json"
    old.write_text("old")
    atomic.check(old, "--energy-json")
    atomic.check(tmp_path / "new.json", "--energy-json")
    atomic.check(tmp_path / "a" / "b" / "new.json", "--energy-json")
    assert list(tmp_path.iterdir()) == [old] and old.read_text() == "old"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "file name is missing"),
        (".", "folder"),
        ("sub/", "folder"),
        ("file/r.json", "(not a|Not a) (folder|directory)"),
        ("x" * 300, "too long"),
        ("nul\0", "null|NUL"),
    ],
)
def test_bad_paths_are_refused_with_a_remedy(tmp_path, monkeypatch, name, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(atomic.ReportPathError, match=f"--energy-csv=.*({says}).*Name a file"):
        atomic.check(name, "--energy-csv")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
def test_a_folder_that_takes_no_files_is_refused():
    with pytest.raises(atomic.ReportPathError, match="no file can be made in /proc"):
        atomic.check("/proc/r.json", "--energy-json")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_write_protection_is_respected(tmp_path):
    kept = tmp_path / "kept.json"
    kept.write_text("kept")
    kept.chmod(0o444)
    with pytest.raises(atomic.ReportPathError, match="may not be written"):
        atomic.check(kept, "--energy-json")


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "r.json"
    path.write_text("old")
    path.chmod(0o640)

    def failing(file):
        file.write("half")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        atomic.atomically(path, failing)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    atomic.atomically(path, put("new"))
    assert path.read_text() == "new" and stat.S_IMODE(path.stat().st_mode) == 0o640 and len(list(tmp_path.iterdir())) == 1
    atomic.atomically(tmp_path / "a" / "b.json", put("made"))
    assert (tmp_path / "a" / "b.json").read_text() == "made"


def test_a_link_keeps_pointing(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "real" / "r.json")
    atomic.check(link, "--energy-json")
    atomic.atomically(link, put("new"))
    assert link.is_symlink() and (tmp_path / "real" / "r.json").read_text() == "new"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_is_named_and_not_replaced():
    atomic.check("/dev/full", "--energy-json")
    with pytest.raises(atomic.ReportPathError, match=r"/dev/full: No space left on device"):
        atomic.atomically("/dev/full", put("x" * 100_000))
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)
    atomic.atomically("/dev/null", put("x"))
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    path.write_text("old")

    def full(file):
        file.write("x" * 10)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(atomic.ReportPathError, match=r"r\.json: No space left on device"):
        atomic.atomically(path, full)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_real_limit_on_file_size_leaves_the_old_file(tmp_path):
    """The kernel refuses the write, as a full disk would: at flush or close, not where Python code runs."""
    path = tmp_path / "r.json"
    path.write_text("old")

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    code = """
        import sys
        from pytest_joules.files import atomic
        try:
            atomic.atomically(sys.argv[1], lambda file: [file.write("x" * 1000) for _ in range(100)] and None)
        except atomic.ReportPathError as error:
            sys.exit(3 if "File too large" in str(error) else 4)
    """
    done = subprocess.run([sys.executable, "-B", "-c", textwrap.dedent(code), path], preexec_fn=limit, check=False)
    assert done.returncode == 3
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_written_to(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    atomic.check(fifo, "--energy-json")
    got = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_text()))
    reader.start()
    atomic.atomically(fifo, put("through"))
    reader.join(10)
    assert got == ["through"] and stat.S_ISFIFO(fifo.stat().st_mode)


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="needs /dev/stdout")
def test_standard_output_is_appended_to(tmp_path):
    code = (
        "from pytest_joules.files import atomic; print('before', flush=True); "
        "atomic.atomically('/dev/stdout', lambda file: file.write('report'))"
    )
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\nreport"
