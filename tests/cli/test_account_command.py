"""``joules account``: from a trace and readings of power, and from a report, to what people and viewers read."""

import gzip
import json
import random
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest
from accounts import account
from reported import record_of, report_of

from pytest_joules.cli import main
from pytest_joules.report import json_file
from pytest_joules.report.from_json import _schema

REAL = Path(__file__).parents[1] / "account" / "data" / "torch.json.gz"
#: Watts of two operations and of nothing.
TRUTH, IDLE = {"matmul": 45.0, "softmax": 25.0}, 5.0


def joules(capsys, *args, ret=0):
    found = main(["account", *map(str, args)])
    out, err = capsys.readouterr()
    assert found == ret, (out, err)
    return out if ret == 0 else err


def write(path, *tests):
    report = report_of(*tests)
    report.machine["facts"] = {}
    report.versions = {"pytest-joules": "1", "pytest": None, "python": "3.12", "installed": {}}
    json_file.write(report, path)


@pytest.fixture
def traced(tmp_path, monkeypatch):
    """A trace of half a second on JAX's own clock with a mark, and readings each millisecond; joules of each operation."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    chance = random.Random(7)
    ahead, at, cost, events = 5_000_000_000_000, 0.0, dict.fromkeys([*TRUTH, ""], 0.0), []
    steps = []  # (begin, end, watts), microseconds
    while at < 5e5:
        name = chance.choice([*TRUTH, ""])
        length = chance.uniform(300, 6000)
        if name:
            events.append(
                {"ph": "X", "name": f"net/{name}", "pid": 1, "tid": 2, "ts": at, "dur": length, "args": {"tf_op": f"net/{name}"}}
            )
        steps.append((at, at + length, IDLE + TRUTH.get(name, 0.0)))
        cost[name] += length / 1e6 * (IDLE + TRUTH.get(name, 0.0))
        at += length
    events.append({"ph": "X", "name": f"pytest-joules clock {ahead}", "pid": 1, "tid": 2, "ts": 0, "dur": 1})
    Path("trace.json").write_text(json.dumps({"traceEvents": events}))
    lines, counted, place, since = ["time_ns,joules"], 0.0, 0, 0.0
    for now in range(0, int(at), 1000):
        while place < len(steps) and steps[place][1] <= now:
            counted += (steps[place][1] - since) / 1e6 * steps[place][2]
            since = steps[place][1]
            place += 1
        counted += (now - since) / 1e6 * steps[place][2]
        since = now
        lines.append(f"{ahead + now * 1000},{counted:.9f}")
    Path("power.csv").write_text("\n".join(lines))
    return cost


def test_each_operation_gets_what_it_cost(traced, capsys):
    said = joules(
        capsys, "trace.json", "--power=power.csv", "--json=a.json", "--html=a.html", "--speedscope=s.json", "--chrome=c.json"
    )
    assert said.split() == ["written:", "a.json", "written:", "a.html", "written:", "s.json", "written:", "c.json"]
    found = json.loads(Path("a.json").read_text())
    jsonschema.validate(found, {**_schema()["$defs"]["account"], "$defs": _schema()["$defs"]})
    assert found["joules"] == pytest.approx(sum(traced.values()), rel=0.01)
    assert found["shared_by"] == "regression"
    parts = {part["name"]: part["joules"] for part in found["flat"] if part["joules"]}
    assert parts["net/matmul"] == pytest.approx(traced["matmul"], rel=0.03)
    assert parts["net/softmax"] == pytest.approx(traced["softmax"], rel=0.03)
    assert found["unattributed"]["joules"] == pytest.approx(traced[""], rel=0.1)
    assert "class=icicle" in Path("a.html").read_text()
    chrome = json.loads(Path("c.json").read_text())["traceEvents"]
    watts = [one["args"]["W"] for one in chrome if one["ph"] == "C"]
    assert max(watts) == pytest.approx(50, rel=0.01)
    assert sum(one["dur"] for one in chrome if one["ph"] == "X" and one["name"] == "net/matmul") * 50e-6 == pytest.approx(
        traced["matmul"], rel=0.01
    )


def test_in_eighty_columns_and_with_joules_that_were_measured(traced, capsys):
    said = joules(capsys, "trace.json", "--power=power.csv", "--joules=100", "--top=1")
    assert "where the joules go: 100 J by operations, 1 traced round" in said
    assert "net/matmul" in said.splitlines()[4]
    assert "parts more" in said


@pytest.mark.parametrize("form", ["json", "watts", "unix"])
def test_other_forms_of_the_readings_say_the_same(traced, capsys, form):
    rows = [line.split(",") for line in Path("power.csv").read_text().splitlines()[1:]]
    if form == "json":
        written = json.dumps(
            {"readings": [{"time_s": int(at) / 1e9, "joules": float(value), "domain": "package-0"} for at, value in rows]}
        )
    elif form == "watts":
        pairs = pairwise(rows)
        drawn = [(at, (float(then) - float(now)) / (int(later) - int(at)) * 1e9) for (at, now), (later, then) in pairs]
        written = "time_ns,watts,domain\n" + "\n".join(f"{at},{watts},package-0" for at, watts in [*drawn, (rows[-1][0], 0)])
    else:
        # Both by the time of day: the same distance from now on.
        trace = json.loads(Path("trace.json").read_text())
        trace["traceEvents"].pop()
        Path("trace.json").write_text(json.dumps({**trace, "baseTimeNanoseconds": 1_700_000_000_000_000_000}))
        written = "unix_s,joules\n" + "\n".join(
            f"{1_700_000_000 + (int(at) - int(rows[0][0])) / 1e9:.6f},{value}" for at, value in rows
        )
    Path("power.csv").write_text(written)
    joules(capsys, "trace.json", "--power=power.csv", "--json=a.json")
    found = json.loads(Path("a.json").read_text())
    assert found["joules"] == pytest.approx(sum(traced.values()), rel=0.01)
    parts = {part["name"]: part["joules"] for part in found["flat"]}
    assert parts["net/matmul"] == pytest.approx(traced["matmul"], rel=0.03)


def test_a_trace_of_torch_on_cpu(tmp_path, capsys):
    mark = next(one for one in json.loads(gzip.decompress(REAL.read_bytes()))["traceEvents"] if "clock" in one["name"])
    begin = int(mark["name"].rpartition(" ")[2])
    power = tmp_path / "power.csv"
    power.write_text("time_ns,watts\n" + "\n".join(f"{begin + 200_000 * place},20" for place in range(40)))
    said = joules(capsys, REAL, f"--power={power}")
    assert "by operations" in said
    assert "(backward)" in said
    assert "unattributed" in said


# Refused


@pytest.mark.parametrize(
    ("power", "says"),
    [
        ("", "it has no readings"),
        ("a,b\n1,2\n", "its columns are a, b. It needs the columns time_ns|time_s|unix_s"),
        ("time_ns,joules\n1,x\n", "reading 1 has no number as its joules: 'x'"),
        ("time_ns,joules\n1\n", "reading 1 has no number as its joules: 'None'"),
        ("time_ns,joules\n1,nan\n", "no number as its joules: 'nan'"),
        ("time_ns,joules\n1,2\n1e300,3\n", "beyond all that is measured"),
        ("time_ns,joules\n1,2\n", "package-0 has one reading"),
        ("time_ns,joules\n2,1\n2,2\n", "do not rise at its reading 2"),
        ("time_ns,joules\n1,2\n2,1\n", "the counter of package-0 falls at its reading 2"),
        ("time_ns,watts\n1,2\n2,-1\n", "draws less than nothing at its reading 2"),
        ('{"readings": 5}', "it is neither a list of objects nor"),
        ("[{", "it is not whole, or no JSON"),
        ("time_s,joules\n1,2\n2,3\n", "s of trace and 1 s of readings 0 s are common"),
        ("time_s,joules,domain\n5000,2,gpu-0\n5001,3,gpu-0\n", "what ran on cpu has no readings of power"),
        ("time_s,joules\n5000,2\n5001,2\n", "the counters stand still"),
    ],
)
def test_readings_that_do_not_fit_are_refused_by_one_sentence(traced, capsys, power, says):
    Path("power.csv").write_text(power)
    said = " ".join(joules(capsys, "trace.json", "--power=power.csv", ret=2).split())
    assert says in said
    assert ("power.csv" in said) or ("trace.json" in said)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["trace.json"], "give them with --power=POWER"),
        (["trace.json", "test_a", "--power=power.csv"], "is a trace, which has no tests: leave out test_a"),
        (["none.json", "--power=power.csv"], "none.json: it cannot be read (No such file or directory)"),
        (["power.csv", "--power=power.csv"], "it is no JSON: it begins with 't'"),
        (["trace.json", "--power=none.csv"], "none.csv: the readings of power cannot be read"),
        (["trace.json", "--power=power.csv", "--html=."], "it is a folder"),
        (["report.json", "--power=power.csv"], "is a report, whose joules are known"),
        (["report.json", "test_c"], "is called test_c"),
        (["report.json", "--chrome=c.json"], "--chrome is of one test, and these are 2"),
        (["plain.json"], "has no account: run the tests with --energy-trace=functions"),
        (["damaged.json"], "damaged.json"),
    ],
)
def test_what_cannot_be_is_said(traced, capsys, args, says):
    both = [record_of(f"test_a.py::test_{name}", 1.0, account=account()) for name in "ab"]
    write("report.json", *both)
    write("plain.json", record_of("test_a.py::test_a", 1.0))
    Path("damaged.json").write_bytes(Path("report.json").read_bytes()[:-30])
    assert says in " ".join(joules(capsys, *args, ret=2).split())


@pytest.mark.parametrize("value", ["0", "-1", "nan", "many"])
def test_joules_are_a_number(capsys, value):
    with pytest.raises(SystemExit):
        main(["account", "trace.json", f"--joules={value}"])
    assert "is no number of joules above 0" in capsys.readouterr().err


# Reports


def test_the_accounts_of_a_report_are_shown_and_converted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    both = [record_of(f"test_a.py::test_{name}", 1.0, account=account()) for name in "ab"]
    write("report.json", *both, record_of("test_a.py::test_c", 1.0))
    said = joules(capsys, "report.json")
    assert said.count("where the joules go: 1.00 J by functions") == 2
    assert "test_c" not in said
    assert "test_b" not in joules(capsys, "report.json", "test_a.py::test_a")
    joules(capsys, "report.json", "--speedscope=s.json", "--html=h.html", "--json=a.json")
    assert [one["name"] for one in json.loads(Path("s.json").read_text())["profiles"]] == [
        "test_a.py::test_a (microjoules)",
        "test_a.py::test_b (microjoules)",
    ]
    assert set(json.loads(Path("a.json").read_text())) == {"test_a.py::test_a", "test_a.py::test_b"}
    assert Path("h.html").read_text().count("class=icicle") == 2
    joules(capsys, "report.json", "::test_a", "--chrome=c.json")
    assert [one["dur"] for one in json.loads(Path("c.json").read_text())["traceEvents"] if one["name"] == "unattributed"] == [1e5]
