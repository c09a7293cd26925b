"""Markdown for people on a pull request: the worst first, within the site's limits, and names that are nothing but names."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reported import ESTIMATE, record_of, report_of
from test_page import compared

from pytest_joules.report import markdown


def lines_of(text):
    return [line for line in text.splitlines() if line.startswith("| `")]


def changed(number, ratio, **more):
    nodeid = f"tests/test_module_{number}.py::test_case"
    return record_of(nodeid, ratio, outcome="failed", comparison=compared("regressed", ratio, **more))


def test_the_verdict_first_then_the_worst_first():
    report = report_of(
        changed(1, 1.2),
        changed(2, 3.0, changed=["src/shop/cart.py::total"]),
        record_of("t.py::test_less", 0.5, comparison=compared("improved", 0.5)),
        record_of("t.py::test_dear", 5.0, outcome="failed", budget={"joules": 2.0, "verdict": "over budget", "why": None}),
        record_of("t.py::test_doubt", 1.0, comparison=compared("cannot tell", 1.0)),
        record_of("t.py::test_same", 1.0, comparison=compared("ok", 1.0)),
        sources=[ESTIMATE],
    )
    text = markdown.text(report, markdown.COMMENT)
    assert text.startswith("**Energy: 1 over budget, 2 regressed, 1 improved, 1 cannot tell, 1 ok**")
    rows = lines_of(text.partition("<details>")[0])
    assert [row.split("`")[1] for row in rows] == [
        "t.py::test_dear",
        "tests/test_module_2.py::test_case",
        "tests/test_module_1.py::test_case",
        "t.py::test_less",
    ]
    assert "| 2.00 J (budget) | 5.00 J | 2.50 |" in rows[0]
    assert "| regressed | 1.00 J | 3.00 J | 3.00 | 2.95 to 3.05 | `shop.cart.total` |" in rows[1]
    assert "Cannot tell of `t.py::test_doubt`: told so." in text
    assert "estimated from CPU time" in text
    assert len(lines_of(text.partition("<details>")[2])) == 6


@pytest.mark.parametrize("most", [markdown.SUMMARY, markdown.COMMENT, 9000, 3000, 100])
def test_it_is_never_larger_than_the_site_takes(most):
    chosen = [changed(number, 1.1 + number / 1000) for number in range(3000)]
    text = markdown.text(report_of(*chosen), most)
    assert len(text.encode()) <= most
    rows = lines_of(text.partition("<details>")[0])
    if most >= 9000:
        worst = len(chosen) - 1
        assert f"test_module_{worst}.py" in rows[0]
        left = re.search(r"\n(\d+) left out\.\n", text.partition("<details>")[0])
        assert (int(left[1]) if left else 0) + len(rows) == len(chosen)
        assert (left is None) is (most == markdown.SUMMARY)
    else:
        assert text.startswith("**Energy: "[:most])


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_a_name_is_one_code_span(name):
    shown = markdown.code(name)
    assert "\n" not in shown
    assert "|" not in re.sub(r"\\\|", "", shown)
    fence = re.match("`+", shown)[0]
    inside = shown[len(fence) : -len(fence)]
    assert shown.endswith(fence)
    assert fence not in re.findall("`+", inside)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_a_text_is_nothing_but_a_text(said):
    shown = markdown.prose(said)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)[`*_<>\[\]|#&~$]", re.sub(r"\\\\", "", shown))
    assert not re.search(r"@\w", shown)
    assert "://" not in shown


def test_hostile_names_cannot_leave_the_table():
    text = markdown.text(report_of(record_of("t.py::test[`</code>|<img src=x>\n# @everyone https://evil.example]", 1.0)), 10_000)
    (row,) = lines_of(text) or [line for line in text.splitlines() if line.startswith("| ``")]
    assert "\\n# @everyone" in row


def test_why_nothing_was_compared_is_said():
    report = report_of(record_of("t.py::test_a", 1.0))
    report.comparison = {
        **{"baseline": "main", "created": None, "commit": None, "threshold": 0.05, "held": None, "counts": {}, "new": []},
        **{"gone": [], "renamed": {}, "why": "measured on another machine", "notes": []},
    }
    assert "Nothing was compared: measured on another machine." in markdown.text(report, 10_000)
