"""The page: complete without anything beside it, without JavaScript, whatever tests are called."""

import json
import re
from html.parser import HTMLParser

import pytest
from browser import PROGRAM, browser
from hypothesis import given, settings
from hypothesis import strategies as st
from reported import ESTIMATE, record_of, report_of

from pytest_joules.model.past import Level, Series
from pytest_joules.report import page

HOSTILE = [
    "t.py::test_a[<script>window.hit = 1</script>]",
    "t.py::test_a[</table><img src=x onerror='window.hit=1'>]",
    't.py::test_a["><svg onload=window.hit=1>]',
    "t.py::test_a[{{ 7 * 7 }}{% raw %}]",
    "t.py::test_a[\x1b[31m\u202etxt\x00]",
]


class Reader(HTMLParser):
    """Rows of tables as text, elements, and what they would fetch."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags, self.fetched, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        self.fetched += [
            value for name, value in attrs if name in ("src", "srcset", "data") or (name == "href" and value[0] != "#")
        ]

    def handle_endtag(self, tag):
        if tag == "table":
            self.rows.append([])

    def handle_data(self, data):
        self.words.append(data)
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] = (self.rows[-1][-1] + data).strip()


def written(tmp_path, *tests, past=None, **of):
    path = tmp_path / "report.html"
    page.write(report_of(*tests, **of), path, past or {})
    return path


def compared(verdict, ratio, **more):
    return {
        **{"baseline": "main", "ratio": ratio, "ci95": [ratio - 0.05, ratio + 0.05], "p": 0.001, "before": 1.0, "now": ratio},
        **{"verdict": verdict, "why": "told so", "floor": None, "held": None, "sessions": 1, "blocks": 2, "changed": []},
        **more,
    }


def test_numbers_and_verdicts_stand_in_it(tmp_path):
    text = written(
        tmp_path,
        record_of("t.py::test_small", 0.5),
        record_of(
            "t.py::test_large",
            2.0,
            outcome="failed",
            comparison=compared("regressed", 2.0, changed=["src/shop/cart.py::Cart.total"]),
        ),
        record_of("t.py::test_doubtful", 1.0, comparison=compared("cannot tell", 1.02)),
        sources=[ESTIMATE],
    ).read_text("utf-8")
    found = Reader(text)
    assert ["t.py::test_large", "regressed", "1.00 J", "2.00 J", "2.00", "1.95 to 2.05", "shop.cart.Cart.total"] in found.rows
    tests = [row for row in found.rows if row and row[0].startswith("t.py")][1:]
    assert [row[:2] for row in tests] == [
        ["t.py::test_large", "2.00 J"],
        ["t.py::test_doubtful", "1.00 J"],
        ["t.py::test_small", "500 mJ"],
    ]
    words = " ".join("".join(found.words).split())
    assert "Energy: 1 regressed, 1 cannot tell" in words
    assert "estimated from CPU time by a power model" in words
    assert "±40 %" in words
    assert "Cannot tell t.py::test_doubtful: told so" in words


def test_a_failure_that_fails_nobody_says_so(tmp_path):
    text = written(tmp_path, record_of("t.py::test_a", 2.0, comparison=compared("regressed", 2.0))).read_text("utf-8")
    assert "regressed, fails nobody" in text


def test_nothing_is_fetched_and_no_name_is_more_than_a_text(tmp_path):
    found = Reader(written(tmp_path, *(record_of(name, 1.0) for name in HOSTILE)).read_text("utf-8"))
    assert found.fetched == ["data:,"]
    assert found.tags.count("script") == 1
    assert "img" not in found.tags
    names = [row[0] for row in found.rows if row and row[0].startswith("t.py")]
    assert sorted(names) == sorted(
        name.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e").replace("\x00", "\\x00") for name in HOSTILE
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True))
def test_every_name_stands_in_it_as_text(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("page")
    found = Reader(written(folder, *(record_of(f"t.py::test[{name}]", 1.0) for name in names)).read_text("utf-8"))
    assert sum(row[0].startswith("t.py::test[") for row in found.rows if row) == len(names)
    assert found.tags.count("script") == 1


def test_samples_marks_and_the_past_are_drawn_and_said(tmp_path):
    levels = [Level(f"2026-01-0{day}T00:00:00+00:00", "c" * 40, day / 10) for day in range(1, 6)]
    series = [Series(name, "rapl, measured", "J", part) for name, part in (("machine-a", levels), ("machine-b", levels[:2]))]
    past = {"t.py::test_a": series}
    samples = [{"energy": value, "duration": 0.1, "tsc": None, "domains": {}, "block": 1} for value in (0.9, 1.0, 1.1)]
    test = record_of(
        "t.py::test_a",
        1.0,
        samples=samples,
        comparison=compared("ok", 1.0, before=0.95),
        budget={"joules": 2.0, "verdict": "ok", "why": None},
        regions={"load": {"energy": {"median": 0.25}, "duration": {"median": 0.01}}},
        work={"tokens": {"amount": 128.0, "joules_per_unit": 0.002}},
        scores={"pass_at_1": 0.31},
    )
    text = written(tmp_path, test, past=past).read_text("utf-8")
    words = "".join(Reader(text).words)
    assert "3 samples, 900 mJ to 1.10 J; median 1.00 J; 95 % interval" in words
    assert "main 950 mJ (dashed); budget 2.00 J (dotted)" in words
    assert "5 sessions on machine-a by rapl, measured (solid), 2026-01-01 to 2026-01-05: 100 mJ to 500 mJ, last 500 mJ" in words
    assert "2 sessions on machine-b by rapl, measured (dashed)" in words
    assert ["load", "250 mJ", "10.0 ms"] in Reader(text).rows
    assert ["tokens", "128", "2.00 mJ"] in Reader(text).rows
    assert ["pass_at_1", "0.31"] in Reader(text).rows
    # Each dot is where its sample is: the middle one in the middle of the two others.
    marks = re.search(r'class=dots d="M(\d+) [\d.]+zM(\d+) [\d.]+zM(\d+) ', text)
    first, middle, last = map(int, marks.groups())
    assert middle - first == pytest.approx(last - middle, abs=1)


def test_large_runs_have_every_test_in_the_table_and_say_what_has_no_section(tmp_path):
    tests = [record_of(f"t.py::test_{number}", 1.0 + number) for number in range(1100)]
    tests[0]["comparison"] = compared("regressed", 2.0)
    text = written(tmp_path, *tests).read_text("utf-8")
    assert text.count("<th scope=row>") == 1100
    assert text.count('class="one"') == 1000
    assert "100 tests have no section" in text
    # The cheapest has one: it has changed.
    assert "<h3>t.py::test_0</h3>" in text


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="no Chromium here")
def test_in_a_browser_it_sorts_filters_and_asks_for_nothing(tmp_path):
    tests = [record_of(name, number + 1.0) for number, name in enumerate([*HOSTILE, "t.py::test_last"])]
    tests[2]["comparison"] = compared("regressed", 2.0)
    path = written(tmp_path, *tests, record_of("t.py::test_none", 1.0, energy=None))
    with browser() as view:
        view.open(path)
        names = "[...document.querySelectorAll('#table tbody th')].map(cell => cell.textContent)"
        assert view.requests == [path.as_uri()]
        assert view.complaints == []
        assert view.value("window.hit ?? 0") == 0
        assert len(view.value(names)) == 7
        click = "document.querySelectorAll('#table thead button')[1].click()"
        view.value(click)
        assert view.value(names)[0] == "t.py::test_last"
        view.value(click)
        assert view.value(names)[0] == HOSTILE[0]
        # What has no number is last either way.
        assert view.value(names)[-1] == "t.py::test_none"
        filtered = (
            "(() => {{ const one = document.getElementById('{}'); one.value = {}; "
            "one.dispatchEvent(new Event('input', {{bubbles: true}})); }})()"
        )
        view.value(filtered.format("words", json.dumps("LAST")))
        assert view.value(names) == ["t.py::test_last"]
        view.value(filtered.format("words", json.dumps("")))
        view.value(filtered.format("verdict", json.dumps("regressed")))
        assert view.value(names) == [HOSTILE[2]]
    with browser() as view:
        view.ask("Emulation.setScriptExecutionDisabled", value=True)
        view.open(path)
        assert len(view.value(names)) == 7
        assert view.value("getComputedStyle(document.getElementById('filter')).display") == "none"
