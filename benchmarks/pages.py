"""Pages and Markdown of large runs: size, time, requests, sorting, and how they fare with axe-core's rules.

    python benchmarks/pages.py [--axe axe.min.js]

Reports are made, not measured: 500 tests of 20 samples with a past of 50 sessions, 10,000 tests, 3,000 tests that have changed.
Bars: 700 KB, 2 s to write, no request, shown after 1 s, no violation; 6 MB, 15 s, sorted within 0.5 s; Markdown within the sites'
limits. A real Chromium opens them with its network off; where none is installed that part is left out, and said. axe-core is
npm's: ``npm install axe-core``, then ``--axe node_modules/axe-core/axe.min.js``.

Exit code 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

from pytest_joules import stats
from pytest_joules.model import Record, Report, empty_record
from pytest_joules.model.past import Level, Past, Series
from pytest_joules.report import markdown, page

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

KB = 1000


def record(number: int, chance: random.Random, *, changed: bool = False) -> Record:
    """A test that was measured, with a comparison."""
    nodeid = f"tests/unit/part_{number % 23}/test_module_{number % 97}.py::TestThing::test_case_{number}[value-{number % 7}]"
    middle = 10 ** chance.uniform(-4, 0)
    values = [middle * chance.gauss(1, 0.03) for _ in range(20)]
    verdict = "regressed" if changed else chance.choice(("ok", "ok", "ok", "cannot tell"))
    ratio = chance.uniform(1.1, 3) if changed else 1.0
    return {
        **empty_record(nodeid),
        "outcome": "failed" if changed else "passed",
        "source": "rapl",
        "provenance": "measured",
        "resolution": "ok",
        "rounds": 20,
        "energy": stats.summarise(values),
        "duration": stats.summarise([value / 12 for value in values]),
        "power": stats.summarise([12.0] * 20),
        "domains": {"package-0": stats.summarise(values)},
        "samples": [
            {"energy": value, "duration": value / 12, "tsc": None, "domains": {"package-0": value}, "block": 1}
            for value in values
        ],
        "comparison": {
            "baseline": "main",
            "ratio": ratio,
            "ci95": [ratio * 0.97, ratio * 1.03],
            "p": 0.001,
            "before": middle / ratio,
            "now": middle,
            "verdict": cast("Any", verdict),
            "why": "its rounds scatter by 9.1 %: raise --energy-rounds",
            "floor": 0.05,
            "held": None,
            "sessions": 1,
            "blocks": 2,
            "changed": [f"src/thing/part_{number % 23}.py::Thing.method_{number % 50}"] if changed else [],
        },
    }


def report(tests: int, *, changed: bool = False) -> Report:
    chance = random.Random(1)
    return Report(
        created="2026-01-01T00:00:00+00:00",
        machine={"id": "0a1b2c3d", "cpu": "CPU", "cores": 8, "os": "Linux", "python": "3.12", "virtual": False, "facts": {}},
        commit={"id": "c" * 40, "dirty": False},
        settings={},
        sources=[],
        tests=[record(number, chance, changed=changed) for number in range(tests)],
        comparison={
            "baseline": "main",
            "created": "2026-01-01",
            "commit": "a" * 40,
            "threshold": 0.05,
            "held": None,
            "counts": {},
            "new": [],
            "gone": [],
            "renamed": {},
            "why": None,
            "notes": [],
        },
    )


def past(of: Report, sessions: int) -> Past:
    chance = random.Random(2)
    found = {}
    for test in of.tests:
        middle = test["energy"]["median"] if test["energy"] is not None else 1.0
        levels = [
            Level(f"2026-{1 + day // 28:02}-{1 + day % 28:02}T00:00:00+00:00", None, middle * chance.gauss(1, 0.05))
            for day in range(sessions)
        ]
        found[test["nodeid"]] = [Series("0a1b2c3d", "rapl, measured", "J", levels)]
    return found


def bar(what: str, value: float, most: float, unit: str) -> bool:
    kept = value <= most
    print(f"{what:58}{value:10,.2f} {unit:3} (bar {most:g}) {'' if kept else 'MISSED'}", flush=True)
    return kept


def written(name: str, of: Report, known: Past, path: Path, bars: tuple[float, float]) -> list[bool]:
    """``bars``: kilobytes and seconds, at most."""
    begun = time.perf_counter()
    page.write(of, path, known)
    took = time.perf_counter() - begun
    return [bar(f"{name}: size", path.stat().st_size / KB, bars[0], "KB"), bar(f"{name}: writing", took, bars[1], "s")]


def shown(small: Path, large: Path, axe: Path | None) -> list[bool]:
    """In a real browser."""
    from browser import PROGRAM, browser  # type: ignore[import-not-found]  # of the tests

    if PROGRAM is None:
        print("no Chromium here: what a browser says was left out")
        return []
    kept = []
    with browser() as view:
        begun = time.perf_counter()
        view.open(small)
        painted = view.value("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? performance.now()")
        kept.append(bar("500 tests: first table shown after", painted / 1000, 1, "s"))
        kept.append(bar("500 tests: requests beside the page itself", len(view.requests) - 1, 0, ""))
        kept.append(bar("500 tests: complaints of the browser", len(view.complaints), 0, ""))
        if axe is not None:
            for scheme in ("light", "dark"):
                view.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
                view.value(axe.read_text("utf-8") + ";0")
                wrong = view.value("axe.run().then(found => found.violations.map(one => `${one.id}: ${one.nodes.length}`))")
                print(*(f"    {text}" for text in wrong), sep="\n" if wrong else "")
                kept.append(bar(f"500 tests, {scheme}: violations of axe-core's rules", len(wrong), 0, ""))
        print(f"opened, all in all: {time.perf_counter() - begun:.1f} s")
    with browser() as view:
        view.open(large)
        for column in (0, 1, 5):
            script = f"""(() => {{ const begun = performance.now();
                document.querySelectorAll('#table thead button')[{column}].click();
                document.body.offsetHeight; return performance.now() - begun; }})()"""
            kept.append(bar(f"10,000 tests: sorted by column {column} in", view.value(script) / 1000, 0.5, "s"))
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axe", type=Path, metavar="FILE", help="axe.min.js of axe-core")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small.html"), Path(folder, "large.html")
        few, many = report(500), report(10_000)
        kept = written("500 tests × 20 samples × 50 sessions", few, past(few, 50), small, (700, 2))
        kept += written("10,000 tests", many, {}, large, (6000, 15))
        kept += shown(small, large, given.axe)
    changed = report(3000, changed=True)
    for name, most in (("summary", markdown.SUMMARY), ("comment", markdown.COMMENT)):
        begun = time.perf_counter()
        text = markdown.text(changed, most)
        kept.append(bar(f"3,000 changed tests: {name}", len(text.encode()), most, "B"))
        kept.append(bar(f"3,000 changed tests: {name}, writing", time.perf_counter() - begun, 2, "s"))
    print(f"bars: {'met' if all(kept) else 'missed'} ({sum(kept)} of {len(kept)})")
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
