"""What people read of an account: lines, a page's section, speedscope's file, what grew."""

import json
import re
from pathlib import Path

import browser
import jsonschema
import pytest
from accounts import account, node, part
from reported import record_of, report_of

from pytest_joules.account import chrome_trace
from pytest_joules.model import kept
from pytest_joules.report import account as account_lines
from pytest_joules.report import comparison, page, speedscope
from pytest_joules.report.account_growth import grown, headline, sentences
from pytest_joules.report.icicle import BOXES, icicle
from pytest_joules.report.text import display_width

MANY = [part(f"a/very/long/way/to/the/module.py::Class.method_number_{number:03}", 0.9 / 200) for number in range(200)]


def text(record, width=80, rows=10, encoding="utf-8"):
    return "\n".join(account_lines.lines(record, width, rows, encoding))


# Lines


def test_the_dearest_parts_stand_with_their_numbers_and_the_rest_is_always_there():
    said = text(account())
    assert re.search(r"^shop\.py::total +500 mJ +475–525 +50\.0 +10 +50\.0 ms +3$", said, re.MULTILINE)
    assert re.search(r"^unattributed +100 mJ +95–105 +10\.0 +10 +10\.0 ms$", said, re.MULTILINE)
    assert "1.00 J by functions, 4 traced rounds; idle 2.50 W" in said
    assert "each part has watts of its own" in said
    assert "add up to the test's joules; the model gives the traced rounds 100.2 %" in " ".join(said.split())
    assert "similarity" not in said


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_line_is_too_wide_and_the_rest_is_the_last_row(width, encoding):
    lines = account_lines.lines(
        account(MANY, similarity={"sparser": {"2": 0.9}, "more_runs": None, "between_runs": None}), width, 10, encoding
    )
    assert [line for line in lines if display_width(line) > width] == []
    assert "\n".join(lines).encode(encoding)
    assert "190 parts more" in " ".join(" ".join(lines).split())


def test_all_columns_stand_in_eighty():
    assert re.search(r"^part +energy +95 % +% +W +time +calls$", text(account(MANY)), re.MULTILINE)


def test_passes_devices_and_parts_that_cannot_be_told_apart_are_marked():
    flat = [
        part("net/mm", 0.5, kind="operation", direction="forward"),
        part("net/mm", 0.4, kind="operation", direction="backward", device="gpu-0", same=["net/t", "net/add"]),
    ]
    said = text(account(flat, what="operations"))
    assert "net/mm (forward)" in said
    assert "net/mm +2 (backward, gpu-0)" in said
    assert "+N: with N other parts" in said


def test_it_says_why_it_was_shared_by_time_and_that_similarity_is_no_error():
    similar = {"sparser": {"2": 0.99, "8": 0.91}, "more_runs": 0.98, "between_runs": None}
    record = account(
        shared_by="busy time",
        why="the counter steps too seldom",
        similarity=similar,
        notes=["one round was late"],
        against_counter=None,
    )
    said = " ".join(text(record).split())
    assert "shared out by CPU time" in said
    assert "; the counter steps too seldom" in said
    assert "similarity, which is no error" in said
    assert "of fewer readings 1 in 2 0.990, 1 in 8 0.910; of half the rounds 0.980" in said
    assert "one round was late" in said
    assert "of what the counter counted" not in said


def test_alike_parts_follow_where_there_are_any():
    said = text(account(summarised=[part("encoder.layer.*", 0.8)]))
    assert said.index("alike parts as one:") < said.index("encoder.layer.*")
    assert said.count("unattributed  ") == 2


# What grew


def test_parts_that_grew_are_listed_the_sure_ones_first():
    before = account([part("total", 0.5), part("tax", 0.3), part("tiny", 0.001), part("gone", 0.2)])
    now = account([part("total", 0.8), part("tax", 0.32), part("tiny", 0.00101), part("new", 0.1)])
    found = grown(now, kept(before))
    assert [(one["name"], one["before"], one["now"], one["sure"]) for one in found] == [
        ("total", 0.5, 0.8, True),
        ("new", None, 0.1, True),
        ("tax", 0.3, 0.32, False),
    ]
    assert list(sentences(found)) == [
        "grew: total 500 mJ -> 800 mJ",
        "grew: new new -> 100 mJ",
        "grew: tax 300 mJ -> 320 mJ, within the noise",
    ]
    assert headline(found) == "parts that grew: total (500 mJ -> 800 mJ), new (new -> 100 mJ)"


def test_nothing_is_sure_without_intervals_and_other_kinds_are_not_compared():
    before, now = account([part("a", 0.5, ci95=None)]), account([part("a", 0.9)])
    assert [one["sure"] for one in grown(now, kept(before))] == [False]
    assert headline(grown(now, kept(before))) == ""
    assert grown(now, kept(account([part("a", 0.1)], what="modules"))) == []


def test_passes_and_devices_are_parts_of_their_own():
    before = account([part("mm", 0.5, direction="forward"), part("mm", 0.2, direction="backward")])
    now = account([part("mm", 0.5, direction="forward"), part("mm", 0.6, direction="backward")])
    assert [(one["direction"], one["now"]) for one in grown(now, kept(before))] == [("backward", 0.6)]


def test_a_regression_says_where():
    compared = {
        "baseline": "main",
        "ratio": 1.5,
        "ci95": [1.4, 1.6],
        "p": 0.001,
        "before": 0.6,
        "now": 0.9,
        "verdict": "regressed",
    }
    compared |= {"why": None, "floor": None, "held": None, "sessions": 0, "blocks": 1, "changed": []}
    record = record_of(
        "test_a.py::test_a",
        0.9,
        comparison=compared,
        account=account(grown=grown(account([part("tax", 0.8)]), kept(account([part("tax", 0.3)])))),
    )
    report = report_of(record)
    facts = {"baseline": "main", "created": None, "commit": None, "threshold": 0.05, "held": None, "counts": {"regressed": 1}}
    report.comparison = {**facts, "new": [], "gone": [], "renamed": {}, "why": None, "notes": []}
    assert "parts that grew: tax (300 mJ -> 800 mJ)" in " ".join(" ".join(comparison.lines(report, 80)).split())


# Pictures


def test_the_icicle_is_as_wide_as_the_joules_and_names_are_texts():
    picture, words = icicle(account([part("<script>&", 0.75)], [node("<script>&", 0.25, node("b", 0.5))], rest=0.25))
    widths = [float(one) for one in re.findall(r'width="([\d.]+)"', picture)]
    assert widths == [719.0, 239.0, 479.0]
    assert "<script>" not in picture
    assert "&lt;script&gt;&amp;: 750 mJ 75 %" in picture
    assert "as wide as its joules" in words[0]


def test_large_trees_are_drawn_in_few_boxes_and_what_noise_made_negative_has_none():
    deep = node("leaf", 0.1)
    for number in range(100):
        deep = node(f"n{number}", 0.001, deep)
    picture, words = icicle(account(MANY, [deep, *(node(one["name"], one["joules"]) for one in MANY), node("minus", -0.2)]))
    assert picture.count("<rect") <= BOXES
    assert "minus" not in picture
    assert "left out" in words[0]
    assert len(picture) < 20_000
    assert icicle(account([], [], rest=0.0)) == ("", [])


@pytest.mark.skipif(browser.PROGRAM is None, reason="no browser is installed")
def test_in_a_browser_the_page_complains_of_nothing_and_its_words_can_be_read(tmp_path):
    path = tmp_path / "page.html"
    page.write_accounts({"trace.json": account()}, path, 10)
    with browser.browser() as shown:
        shown.open(path)
        assert shown.value("document.querySelectorAll('.icicle rect').length") == 4
        assert shown.value("document.querySelectorAll('.icicle')[0].getBoundingClientRect().width > 300")
        # Every text lies inside of its box.
        outside = """[...document.querySelectorAll('.icicle text')].filter(one => {
            const [a, b] = [one, one.parentNode.querySelector('rect')].map(each => each.getBoundingClientRect());
            return a.right > b.right + 1 || a.left < b.left; }).length"""
        assert shown.value(outside) == 0
        # Ink on the boxes: at least 4.5 to 1, as WCAG asks for.
        contrast = """(() => {
            const linear = x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4;
            const light = tag => {
                const fill = getComputedStyle(document.querySelector('.icicle ' + tag)).fill;
                const [r, g, b] = fill.match(/[0-9.]+/g).slice(0, 3).map(x => linear(x / 255));
                return .2126 * r + .7152 * g + .0722 * b + .05; };
            const [a, b] = [light('text'), light('rect')];
            return Math.max(a, b) / Math.min(a, b); })()"""
        assert shown.value(contrast) >= 4.5
        assert shown.value("document.querySelectorAll('table th[scope=row]').length") == 4
        assert shown.complaints == []
        assert len(shown.requests) == 1


def test_a_test_of_a_report_has_it_in_its_section(tmp_path):
    path = tmp_path / "page.html"
    page.write(report_of(record_of("test_a.py::test_a", 1.0, account=account()), record_of("test_a.py::test_b", 1.0)), path, {})
    written = path.read_text()
    assert written.count("class=icicle") == 1
    assert "where its joules go: 1.00 J by functions" in written


# Files of viewers


def test_speedscope_weighs_stacks_by_joules(tmp_path):
    path = tmp_path / "a.speedscope.json"
    other = account([part("a", 0.2)], [node("a", 0.2, direction="backward"), node("minus", -1e-9)])
    speedscope.write({"one": account(), "two": other}, path)
    found = json.loads(path.read_text())
    jsonschema.validate(found, SPEEDSCOPE)
    first, second = found["profiles"]
    names = [frame["name"] for frame in found["shared"]["frames"]]
    stacks = {
        tuple(names[place] for place in stack): weight for stack, weight in zip(first["samples"], first["weights"], strict=True)
    }
    assert stacks["shop.py::show", "shop.py::total", "shop.py::tax"] == pytest.approx(0.3e6)
    assert stacks["unattributed",] == pytest.approx(0.1e6)
    assert first["endValue"] == pytest.approx(1e6)
    assert [names[place] for stack in second["samples"] for place in stack] == ["a (backward)", "unattributed"]


def test_a_tree_alone_becomes_a_chrome_trace_of_joules(tmp_path):
    path = Path(tmp_path, "trace.json")
    chrome_trace.write_tree(account(), path)
    events = {one["name"]: one for one in json.loads(path.read_text())["traceEvents"] if one["ph"] == "X"}
    assert events["shop.py::total"]["dur"] == pytest.approx(0.8e6)
    assert events["unattributed"]["ts"] == pytest.approx(0.9e6)


#: What the schema that speedscope publishes asks of a sampled profile.
SPEEDSCOPE = {
    "type": "object",
    "required": ["$schema", "profiles", "shared"],
    "properties": {
        "$schema": {"const": "https://www.speedscope.app/file-format-schema.json"},
        "activeProfileIndex": {"type": "number"},
        "exporter": {"type": "string"},
        "name": {"type": "string"},
        "profiles": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["endValue", "name", "samples", "startValue", "type", "unit", "weights"],
                "properties": {
                    "endValue": {"type": "number"},
                    "startValue": {"type": "number"},
                    "name": {"type": "string"},
                    "samples": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
                    "weights": {"type": "array", "items": {"type": "number"}},
                    "type": {"const": "sampled"},
                    "unit": {"enum": ["bytes", "microseconds", "milliseconds", "nanoseconds", "none", "seconds"]},
                },
            },
        },
        "shared": {
            "type": "object",
            "required": ["frames"],
            "properties": {"frames": {"type": "array", "items": {"type": "object", "required": ["name"]}}},
        },
    },
}
