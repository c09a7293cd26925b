"""From 5,000 to 20,000 empty tests: whether the time and the memory of a run grow with its tests, and no faster.

    python benchmarks/many_tests.py [--few=5000] [--many=20000] [--rounds=1,5]

Runs ``pytest --energy`` with a history and all reports (JSON, CSV, JUnit) over modules of 100 empty functions. Bars: four times
the tests take at most 4.4 times the CPU time, and each test more at most 25 KB at the peak beyond what a plain run takes for it.
Exit code 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PYTEST = ("-m", "pytest", "-q", "-p", "no:randomly", "--junitxml=junit.xml")
ENERGY = ("-p", "pytest_joules.plugin", "--energy", "--energy-source=estimate", "--energy-json=e.json", "--energy-csv=e.csv")


def run(folder: Path, *arguments: str) -> tuple[float, float]:
    """Seconds of CPU time, and KB at the peak."""
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with (folder / "said").open("w") as said:
        process = subprocess.Popen([sys.executable, *PYTEST, *arguments], cwd=folder, stdout=said, stderr=said, env=environment)
        # Its own memory, whatever else this process has waited for.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit((folder / "said").read_text()[-2000:])
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def measure(tests: int, rounds: int) -> tuple[float, float, float]:
    """CPU seconds, KB, and KB of a plain run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pytest.ini").write_text("[pytest]\n")
        for module in range(tests // 100):
            text = "".join(f"def test_{number}():\n    pass\n\n\n" for number in range(100))
            (folder / f"test_module_{module}.py").write_text(text)
        _, plain = run(folder)
        return *run(folder, *ENERGY, f"--energy-rounds={rounds}"), plain


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--few", type=int, default=5000)
    parser.add_argument("--many", type=int, default=20000)
    parser.add_argument("--rounds", default="1,5")
    given = parser.parse_args()
    missed = 0
    for rounds in map(int, given.rounds.split(",")):
        few, memory, plain = measure(given.few, rounds)
        many, more, plainly = measure(given.many, rounds)
        most = 4.4 * given.many / given.few / 4
        each = (more - memory - (plainly - plain)) / (given.many - given.few)
        wrong = many / few > most or each > 25
        missed += wrong
        print(
            f"{rounds} rounds: {few:.1f} s of CPU for {given.few} tests, {many:.1f} s for {given.many}: {many / few:.2f} times "
            f"(at most {most:.2f}); {memory / 1024:.0f} and {more / 1024:.0f} MB, {each:.1f} KB a test more than plain "
            f"(at most 25){'  MISSED' if wrong else ''}",
            flush=True,
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
