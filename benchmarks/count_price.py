"""What counting instructions costs: short tests, a long body, and a change that touches few of many tests.

    python benchmarks/count_price.py [--python PYTHON]

Projects made here, with tests that are alike in size and not in what they do: dictionaries, regular expressions, JSON, classes,
exceptions, files. *Short*: 200 tests of a millisecond or less, counted and saved; bar: 40 s. *Long*: one test whose body takes
100 ms; bar: 12 s. *Changed only*: 500 tests of which a change touches 5, compared with ``--energy-changed-only``; bar: 15 s more
than the plain run. Seconds of the whole command, starting included.

Exit code 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: Bodies of short tests: each is given a number.
BODIES = (
    "assert sorted({word: len(word) + n for word in WORDS})",
    "assert re.sub('o', str(n), ' '.join(WORDS))",
    "assert json.loads(json.dumps({'a': [n] * 5, 'b': WORDS}))['a'][0] == n",
    "assert sum(i * i for i in range(n % 7 * 20)) >= 0",
    "class Point:\n        def __init__(self, x): self.x = x\n        def __eq__(self, other): return self.x == other.x\n"
    "    assert Point(n) == Point(n)",
    "with pytest.raises(ValueError): int('a' * (n + 1))",
    "(tmp_path / 'file').write_text(str(n)); assert (tmp_path / 'file').read_text() == str(n)",
    "assert ''.join(reversed('x' * n)) == 'x' * n",
)
HEAD = "import json, re\nimport pytest\nWORDS = 'the quick brown fox jumps over the lazy dog'.split()\n"
LONG = "import time\ndef test_long():\n    ends = {end}\n    for i in range(ends): i * i\n"


def run(folder: Path, python: str, *options: str) -> float:
    """Seconds of a run of pytest. Raises ``SystemExit`` where it did not pass."""
    command = [python, "-m", "pytest", "-q", "-p", "no:randomly", *options]
    begun = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{(done.stdout + done.stderr)[-3000:]}")
    return time.monotonic() - begun


def told(what: str, seconds: float, bar: float, more: str = "") -> bool:
    print(f"{what:42}{seconds:7.1f} s  (bar {bar:.0f} s){more}", flush=True)
    return seconds <= bar


def short(folder: Path, python: str) -> bool:
    bodies = [(n, BODIES[n % len(BODIES)]) for n in range(200)]
    tests = [f"def test_{n}({'tmp_path' * ('tmp_path' in body)}):\n    n = {n}\n    {body}\n" for n, body in bodies]
    (folder / "test_short.py").write_text(HEAD + "".join(tests))
    plain = run(folder, python, "-p", "no:joules")
    return told(
        "200 short tests, saved", run(folder, python, "--energy-count", "--energy-save=main"), 40, f"; plain {plain:.1f} s"
    )


def long(folder: Path, python: str) -> bool:
    timing = "import time; a = time.perf_counter()\nfor i in range(10**6): i * i\nprint(time.perf_counter() - a)"
    million = float(subprocess.run([python, "-c", timing], capture_output=True, text=True, check=True).stdout)
    (folder / "test_long.py").write_text(LONG.format(end=int(0.1 / million * 1e6)))
    return told("a body of 100 ms", run(folder, python, "--energy-count"), 12)


def changed(folder: Path, python: str) -> bool:
    for number in range(100):
        (folder / f"part{number}.py").write_text(f"def work(n):\n    return sum(i for i in range(n + {number}))\n")
        tests = [f"def test_{n}():\n    n = {n}\n    assert part{number}.work(n) >= 0\n    {BODIES[n % 6]}\n" for n in range(5)]
        (folder / f"test_part{number}.py").write_text(f"{HEAD}import part{number}\n{''.join(tests)}")
    run(folder, python, "--energy-count", "--energy-save=main")
    path = folder / "part7.py"
    path.write_text(path.read_text().replace("range(n + 7)", "range(n + 9)"))
    plain = run(folder, python, "-p", "no:joules")
    seconds = run(folder, python, "--energy-count", "--energy-compare=main", "--energy-changed-only", "--energy-json=r.json")
    counted = sum(test["instructions"] is not None for test in json.loads((folder / "r.json").read_text())["tests"])
    return told("5 of 500 tests touched, beyond the plain run", seconds - plain, 15, f"; plain {plain:.1f} s, {counted} counted")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="with pytest-joules")
    parser.add_argument("--only", nargs="+", choices=("short", "long", "changed"), default=[])
    given = parser.parse_args()
    kept = []
    for project in (short, long, changed):
        if not given.only or project.__name__ in given.only:
            with tempfile.TemporaryDirectory() as folder:
                kept.append(project(Path(folder), given.python))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
