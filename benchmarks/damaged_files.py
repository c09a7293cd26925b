"""Damaged and hostile models, baselines, reports and bundles, given to the commands that read them.

    python benchmarks/damaged_files.py [--kinds model baseline report bundle] [--mutants 500] [--seconds 600] [--seed 1]

Each mutant has bytes changed, an end cut off, values of another type or size, or is made to take much memory; most models have
the hash that fits. All go through ``joules predict``, ``compare``, ``import`` in a process that is kept warm, every 25th through
``pytest`` too. A mutant is made of the seed and its number alone: ``--first N --mutants 1`` makes one again. Bars: no traceback,
no exit status 3, nothing that takes 20 s or 500 MB, no complaint without an end; exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import os
import random
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pytest_joules.predict.scoring import number_file

PATIENCE = 20.0
MEMORY = 500e6
LONGEST = 1500
EVERY = 25

CODE = "def burn(n):\n    return sum(i * i for i in range(n))\n\ndef spin(n):\n    return sorted(str(i) for i in range(n))\n"
TEST = "import coal\ndef test_{number}(): assert coal.{name}({size})\n"

#: What no writer of ours puts where it may stand.
VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.0, 1e308, 1e-320, -1e308, 1e300),
    *("", "x", "x" * 100_000, "\x1b[31mred\x1b[0m", "two\nlines", "\ud800", "\U0001f525" * 1000, "../../../etc/passwd"),
    *("0-999999999", "1-0", "9" * 400, "0-3 " * 5000, "=1+1", "NaN", "a::b" * 2000),
    *([], {}, [None], [[]], {"": None}, [1, "2", None, {}], {"energy": {}}, [[0, 10**12]], [1e308] * 500),
)


class Mutant(NamedTuple):
    """A file, and how it came to be."""

    data: bytes
    how: str


# Making them


def of_bytes(data: bytes, draw: random.Random) -> Mutant:
    """Bytes changed, lost, doubled, added."""
    how = draw.choice(("flip", "flip", "cut", "head", "hole", "double", "insert", "zero"))
    found = bytearray(data)
    place, length = draw.randrange(len(data) + 1), min(len(data), draw.choice((1, 4, 30, 500)))
    if how == "flip":
        for _ in range(draw.choice((1, 1, 3, 20))):
            found[draw.randrange(len(found))] ^= 1 << draw.randrange(8)
    elif how == "cut":
        del found[place:]
    elif how == "head":
        del found[:place]
    elif how == "hole":
        del found[place : place + length]
    elif how == "double":
        found[place:place] = found[place : place + length]
    elif how == "insert":
        found[place:place] = draw.randbytes(length)
    else:
        found[place : place + length] = bytes(len(found[place : place + length]))
    return Mutant(bytes(found), how)


def places(value: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401 - JSON
    """Every container with each of its keys."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else list(range(len(one))) if isinstance(one, list) else []
        found += [(one, key) for key in keys]
        waiting += [one[key] for key in keys]
    return found


def of_types(text: str, draw: random.Random) -> Mutant:
    """Values of JSON replaced, removed, exchanged, renamed, doubled."""
    data = json.loads(text)
    said = []
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        known = places(data)
        # A file of many samples has the rest as well.
        names = Counter(str(key) for _, key in known)
        holder, key = draw.choices(known, [1 / names[str(key)] for _, key in known])[0]
        how = draw.choice(("value", "value", "value", "value", "gone", "swap", "name", "list"))
        if how == "value":
            holder[key] = copy.deepcopy(draw.choice(VALUES))
        elif how == "gone":
            del holder[key]
        elif how == "swap":
            other, place = draw.choice(known)
            holder[key] = copy.deepcopy(other[place])
        elif how == "name" and isinstance(holder, dict):
            holder[draw.choice(("", "x" * 5000, "../x", "\x1b[2J", "schema", "tests"))] = holder.pop(key)
        else:
            holder[key] = [holder[key]] * draw.choice((2, 100))
        said.append(f"{how} {key!s:.20}")
    result = json.dumps(data)
    if draw.random() < 0.1:
        result = result.replace(": 0", ": NaN", 1).replace(": 1", f": {'9' * 5000}", 1)
        said.append("no number")
    return Mutant(result.encode("utf-8", "surrogatepass"), ", ".join(said))


def of_sizes(text: str, draw: random.Random) -> Mutant:
    """Little to read that comes to much, in the place of one value."""
    count = draw.choice((10_000, 1_000_000, 6_000_000))
    large = {
        "empty lists": lambda: "[" + "[]," * count + "[]]",
        "empty texts": lambda: "[" + '"",' * count + '""]',
        "numbers": lambda: "[" + "1e5," * count + "1]",
        "deep": lambda: "[" * count + "]" * count,
        "deep objects": lambda: '{"a":' * (count // 5) + "1" + "}" * (count // 5),
        "keys": lambda: "{" + ",".join(f'"{number}":0' for number in range(count // 2)) + "}",
        "wide characters": lambda: '"' + "\U0001f525" * (count * 2) + '"',
        "escapes": lambda: '"' + "\\u0000" * count + '"',
        "objects": lambda: "[" + '{"":0},' * count + "0]",
        "functions": lambda: json.dumps("0-3 " * count),
        "digits": lambda: "1" * count,
    }
    how = draw.choice(list(large))
    data = json.loads(text)
    holder, key = draw.choice(places(data))
    holder[key] = "PLACE"
    return Mutant(json.dumps(data).replace('"PLACE"', large[how](), 1).encode(), f"{count} {how} for {key!s:.20}")


def of_json(data: bytes, draw: random.Random) -> Mutant:
    """A baseline, report or bundle."""
    if draw.random() < 0.35:
        return of_bytes(data, draw)
    return draw.choices((of_types, of_sizes), (12, 1))[0](data.decode(), draw)


def of_model(data: bytes, draw: random.Random) -> Mutant:
    """A model: its archive, its manifest, its arrays."""
    if draw.random() < 0.4:
        return of_bytes(data, draw)
    archive = zipfile.ZipFile(io.BytesIO(data))
    members = {name: archive.read(name) for name in archive.namelist()}
    if draw.random() < 0.4:
        kind = draw.choices((of_types, of_sizes), (15, 1))[0]
        changed = kind(members["manifest.json"].decode(), draw)
        members["manifest.json"], how = changed.data, f"manifest: {changed.how}"
    else:
        name = draw.choice([name for name in members if name.endswith(".npy")])
        how = f"{name} {_array(members, name, draw)}"
    if draw.random() < 0.75:
        _fit(members)
        how += ", hash fits"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        for name, content in members.items():
            new.writestr(name, content)
    return Mutant(file.getvalue(), how)


def _array(members: dict[str, bytes], name: str, draw: random.Random) -> str:
    old = np.load(io.BytesIO(members[name]))
    flat = old.ravel().copy()
    how = draw.choice(("value", "value", "type", "shape", "zeros", "many", "few", "bytes", "gone", "names", "header"))
    if how == "value" and len(flat):
        with contextlib.suppress(OverflowError, ValueError), np.errstate(all="ignore"):
            flat[draw.randrange(len(flat))] = draw.choice((0, -1, 1, 1e308, -1e308, np.nan, np.inf, 1e-320, 255, 2**31 - 1))
        new = flat.reshape(old.shape)
    elif how == "type":
        with np.errstate(all="ignore"):
            new = old.astype(draw.choice(("?", "u1", "i2", "i8", "f2", "f4", "f8", "c16", "U3", "M8[s]", ">f8")))
    elif how == "shape":
        new = flat.reshape(draw.choice(((-1, 1), (1, -1), (1, 1, -1), (-1,))))
    elif how == "zeros":
        new = np.zeros_like(old)
    elif how == "many":
        new = np.zeros(draw.choice((100_000, 10_000_000, 90_000_000)), draw.choice(("u1", old.dtype.str)))
    elif how == "few":
        new = flat[: draw.randrange(len(flat) + 1)]
    elif how == "names":
        many = draw.choice((1000, 400_000, 3_000_000))
        text = draw.choice(
            (lambda: json.dumps([str(n) for n in range(many)]), lambda: "[" + "[]," * many + "0]", lambda: "[" * many)
        )()
        new = np.frombuffer(text.encode(), np.uint8)
    else:
        content = members.pop(name)
        if how == "bytes":
            members[name] = of_bytes(content, draw).data
        elif how == "header":
            other = draw.choice((b"(10**9,)", b"(999999999999,)", b"(-1,)", b"()", b"'x'", b"(1,)*9**9", b"(" * 60))
            members[name] = content[:10] + content[10:].replace(b"(" + str(len(flat)).encode() + b",)", other, 1)
        return how
    file = io.BytesIO()
    np.save(file, new, allow_pickle=False)
    members[name] = file.getvalue()
    return f"{how} {new.dtype} {new.shape}"


def _fit(members: dict[str, bytes]) -> None:
    """The hash of what is there now, as who means harm would write it."""
    with contextlib.suppress(Exception):  # some can have none
        manifest = json.loads(members["manifest.json"])
        arrays = {name[:-4]: np.load(io.BytesIO(data)) for name, data in members.items() if name.endswith(".npy")}
        manifest["hash"] = number_file.hash_of(manifest, arrays)
        members["manifest.json"] = json.dumps(manifest).encode("utf-8", "surrogatepass")


# Giving them to the product


def work() -> None:
    """A process that runs ``joules`` with what it is told, and says how it ended and what it took."""
    from pytest_joules.cli import main

    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        arguments = json.loads(line)
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code = main(arguments)
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 1
            except BaseException:
                traceback.print_exc()
                code = -1
        status = dict(entry.split(":", 1) for entry in Path("/proc/self/status").read_text().splitlines())
        peak, now = (int(status[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS"))
        answers.write(json.dumps([code, said.getvalue()[-5000:], peak, now]) + "\n")
        answers.flush()


class Warm:
    """Such a process; another one where it does not answer, or has grown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str) -> tuple[int, str, float, float]:
        """Exit status, what was said, seconds, bytes at the peak."""
        if self._process is None:
            command = [sys.executable, __file__, "--work"]
            self._process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        begun = time.monotonic()
        process.stdin.write(json.dumps(arguments).encode() + b"\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
        line = process.stdout.readline() if ready else b""
        seconds = time.monotonic() - begun
        if not line:
            self.end()
            return -9, "no answer", seconds, 0.0
        code, said, peak, now = json.loads(line)
        if now > 200e6:
            self.end()
        return code, said, seconds, peak

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def cold(folder: Path, *arguments: str) -> tuple[int, str, float, float]:
    """As :meth:`Warm.run`: a run of pytest."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", *arguments]
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
        peak = 0.0
        while process.poll() is None and time.monotonic() < begun + PATIENCE:
            # What wait4 says of the peak is this process's own, from before the other became pytest.
            with contextlib.suppress(OSError, IndexError, ValueError):
                peak = float(Path(f"/proc/{process.pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
            time.sleep(0.005)
        process.kill()
        process.wait()
        out.seek(0)
        return process.returncode, out.read().decode("utf-8", "replace"), time.monotonic() - begun, peak


def project(folder: Path) -> dict[str, bytes]:
    """A project that was measured, and what is made of it, by kind."""
    (folder / "coal.py").write_text(CODE)
    for number in range(24):
        name = ("burn", "spin")[number % 2]
        (folder / f"test_{number}.py").write_text(TEST.format(number=number, name=name, size=50 * (number + 1)))
    joules = [sys.executable, "-m", "pytest_joules.cli"]
    measure = ["-m", "pytest", "-q", "--energy-rounds=3", "--energy-save=main", "--energy-json=report.json"]
    for command in (
        [sys.executable, *measure],
        [*joules, "export", "all.json"],
        [*joules, "train", "--jobs", "1", "--out", "change.npz"],
        *(
            [*joules, "train", "--jobs", "1", "--model", kind, "--out", f"{kind}.npz"]
            for kind in ("boosted", "linear", "additive")
        ),
    ):
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: {done.stdout[-500:]}{done.stderr[-500:]}")
    (folder / "coal.py").write_text(CODE.replace("i * i", "i * i * i").replace("str(i)", "str(i + 1)"))
    (folder / "test_new.py").write_text(TEST.format(number="new", name="burn", size=70))
    (baseline,) = (folder / ".joules").glob("*/main.json")
    files = {"baseline": baseline, "report": folder / "report.json", "bundle": folder / "all.json"}
    return {kind: path.read_bytes() for kind, path in files.items()}


def given_to(kind: str, number: int, mutant: Path, warm: Warm) -> list[tuple[int, str, float, float]]:
    """A mutant in the place of what is read."""
    folder, seldom = warm.folder, number % EVERY == 0
    if kind == "model":
        found = [warm.run("predict", "--model", str(mutant)), warm.run("predict", "--model", str(mutant), "--json")]
        return found + ([cold(folder, f"--energy-predict={mutant}", "test_1.py", "test_new.py")] if seldom else [])
    if kind == "bundle":
        try:
            return [
                warm.run("import", str(mutant), "--dir", "brought"),
                warm.run("import", str(mutant), "--dir", "brought", "--force"),
            ]
        finally:
            shutil.rmtree(folder / "brought", ignore_errors=True)
    found = [warm.run("compare", "main", str(mutant)), warm.run("compare", str(mutant), "main", "--json")]
    if kind == "baseline" and seldom:
        (main,) = (folder / ".joules").glob("*/main.json")
        shutil.copy(mutant, main.with_name("damaged.json"))
        asked = ("--energy-rounds=3", "test_1.py")
        found.append(cold(folder, "--energy-compare=damaged", *asked))
        found.append(cold(folder, "--energy-save=damaged", *asked))
        for path in main.parent.glob("damaged*"):
            path.unlink()
    return found


def wrong(kind: str, result: tuple[int, str, float, float]) -> str:
    """What is not as it has to be; empty where all is."""
    code, said, seconds, peak = result
    if "Traceback (most recent call last)" in said or "INTERNALERROR" in said or code == -1:
        return f"traceback: {said.strip().splitlines()[-1][:150]}"
    if code == 3:
        return "exit status 3"
    if seconds > PATIENCE:
        return f"{seconds:.0f} s"
    if peak > MEMORY:
        return f"{peak / 1e6:.0f} MB"
    if code < 0:
        return f"ended by signal {-code}: {said[-150:]}"
    complaints = [line for line in said.splitlines() if line.startswith("joules: ")]
    if code and len(complaints) == 1 and (len(complaints[0]) > LONGEST or not complaints[0].isprintable()):
        return f"a complaint of {len(complaints[0])} characters: {complaints[0][:100]!a}"
    return ""


def fuzz(kind: str, files: Sequence[bytes], given: argparse.Namespace, warm: Warm) -> bool:
    """All mutants of one kind; whether the bars are met."""
    make: Callable[[bytes, random.Random], Mutant] = of_model if kind == "model" else of_json
    begun, tried, most, slowest = time.monotonic(), 0, 0.0, 0.0
    ends: Counter[int] = Counter()
    missed: list[str] = []
    for number in range(given.first, given.first + given.mutants):
        if time.monotonic() > begun + given.seconds:
            break
        mutant = make(files[number % len(files)], random.Random(f"{given.seed} {kind} {number}"))
        path = warm.folder / f"mutant.{'npz' if kind == 'model' else 'json'}"
        path.write_bytes(mutant.data)
        tried += 1
        for result in given_to(kind, number, path, warm):
            ends[result[0]] += 1
            most, slowest = max(most, result[3]), max(slowest, result[2])
            if what := wrong(kind, result):
                missed.append(what)
                print(f"{kind} {number} ({mutant.how}): {what}", flush=True)
                if given.keep is not None:
                    given.keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, given.keep / f"{kind}-{number}{path.suffix}")
    print(
        f"{kind}: {tried} mutants of seed {given.seed}, {time.monotonic() - begun:.0f} s; exit status "
        + ", ".join(f"{code}: {count}" for code, count in sorted(ends.items()))
        + f"; at most {most / 1e6:.0f} MB, {slowest:.1f} s; {len(missed)} missed",
        flush=True,
    )
    return not missed and tried == given.mutants


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=("model", "baseline", "report", "bundle"), metavar="KIND")
    parser.add_argument("--mutants", type=int, default=500, metavar="N", help="of each kind (default 500)")
    parser.add_argument("--seconds", type=float, default=600, help="for each kind (default 600)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first (default 0)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="for the mutants that miss a bar")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work()
        return 0
    resource.setrlimit(resource.RLIMIT_DATA, (4 * 2**30, 4 * 2**30))  # of this machine nothing is lost either
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = project(folder)
        models = [path.read_bytes() for path in sorted(folder.glob("*.npz"))]
        warm = Warm(folder)
        try:
            kinds = given.kinds or ("model", "baseline", "report", "bundle")
            met = [fuzz(kind, models if kind == "model" else [made[kind]], given, warm) for kind in kinds]
        finally:
            warm.end()
    print(f"bars: {'met' if all(met) else 'MISSED'}")
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
