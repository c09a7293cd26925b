"""Whether a GPU's joules are right, from the counter to the modules of a model; 1 to 3 minutes on a board.

    python benchmarks/gpu.py [--seconds S] [--simulate] [--only N ...]

Four checks, each a run of pytest on a test file written for it, with this project's public options only:

1. the nvml source against the board's power, read every 20 ms and integrated by hand: within 5 %;
2. a matrix product of random data: joules for each floating-point operation, in 32 and 16 bits; between 0.05 and 500 pJ;
3. variants of a small model, fp32 and bf16, measured in turn: joules of each and their ratio, with intervals;
4. the same model's joules by module (``energy.trace(model)``, ``--energy-trace=modules``): the parts and what is unattributed
   add up to the test's joules within 1e-6.

On a board they need torch. Where no board is seen they run on a simulated library whose board draws 60 W, and 100 W more for each
second of CPU time in a second, with numpy in the place of torch (so without 4): that shows that the script works, and nothing
of any GPU. ``--simulate`` does that in any case. Exit code 1 where a check fails; simulated, only what does not run
fails, and no figure.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Stands in for the library: counter and power of one board, new every 20 ms.
LIBRARY = """
import time

now, cpu = time.monotonic, time.process_time
began = seen = now(), cpu()
joules, watts = 0.0, 60.0

class NVMLError(Exception):
    pass

def step():
    global seen, joules, watts
    t, c = now(), cpu()
    if t - seen[0] >= 0.02:
        watts = 60 + 100 * (c - seen[1]) / (t - seen[0])
        joules += watts * (t - seen[0])
        seen = t, c

def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetIndex(handle): return handle
def nvmlDeviceGetName(handle): return "simulated"
def nvmlDeviceGetUUID(handle): return "GPU-00000000"
def nvmlSystemGetDriverVersion(): return "simulated"

def nvmlDeviceGetTotalEnergyConsumption(handle):
    step()
    return int(joules * 1000)

def nvmlDeviceGetPowerUsage(handle):
    step()
    return int(watts * 1000)
"""

#: What computes: ``multiply(kind)`` gives a function that multiplies random matrices once, and its operations; ``model(kind)``
#: one that runs a small model once, and the model.
TORCH = """
import torch

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
board = torch.device("cuda")

def multiply(kind, n=8192):
    a, b = (torch.randn(n, n, device=board, dtype=TYPES[kind]) for _ in range(2))
    return (lambda: torch.matmul(a, b)), 2 * n**3

def model(kind):
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(1024, 16, 4096, batch_first=True)
    found = torch.nn.TransformerEncoder(layer, 6, enable_nested_tensor=False).to(board, TYPES[kind]).eval()
    data = torch.randn(32, 256, 1024, device=board, dtype=TYPES[kind])
    def run():
        with torch.no_grad():
            found(data)
    return run, found

def wait():
    torch.cuda.synchronize()
"""
NUMPY = """
import numpy

TYPES = {"fp32": numpy.float64, "bf16": numpy.float32}

def multiply(kind, n=256):
    a, b = (numpy.random.default_rng(seed).standard_normal((n, n)).astype(TYPES[kind]) for seed in range(2))
    return (lambda: a @ b), 2 * n**3

def model(kind):
    run, _ = multiply(kind)
    return run, None

def wait():
    pass
"""
TESTS = """
import os, threading, time
import pytest
import pynvml
from work import model, multiply, wait

SECONDS = float(os.environ["GPU_SECONDS"])

def repeat(run, times=None):
    "So often, or for SECONDS; how often."
    began = time.perf_counter()
    done = 0
    while done < times if times else time.perf_counter() - began < SECONDS:
        run()
        done += 1
        if not times:
            wait()
    wait()
    return done

@pytest.fixture(scope="module")
def product():
    return multiply("fp32")[0]

class ByHand(threading.Thread):
    "Integrates the board's power."
    def __init__(self):
        super().__init__(daemon=True)
        self.joules, self.ended = 0.0, threading.Event()
    def run(self):
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        last, watts = time.perf_counter(), pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
        while not self.ended.wait(0.02):
            now, after = time.perf_counter(), pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
            self.joules += (watts + after) / 2 * (now - last)
            last, watts = now, after
        self.joules += watts * (time.perf_counter() - last)

def test_power(product, energy):
    by_hand = ByHand()
    by_hand.start()
    repeat(product)
    by_hand.ended.set()
    by_hand.join()
    energy.score(by_hand=by_hand.joules)
    with open("by_hand.txt", "a") as file:
        print(by_hand.joules, file=file)

@pytest.fixture(params=["fp32", "bf16"])
def kind(request):
    return request.param

@pytest.fixture(scope="module")
def made():
    return {}

def test_product(kind, made, energy):
    if kind not in made:
        run, operations = multiply(kind)
        repeat(run, 3)
        began = time.perf_counter()
        repeat(run, 10)
        made[kind] = run, operations, max(1, int(10 * SECONDS / (time.perf_counter() - began)))
    run, operations, times = made[kind]
    energy.work(operations=operations * repeat(run, times))

@pytest.mark.energy_variants("kind", reference="fp32")
@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_variant(kind, made):
    if ("model", kind) not in made:
        made["model", kind] = model(kind)[0]
    repeat(made["model", kind], int(os.environ["GPU_TIMES"]))

def test_modules(energy):
    run, found = model("fp32")
    energy.trace(found)
    repeat(run, int(os.environ["GPU_TIMES"]))
"""


class Checks:
    """Runs the tests and says what came of them."""

    def __init__(self, folder: Path, seconds: float, *, board: bool) -> None:
        self.folder, self.board = folder, board
        self.failed: list[str] = []
        times = str(20 if board else max(1, int(seconds * 200)))
        self._environment = {**os.environ, "GPU_SECONDS": str(seconds), "GPU_TIMES": times}
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "work.py").write_text(TORCH if board else NUMPY)
        (folder / "test_gpu.py").write_text(TESTS)
        if not board:
            self._environment["OPENBLAS_NUM_THREADS"] = "1"
            (folder / "pynvml.py").write_text(LIBRARY)
            (folder / "conftest.py").write_text("import pynvml  # the one beside this file\n")

    def run(self, select: str, *options: str) -> dict[str, dict[str, Any]]:
        """The records of the tests, by what is behind ``::``."""
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            select,
            "--energy",
            "--energy-source=nvml",
        ]
        command += ["--energy-rounds=5", "--energy-max-time=60", "--energy-json=report.json", *options]
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        done = subprocess.run(command, cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode or not report.exists():
            self._fail(f"pytest -k {select} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-1000:]}")
            return {}
        return {test["nodeid"].partition("::")[2]: test for test in json.loads(report.read_text())["tests"]}

    def _fail(self, why: str) -> None:
        self.failed.append(why)
        print(f"   FAILED: {why}")

    def power(self) -> None:
        """The counter against power by hand."""
        for test in self.run("test_power").values():
            by_hand = sorted(map(float, (self.folder / "by_hand.txt").read_text().split()[-test["rounds"] :]))
            if (summary := self._summary(test)) is None:
                continue
            error = summary["median"] / by_hand[len(by_hand) // 2] - 1
            print(f"   counter {summary['median']:.3f} J, by hand {by_hand[len(by_hand) // 2]:.3f} J: {error:+.1%}")
            if self.board and abs(error) > 0.05:
                self._fail(f"the counter is {error:+.1%} off the integrated power (bar: 5 %)")

    def product(self) -> None:
        """Joules for each operation."""
        for name, test in self.run("test_product").items():
            if (summary := self._summary(test)) is None:
                continue
            each = test["work"]["operations"]["joules_per_unit"]
            print(f"   {name}: {summary['median']:.3f} J, {each * 1e12:.3g} pJ an operation")
            if self.board and not 0.05e-12 < each < 500e-12:
                self._fail(f"{name}: {each:.3g} J an operation is not believable")

    def variants(self) -> None:
        """Both variants, and their ratio."""
        found = {name: self._summary(test) for name, test in self.run("test_variant").items()}
        for name, summary in found.items():
            if summary is not None:
                print(f"   {name}: {summary['median']:.3f} J {_ends(summary)}")
        reference, other = found.get("test_variant[fp32]"), found.get("test_variant[bf16]")
        if reference is not None and other is not None:
            print(f"   bf16 costs {other['median'] / reference['median']:.3f} of fp32")

    def modules(self) -> None:
        """The account by module."""
        if not self.board:
            print("   not run: it needs torch and a board")
            return
        for test in self.run("test_modules", "--energy-trace=modules").values():
            account = test["account"]
            if account is None:
                self._fail(f"there is no account: {'; '.join(test['notes'])}")
                continue
            parts = account["flat"]
            for part in parts[:10]:
                print(f"   {part['name']}: {part['joules']} J")
            whole = math.fsum(part["joules"] or 0.0 for part in [*parts, account["unattributed"]])
            if abs(whole / account["joules"] - 1) > 1e-6:
                self._fail(f"parts and unattributed are {whole} J, the test {account['joules']} J")

    def _summary(self, test: dict[str, Any]) -> dict[str, Any] | None:
        if test["energy"] is None:
            self._fail(f"{test['nodeid']}: no joules: {'; '.join(test['notes'])}")
        summary: dict[str, Any] | None = test["energy"]
        return summary


def _ends(summary: dict[str, Any]) -> str:
    return "" if summary["ci95"] is None else f"[{summary['ci95'][0]:.3f} to {summary['ci95'][1]:.3f}]"


def seen() -> bool:
    """Whether there is a board that NVML and torch can use."""
    try:
        import pynvml
        import torch

        pynvml.nvmlInit()
        return bool(pynvml.nvmlDeviceGetCount() and torch.cuda.is_available())
    except Exception:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="that a test body works (2)")
    parser.add_argument("--simulate", action="store_true", help="take the simulated library, whatever is there")
    parser.add_argument(
        "--only", type=int, nargs="+", choices=(1, 2, 3, 4), default=(1, 2, 3, 4), metavar="N", help="these checks"
    )
    given = parser.parse_args()
    if not (math.isfinite(given.seconds) and given.seconds > 0):
        parser.error(f"--seconds={given.seconds}: give a number above 0")
    board = not given.simulate and seen()
    print("a board was seen: its joules" if board else "no board was seen: simulated")
    with tempfile.TemporaryDirectory() as folder:
        checks = Checks(Path(folder), given.seconds, board=board)
        steps: list[tuple[str, Callable[[], None]]] = [
            ("the counter against power by hand", checks.power),
            ("a matrix product", checks.product),
            ("variants of a small model", checks.variants),
            ("the model's joules by module", checks.modules),
        ]
        for number, (what, check) in enumerate(steps, 1):
            if number in given.only:
                print(f"{number}. {what}", flush=True)
                check()
    print(f"{len(checks.failed)} checks failed" if checks.failed else "all checks passed")
    return bool(checks.failed)


if __name__ == "__main__":
    sys.exit(main())
