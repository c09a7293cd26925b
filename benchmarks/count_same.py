"""False alarms of counting instructions: suites of real packages held against themselves, in another folder and environment.

    python benchmarks/count_same.py [--suites DIR] [--only NAME ...] [--python PYTHON] [--user NAME] [--busy N]

Each suite is counted and saved, then compared from another copy, with another home, more variables, another hash seed and other
choices of the C library, by another ``--user`` (where this one may do that), beside ``--busy`` processes. Nothing has changed, so
every ``regressed`` or ``improved`` is false. Bars: none ``regressed``, at most 5 % ``cannot tell``; the seconds of the plain run
and of the counted one stand beside that.

Exit code 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from outcomes import SUITES
from overhead import fetch


def run(
    suite: str, folder: Path, python: str, report: Path | None, *options: str, user: str | None = None, **variables: str
) -> float:
    """Seconds of a run of pytest over a suite. Raises ``SystemExit`` where it wrote no report."""
    _, _, source, tests = SUITES[suite]
    more = [f"--energy-json={report}"] if report is not None else []
    command = [python, "-m", "pytest", "-q", "-p", "no:randomly", "--tb=line", tests, *options, *more]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder / source), str(folder))), **variables}
    who: dict[str, Any] = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user is not None else {}
    begun = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, **who)
    if report is not None and not report.exists():
        raise SystemExit(f"{' '.join(command)} in {folder}:\n{(done.stdout + done.stderr)[-3000:]}")
    return time.monotonic() - begun


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Beside so many processes that do nothing but take time."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()


def same(suite: str, python: str, home: Path, user: str | None, processes: int) -> bool:
    """Whether a suite keeps the bars; a line of figures, and one for each test that was told otherwise."""
    name, version, _, _ = SUITES[suite]
    with tempfile.TemporaryDirectory() as temporary:
        here, there = Path(temporary, suite), Path(temporary, "a folder of another name", "and depth", suite)
        fetched = fetch(name, version, home)
        for copy in (here, there):
            shutil.copytree(fetched, copy, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", ".joules"))
        plain = run(suite, here, python, None, "-p", "no:joules")
        saved, compared = Path(temporary, "saved.json"), Path(temporary, "compared.json")
        seconds = run(suite, here, python, saved, "--energy-count", "--energy-save=main")
        shutil.copytree(here / ".joules", there / ".joules")
        if user is not None:
            for path in (Path(temporary), *Path(temporary).rglob("*")):
                shutil.chown(path, user)
        other = {"HOME": temporary, "BUILD": "x" * 700, "CI": "true", "PYTHONHASHSEED": "7"}
        other["GLIBC_TUNABLES"] = "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-ERMS,-AVX_Fast_Unaligned_Load"
        with busy(processes):
            run(suite, there, python, compared, "--energy-count", "--energy-compare=main", user=user, **other)
        before = {test["nodeid"]: test for test in json.loads(saved.read_text())["tests"]}
        tests = json.loads(compared.read_text())["tests"]
    judged = [test for test in tests if test["instructions"] and test["instructions"]["comparison"]]
    verdicts = Counter(test["instructions"]["comparison"]["verdict"] for test in judged)
    off = sorted(abs(test["instructions"]["comparison"]["ratio"] - 1) for test in judged)
    quantiles = (
        ", ".join(f"{share:.0%}: {100 * off[int(share * (len(off) - 1))]:.3f} %" for share in (0.5, 0.9, 0.99)) if off else ""
    )
    said = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    print(f"{suite:16}{len(tests):5} tests  {said}; off by {quantiles}; plain {plain:.0f} s, counted {seconds:.0f} s", flush=True)
    for test in judged:
        counted = test["instructions"]
        if counted["comparison"]["verdict"] != "ok":
            then = before[test["nodeid"]]["instructions"]["counts"]
            verdict, why = counted["comparison"]["verdict"], counted["comparison"]["why"]
            print(f"    {verdict}: {test['nodeid']}: {why} {then} {counted['counts']}")
    return not verdicts["regressed"] and verdicts["cannot tell"] <= 0.05 * len(judged)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=Path, metavar="DIR", default=Path(tempfile.gettempdir()) / "joules-suites")
    parser.add_argument("--only", nargs="+", choices=SUITES, default=[], metavar="NAME")
    parser.add_argument("--python", default=sys.executable, help="with pytest-joules and what the suites import")
    parser.add_argument("--user", help="by whom each suite is compared")
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="processes beside that")
    given = parser.parse_args()
    kept = [same(suite, given.python, given.suites, given.user, given.busy) for suite in given.only or SUITES]
    print(f"bars: {'met' if all(kept) else 'missed'} ({sum(kept)} of {len(kept)} suites)")
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
