"""Numbers for other programs, in the forms that those ask for."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from reported import record_of, report_of

from pytest_joules.report import metrics

#: OpenMetrics 1.0: a sample of one line, label values escaped.
SAMPLE = re.compile(r'[a-z_]+\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+\} \S+')


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True))
def test_open_metrics_is_well_formed_whatever_tests_are_called(names):
    report = report_of(*(record_of(name, 1.0 + number) for number, name in enumerate(names)))
    report.settings = {"labels": {"os": 'li"nux\\', "o.s": "x"}}
    text = "".join(metrics.open_metrics([report, report]))
    lines = text.split("\n")
    assert lines[-2:] == ["# EOF", ""]
    samples = [line for line in lines if line and not line.startswith("#")]
    assert all(SAMPLE.fullmatch(line) for line in samples)
    assert len({line.rpartition(" ")[0] for line in samples}) == len(samples)


def test_a_test_without_a_number_is_not_there():
    report = report_of(record_of("t.py::test_a", 2.0), record_of("t.py::test_b", 1.0, energy=None))
    (entry,) = metrics.benchmarks([report])
    assert (entry["name"], entry["unit"]) == ("t.py::test_a", "J")
    assert entry["value"] == 2.0
    assert entry["range"].startswith("±")
    assert "test_b" not in "".join(line for line in metrics.open_metrics([report]) if "energy" in line)


def test_several_reports_are_told_apart():
    one, other = report_of(record_of("t.py::test_a", 2.0)), report_of(record_of("t.py::test_a", 3.0))
    other.machine = {**other.machine, "id": "n"}
    assert len({entry["name"] for entry in metrics.benchmarks([one, other])}) == 2
