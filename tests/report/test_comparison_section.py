"""The comparison in the terminal: what regressed is named, what nobody can tell is not a wall, and everything fits."""

import random

import pytest
from _pytest._io.wcwidth import wcswidth
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reported import ESTIMATE, record_of
from reported import report_of as plain_report_of

from pytest_joules.report import comparison, terminal

calmly = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

FACTS = {
    "baseline": "main",
    "created": "2026-11-20T10:30:00+00:00",
    "commit": "1a2b3c4d5e6f7a8b",
    "threshold": 0.05,
    "counts": {},
    "new": [],
    "gone": [],
    "renamed": {},
    "why": None,
}


def compared(nodeid, verdict, ratio=None, interval=None, *, why="1.00×", blocks=1, changed=(), **other):
    record = record_of(nodeid, 1.0, **{"rounds": 20, **other})
    record["comparison"] = {
        "baseline": "main",
        "ratio": ratio,
        "ci95": list(interval) if interval else None,
        "p": 1e-6 if ratio else None,
        "verdict": verdict,
        "why": why,
        "floor": None,
        "sessions": 0,
        "blocks": blocks,
        "changed": list(changed),
    }
    return record


def report_of(*tests, sources=(), **facts):
    report = plain_report_of(*tests, sources=sources)
    report.comparison = {**FACTS, **facts}
    return report


def shown(*tests, width=100, rows=20, encoding="utf-8", sources=(), **facts):
    return comparison.lines(report_of(*tests, sources=sources, **facts), width, rows, encoding)


def flat(lines):
    return " ".join(" ".join(lines).split())


PATHS = ["src/shop/cart.py::total", "src/shop/tax.py::rate"]


def test_a_regression_names_what_changed_in_its_path():
    lines = shown(compared("t.py::a", "regressed", 1.34, (1.301, 1.391), blocks=2, changed=PATHS))
    assert lines == [
        "REGRESSED t.py::a 1.34× since main (1.30 to 1.39; 20 rounds, 2 processes); changed in its path:",
        "  shop.cart.total, shop.tax.rate",
        "compared with main (2026-11-20, 1a2b3c4d): 1 regressed",
    ]


def test_three_names_at_most():
    changed = [f"src/shop/cart.py::f{number}" for number in range(10)]
    text = flat(shown(compared("t.py::a", "regressed", 1.34, (1.3, 1.4), changed=changed)))
    assert "shop.cart.f0, shop.cart.f1, shop.cart.f2 and 7 more" in text and "f3" not in text
    assert "changed in its path" not in flat(shown(compared("t.py::a", "regressed", 1.34, (1.3, 1.4))))


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("src/shop/cart.py::total", "shop.cart.total"),
        ("shop/cart.py::Cart.total", "shop.cart.Cart.total"),
        ("shop/__init__.py::load", "shop.load"),
        ("src/__init__.py::f", "f"),
        ("src.py::f", "src.f"),
        ("shop/cart.py::outer.<locals>.inner", "shop.cart.outer.inner"),
        ("shop/cart.py::<lambda>", "shop.cart.<lambda>"),
        ("shop/cart.py::<module> RATE", "shop.cart.RATE"),
        ("shop/cart.py::<module>", "shop.cart"),
        ("tests/conftest.py::cart", "tests.conftest.cart"),
        ("numpy 2.1", "numpy 2.1"),
        ("::f", "f"),
    ],
)
def test_dotted_names(place, name):
    assert comparison.dotted(place) == name


def test_the_worst_first_and_no_more_than_fit():
    tests = [compared(f"t.py::n{number:02}", "regressed", 1 + number / 10, (1.01, 9.0)) for number in range(1, 31)]
    random.Random(1).shuffle(tests)
    lines = shown(*tests, rows=5)
    assert [line.split()[1] for line in lines if line.startswith("REGRESSED")] == [f"t.py::n{n}" for n in (30, 29, 28, 27, 26)]
    assert "… and 25 more regressed, each by less: --energy-top=0 shows all" in lines
    assert sum(line.startswith("REGRESSED") for line in shown(*tests, rows=0)) == 30


def test_improved_tests_take_a_line_each():
    tests = [compared(f"t.py::n{number}", "improved", 0.9 - number / 100, (0.5, 0.9)) for number in range(12)]
    lines = shown(*tests)
    assert lines[0] == "IMPROVED t.py::n11 0.79× since main (0.50 to 0.90; 20 rounds)"
    assert "… and 4 more improved, each by less" in lines and len(lines) == 10


def test_what_cannot_be_told_is_grouped_by_its_reason():
    shared = "other processes used the machine now: measure on a quiet one"
    floor = "1.{0}× (95 % interval 1.0{0} to 1.2), p = {0}e-5, within the noise floor: 15 % is assumed"
    tests = [compared(f"t.py::s{number:03}", "cannot tell", why=shared) for number in range(150)]
    tests += [compared(f"t.py::f{number}", "cannot tell", 1.1, (1.0, 1.2), why=floor.format(number)) for number in range(1, 10)]
    tests += [compared("t.py::alone", "cannot tell", why="its examples are random (Hypothesis): derandomize or seed it.")]
    lines = shown(*tests, width=200)
    assert lines[0] == f"cannot tell of 150 tests, such as t.py::s000: {shared}"
    assert lines[1] == f"cannot tell of 9 tests, such as t.py::f1: {floor.format(1)}"
    assert lines[2] == "cannot tell of t.py::alone: its examples are random (Hypothesis): derandomize or seed it"
    assert lines[3:] == ["compared with main (2026-11-20, 1a2b3c4d): 160 cannot tell"]


def test_many_reasons_are_no_wall_either():
    tests = [compared(f"t.py::{'abcdefghijklmnopqrst'[n]}", "cannot tell", why="because " + "x" * n) for n in range(20)]
    lines = shown(*tests, width=80)
    assert len(lines) == 10
    assert lines[-2] == "… and of 12 more, for 12 other reasons: the JSON has them all"


def test_the_last_line_counts():
    tests = [compared(f"t.py::{number}", "ok", 1.0, (0.99, 1.01)) for number in range(188)]
    tests += [compared("t.py::i", "improved", 0.5, (0.4, 0.6)), compared("t.py::r", "regressed", 1.5, (1.4, 1.6))]
    tests += [record_of("t.py::new", 1.0)]
    lines = shown(*tests, new=["t.py::new"], gone=["t.py::x", "t.py::y"], renamed={"t.py::b": "t.py::c"})
    counts = "188 ok, 1 improved, 1 regressed; 1 renamed; not compared: 1 new, 2 gone"
    assert flat(lines[-2:]) == f"compared with main (2026-11-20, 1a2b3c4d): {counts}"
    assert lines[-5:-2] == ["new since main: t.py::new", "gone since main: t.py::x, t.py::y", "renamed: t.py::b -> t.py::c"]
    many = shown(*tests, new=[f"t.py::{number}" for number in range(200)])
    assert "new since main: t.py::0, t.py::1, t.py::2 and 197 more" in many


def test_of_another_revision_there_is_neither_date_nor_commit():
    lines = shown(compared("t.py::a", "ok", 1.0, (0.9, 1.1)), baseline="origin/main", created=None, commit=None)
    assert lines == ["compared with origin/main: 1 ok"]


def test_that_nothing_was_compared_is_said():
    assert shown(record_of("t.py::a", 1.0), new=["t.py::a"]) == [
        "new since main: t.py::a",
        "compared with main (2026-11-20, 1a2b3c4d): nothing was compared; not compared: 1 new",
    ]
    assert flat(shown(why="another machine (turbo: on, now off)")).endswith(
        "nothing was compared; another machine (turbo: on, now off)"
    )


def test_nothing_was_compared():
    report = plain_report_of(record_of("t.py::a", 1.0))
    assert comparison.lines(report, 80) == []
    assert not any("compared" in line for line in terminal.lines(report, 80))


def test_estimates_say_once_that_their_error_cancels():
    tests = [compared(f"t.py::{number}", "ok", 1.0, (0.9, 1.1), provenance="estimated") for number in range(5)]
    sentence = "on one machine and one estimate model the systematic error cancels in the ratio"
    assert flat(shown(*tests, sources=[ESTIMATE])).count(sentence) == 1
    assert sentence not in flat(shown(compared("t.py::a", "ok", 1.0, (0.9, 1.1))))
    untold = compared("t.py::a", "cannot tell", why="another source", provenance="estimated")
    assert sentence not in flat(shown(untold)), "there is no ratio in which it could cancel"


def test_remarks_are_said():
    lines = shown(compared("t.py::a", "ok", 1.0, (0.9, 1.1)), notes=["Python: 3.11, now 3.12"])
    assert lines[0] == "Python: 3.11, now 3.12"


def test_it_stands_under_the_table_which_marks_the_tests():
    tests = [compared("t.py::a", "regressed", 1.34, (1.3, 1.4)), compared("t.py::b", "improved", 0.5, (0.4, 0.6))]
    lines = terminal.lines(report_of(*tests), 100)
    assert next(line for line in lines if line.startswith("t.py::a  ")).endswith("regressed")
    assert next(line for line in lines if line.startswith("t.py::b  ")).endswith("improved")
    assert lines.index("REGRESSED t.py::a 1.34× since main (1.30 to 1.40; 20 rounds)") > lines.index(
        "one pass over 2 tests: 2.00 J in 200 ms"
    )


TEXT = st.text(max_size=60) | st.text("あ漢😀é\u0301\u200d\x1b\n\ud800/:[]x ", max_size=40)
RATIOS = st.none() | st.floats(1e-3, 1e6)


@st.composite
def comparisons(draw):
    verdict = draw(st.sampled_from(["ok", "improved", "regressed", "cannot tell"]))
    ratio = draw(RATIOS) if verdict == "cannot tell" else draw(st.floats(1e-3, 1e6))
    interval = (ratio * 0.9, ratio * 1.1) if ratio is not None else None
    return compared(
        draw(TEXT),
        verdict,
        ratio,
        interval,
        why=draw(st.none() | TEXT),
        blocks=draw(st.integers(1, 4)),
        changed=draw(st.lists(TEXT | st.sampled_from(PATHS), max_size=5)),
        provenance=draw(st.sampled_from(["measured", "estimated"])),
    )


@calmly
@given(
    st.lists(comparisons(), max_size=6),
    st.tuples(st.lists(TEXT, max_size=5), st.dictionaries(TEXT, TEXT, max_size=3)),
    st.sampled_from([1, 7, 20, 50, 80, 200]),
    st.sampled_from([None, 0, 1, 20]),
    st.sampled_from(["utf-8", "ascii", "cp1252", "no such encoding"]),
)
def test_no_line_is_wider_than_the_terminal(tests, others, width, rows, encoding):
    names, renamed = others
    for line in shown(*tests, width=width, rows=rows, encoding=encoding, new=names, gone=names, renamed=renamed, notes=names):
        assert 0 <= wcswidth(line) <= max(width, 2)  # a double-width character alone needs two columns
        if width >= 20:
            assert wcswidth(line) <= width
        line.encode("ascii" if encoding == "no such encoding" else encoding)
