"""The table fits any terminal, says what must be said, and never prints a zero for something unavailable."""

import re
import unicodedata

import pytest
from _pytest._io.wcwidth import wcswidth
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reported import ESTIMATE, record_of, report_of

from pytest_joules import stats
from pytest_joules.model import empty_record
from pytest_joules.report import quantity, terminal
from pytest_joules.report.colours import painted
from pytest_joules.report.text import display_width, encodable, printable, sentence, shorten_nodeid, whole

#: Shared machines are slow at times, and Hypothesis' own tables take a second to make on a fresh checkout.
calmly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def text_of(report, width=100, **options):
    return "\n".join(terminal.lines(report, width, **options))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "unavailable"),
        (float("nan"), "unavailable"),
        (float("inf"), "unavailable"),
        (0.0, "0 J"),
        (1.2345e-12, "0.00123 nJ"),
        (1e-9, "1.00 nJ"),
        (12.34e-6, "12.3 µJ"),
        (0.5, "500 mJ"),
        (0.9996, "1.00 J"),
        (9.996, "10.0 J"),
        (999.6, "1.00 kJ"),
        (123456.0, "123 kJ"),
        (2.5e6, "2.50 MJ"),
        (2.5e9, "2500 MJ"),
        (-0.0123, "-12.3 mJ"),
    ],
)
def test_joules(value, text):
    assert quantity.joules(value) == text


def test_other_quantities():
    assert quantity.seconds(93.4) == "93.4 s"
    assert quantity.seconds(7200.0) == "7200 s"
    assert quantity.seconds(1.5e-7) == "150 ns"
    assert quantity.watts(0.0301) == "30.1 mW"
    assert quantity.watts(1250) == "1.25 kW"
    assert quantity.seconds(None) == quantity.watts(None) == "unavailable"
    assert [quantity.plus_minus(share) for share in (0, 0.0001, 0.0123, 0.0996, 0.1234, 20, None)] == [
        "±0.0 %",
        "±<0.1 %",
        "±1.2 %",
        "±10 %",
        "±12 %",
        "±>999 %",
        "unavailable",
    ]
    assert quantity.relative_half_width({"median": 2.0, "ci95": [1.9, 2.1]}) == pytest.approx(0.05)
    assert quantity.relative_half_width({"median": 2.0, "ci95": None}) is None
    assert quantity.relative_half_width(None) is None


@calmly
@given(st.floats(1e-9, 1e9, exclude_max=True))
def test_three_digits_are_right(value):
    number, unit = quantity.joules(value).split(" ")
    scale = {"nJ": 1e-9, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0, "kJ": 1e3, "MJ": 1e6}[unit]
    assert float(number) * scale == pytest.approx(value, rel=0.00501)


FINITE = st.floats(1e-12, 1e9)
SUMMARIES = st.none() | st.lists(FINITE, min_size=1, max_size=8).map(stats.summarise)
TEXT = st.text(max_size=120) | st.text("あ漢😀é\u0301\u200d\x1b\n\ud800/:[]x", max_size=60)


@st.composite
def records(draw):
    record = empty_record(draw(TEXT) + draw(st.sampled_from(["", "::test", "::TestX::test_y[1]"])))
    record.update(
        outcome=draw(st.sampled_from(["passed", "failed", "skipped", "xfailed", None])),
        provenance=draw(st.sampled_from(["measured", "shared", "estimated", "unavailable"])),
        resolution=draw(st.sampled_from(["ok", "apportioned", "below", None])),
        rounds=draw(st.integers(0, 1000)),
        energy=draw(SUMMARIES),
        duration=draw(SUMMARIES),
        power=draw(SUMMARIES),
        notes=draw(st.lists(TEXT, max_size=2)),
        budget=draw(
            st.none()
            | st.fixed_dictionaries(
                {
                    "joules": FINITE,
                    "verdict": st.sampled_from(["ok", "over budget", "cannot tell"]),
                    "why": st.none() | TEXT,
                }
            )
        ),
    )
    return record


def test_what_an_encoding_has_stays_as_it_is():
    assert encodable("±1 % …", "latin-1") == "±1 % ~"


@calmly
@given(
    st.lists(records(), max_size=6),
    st.sampled_from([1, 7, 20, 40, 80, 200]),
    st.sampled_from([None, 0, 1, 20]),
    st.sampled_from(["utf-8", "ascii", "cp1252", "latin-1", "no such encoding"]),
)
def test_no_line_is_wider_than_the_terminal(tests, width, rows, encoding):
    session = {"seconds": 12.0, "joules": None, "idle_watts": 3.2}
    for line in terminal.lines(report_of(*tests, sources=[ESTIMATE], session=session), width, rows, encoding):
        assert 0 <= wcswidth(line) <= max(width, 2)  # a double-width character alone needs two columns
        if width >= 20:
            assert wcswidth(line) <= width
        line.encode("ascii" if encoding == "no such encoding" else encoding)


@calmly
@given(TEXT)
def test_widths_are_pytests(text):
    shown = printable(text)
    assert display_width(shown) == wcswidth(shown)


@calmly
@given(TEXT, st.integers(0, 60))
def test_shortened_node_ids_fit(text, width):
    shown = printable(text)
    short = shorten_nodeid(shown, width)
    assert display_width(short) <= width
    if display_width(shown) <= width:
        assert short == shown


@pytest.mark.parametrize(
    ("nodeid", "last"),
    [
        ("tests/unit/deep/test_parser.py::TestParser::TestDeep::test_it[a]", "test_it[a]"),
        ("tests/unit/test_parser.py::test_it[a::b/c-[x]]", "test_it[a::b/c-[x]]"),
        ("tests/[odd]/test_parser.py::TestParser::test_it[größe-日本語::]", "test_it[größe-日本語::]"),
        ("docs/a very/long way/to/reference.rst", "reference.rst"),
    ],
)
def test_what_names_the_test_stays_whole(nodeid, last):
    for width in range(display_width(last), display_width(nodeid) + 1):
        short = shorten_nodeid(nodeid, width)
        assert display_width(short) <= width
        assert short.endswith(last) and "…" not in short[len(short) - len(last) :]
        assert short in (nodeid, last) or short.startswith("…")
    short = shorten_nodeid(nodeid, display_width(last) - 1)
    assert short[:2] == last[:2] and "…" in short


def test_a_name_without_room_has_a_line_of_its_own():
    names = ["test_" + "of_a_name_that_is_long_" * 3, "TestX::test_y[" + "a::b/[c] " * 6 + "]", "test_z"]
    tests = [record_of(f"tests/unit/deep/test_parser.py::{name}", 3.0 - place) for place, name in enumerate(names)]
    shown = terminal.lines(report_of(*tests), 80)
    assert all(display_width(line) <= 80 for line in shown)
    assert next(line for line in shown if names[0] in line).endswith(names[0])
    assert any(line.endswith(names[1][len("TestX::") :]) for line in shown)
    row = shown[shown.index(next(line for line in shown if names[0] in line)) + 1]
    assert row.split()[:2] == ["3.00", "J"] and row.startswith(" " * 20)
    assert any("::test_z  " in line for line in shown), "the others have one line"


def test_a_node_id_in_a_sentence_is_one_word():
    nodeid = "tests/unit/deep/down/in/the/tree/test_parser.py::TestParser::test_it[one two three four]"
    lines = sentence(f"cannot tell of {whole(nodeid)}: because", 60, "utf-8")
    assert lines[1].startswith("  …") and lines[1].endswith("::test_it[one two three four]:")
    assert all(display_width(line) <= 60 for line in lines)


@pytest.mark.parametrize(
    ("more", "mark", "because"),
    [
        ({"rounds": 1, "notes": ["one round: subtests"]}, "one round", "no interval: subtests"),
        (
            {"rounds": 3, "notes": ["3 rounds of 20: the time was up, --energy-max-time=2"]},
            "few rounds",
            "fewer than were asked for: the time was up, --energy-max-time=2",
        ),
        ({"rounds": 3, "notes": ["round 4 did not pass (call: x): y"]}, "few rounds", "did not pass again"),
        ({"outcome": "failed"}, "failed", "measured until then"),
        ({"outcome": "error"}, "error", "setup or teardown"),
        ({"outcome": "interrupted"}, "stopped", "the run ended"),
        ({"provenance": "shared"}, "shared", "other processes used the machine meanwhile"),
    ],
)
def test_footnotes_have_the_true_cause(more, mark, because):
    shown = terminal.lines(report_of(record_of("t.py::a", 1.0, **more)), 120)
    assert shown[2].endswith(f"  {mark}")
    notes = [line for line in shown if line.startswith(f"{mark}: ")]
    assert len(notes) == 1 and because in notes[0]
    assert not any(
        line.startswith(f"{other}: ") for line in shown for other in ("few rounds", "failed", "error") if other != mark
    )


def test_footnotes_count_causes_that_differ():
    notes = ["one round: subtests", "one round: subtests", "one round: the time was up, --energy-max-time=2"]
    tests = [record_of(f"t.py::{place}", 1.0, rounds=1, notes=[note]) for place, note in enumerate(notes)]
    shown = text_of(report_of(*tests), 120)
    assert "\none round: no interval; 2 subtests; 1 the time was up, --energy-max-time=2\n" in shown


def test_verdicts_are_coloured_where_there_are_colours():
    def markup(text, **how):
        return f"<{' '.join(name for name, on in how.items() if on)} {text}>"

    def plain(text, **how):
        return text

    lines = [
        "OVER BUDGET t.py::a 3.10 J > 2.00 J",
        "energy: REGRESSED t.py::b 1.34× since main",
        "IMPROVED t.py::c 0.50× since main",
        "compared with main: 3 ok, 1 improved, 1 regressed, 2 cannot tell",
        "t.py::a  3.10 J  over budget",
        "test_it_was_regressed[1 ok]",
    ]
    assert [painted(line, plain) for line in lines] == lines
    assert [painted(line, markup) for line in lines] == [
        "<red bold OVER BUDGET> t.py::a 3.10 J > 2.00 J",
        "energy: <red bold REGRESSED> t.py::b 1.34× since main",
        "<green bold IMPROVED> t.py::c 0.50× since main",
        "compared with main: <green 3 ok>, <green 1 improved>, <red 1 regressed>, <yellow 2 cannot tell>",
        "t.py::a  3.10 J  <red over budget>",
        "test_it_was_regressed[1 ok]",
    ]


def test_columns_line_up_whatever_the_script():
    shown = terminal.lines(report_of(record_of("tests/test_漢字.py::test_絵", 2.0), record_of("tests/t.py::test_x", 1.0)), 100)
    ends = {wcswidth(line[: line.index(" J") + 2]) for line in shown[2:4]}
    assert len(ends) == 1


def test_worst_first_and_what_was_left_out():
    shown = terminal.lines(report_of(*(record_of(f"t.py::test_{n}", float(n)) for n in range(1, 26))), 80, 20)
    assert [line.split()[0] for line in shown[2:22]] == [f"t.py::test_{n}" for n in range(25, 5, -1)]
    assert shown[22] == "… and 5 more, each less: --energy-top=0 shows all"
    everything = terminal.lines(report_of(*(record_of(f"t.py::test_{n}", float(n)) for n in range(1, 26))), 80, rows=0)
    assert sum("t.py::test_" in line for line in everything) == 25
    assert not any("more" in line for line in everything)


def test_totals_are_the_sum_of_medians():
    tests = [record_of("t.py::a", 1.0, 0.5), record_of("t.py::b", 0.25, 1.5), empty_record("t.py::c") | {"outcome": "skipped"}]
    shown = text_of(report_of(*tests, session={"seconds": 12.0, "joules": 30.0, "idle_watts": 4.0}))
    assert "one pass over 2 tests: 1.25 J in 2.00 s" in shown
    assert "not measured: 1 skipped" in shown
    assert "measuring took 12.0 s and 30.0 J" in shown
    assert "idle power of this machine: 4.00 W" in shown


def test_unavailable_is_never_a_zero():
    tests = [
        empty_record("t.py::gone") | {"outcome": "passed", "notes": ["package-0: no reading (ENODATA)."]},
        empty_record("t.py::short") | {"outcome": "passed", "resolution": "below"},
        record_of("t.py::odd", 2.0, duration=None, power=None),
    ]
    shown = text_of(report_of(*tests, session={"seconds": None, "joules": None, "idle_watts": None}))
    assert not re.search(r"(?<![\d.])0(\.0+)? [nµmkM]?[JsW]\b", shown)
    assert "1 unavailable (package-0: no reading (ENODATA))" in shown
    assert "1 below what the source can tell" in shown
    row = next(line for line in shown.splitlines() if line.startswith("t.py::odd"))
    assert row.count("unavailable") == 2
    assert "measuring took" not in shown and "idle power" not in shown


def test_notes_and_their_legend():
    tests = [
        record_of("t.py::a", 5.0, outcome="failed", budget={"joules": 1.0, "verdict": "over budget", "why": "x"}),
        record_of("t.py::b", 4.0, provenance="shared"),
        record_of("t.py::c", 3.0, resolution="apportioned"),
        record_of("t.py::d", 2.0, rounds=1, energy=stats.summarise([2.0])),
    ]
    wide = text_of(report_of(*tests), 120)
    for name, word in zip("abcd", ("over budget", "shared", "apportioned", "one round"), strict=True):
        assert next(line for line in wide.splitlines() if f"::{name}" in line).endswith(word)
        assert f"\n{word}: " in wide
    assert "below:" not in wide and "estimated:" not in wide and "failed" not in wide
    long = [{**test, "nodeid": "tests/test_some_module.py::test_of_a_name_" + test["nodeid"]} for test in tests]
    narrow = text_of(report_of(*long), 80)
    assert "\nJ over budget: " in narrow and "\na apportioned: " in narrow
    assert "note" not in text_of(report_of(record_of("t.py::a", 1.0)))


def test_estimates_are_said_to_be_estimates_once():
    tests = [record_of(f"t.py::{n}", 1.0, provenance="estimated") for n in range(3)]
    shown = text_of(report_of(*tests, sources=[ESTIMATE]), 160)
    assert shown.count("estimated") == 1
    assert "±40 %; good for comparing on this machine, not as an absolute value" in shown
    mixed = text_of(report_of(*tests, record_of("t.py::m", 1.0), sources=[ESTIMATE]), 160)
    assert mixed.count("  estimated\n") == 3


def test_budgets_that_nobody_can_vouch_for():
    why = "would be over; estimated, so it fails only with --energy-trust-estimates"
    budget = {"joules": 0.5, "verdict": "cannot tell", "why": why}
    tests = [record_of("t.py::a", 1.0, budget=budget), record_of("t.py::b", 1.0, budget={**budget, "verdict": "ok", "why": None})]
    shown = text_of(report_of(*tests), 200)
    assert f"budget of 500 mJ for t.py::a: cannot tell: {why}" in shown
    assert "t.py::b: cannot tell" not in shown


def test_nothing_to_say():
    assert terminal.lines(report_of(), 80) == []
    assert text_of(report_of(empty_record("a") | {"outcome": "skipped"})) == "not measured: 1 skipped"


def test_plain_terminals_get_plain_characters():
    record = record_of("t.py::test_é", 2e-6, resolution="apportioned")
    shown = text_of(report_of(record), encoding="ascii")
    assert shown.isascii() and "uJ" in shown and "test_\\xe9" in shown


def test_control_characters_do_not_reach_the_terminal():
    shown = text_of(report_of(record_of("t.py::x[\x1b[31m\n\u202e\ud800]", 1.0)))
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in shown.replace("\n", ""))
    assert "\\x1b[31m\\n\\u202e\\ud800" in shown


def test_the_net_energy_stands_beside_the_total_where_idle_power_was_measured():
    plain, net = record_of("t.py::test_a", 2.0), record_of("t.py::test_a", 2.0)
    net["net_energy"] = 0.5
    assert " net " not in text_of(report_of(plain))
    shown = text_of(report_of(net, session={"seconds": 1.0, "joules": None, "idle_watts": 4.0}))
    assert " net " in shown
    assert "500 mJ" in shown
