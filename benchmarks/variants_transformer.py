"""Six variants of a small transformer on simulated counters: are their ratios those of their work?

    PYTHONPATH=. /path/to/python-with-torch benchmarks/variants_transformer.py --rig /path/to/with-rapl

The rig (outside of this project) shows a powercap tree that is charged with the CPU time of what it runs: no watts when idle,
20 W a busy CPU. Layers of the model of ``examples/variants`` are pruned, none to five of six. First each variant's forward pass
is measured alone, in CPU seconds (the least of 24, each by itself): the share of work. Then a pytest run measures them in turn,
and after a while a neighbour, a busy process that the rig charges too, comes and stays. Bar: each ratio within 3 % of the
share of work. Exit status 1 where it is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
NAMES = ["fp32", "pruned-1", "pruned-2", "pruned-3", "pruned-4", "pruned-5"]

TEST = """
import pytest
import torch
from transformer import ITEMS, sequences, variant

@pytest.fixture(scope="module")
def model(request):
    return variant(request.param)

@pytest.fixture(scope="module")
def data():
    return sequences(ITEMS, seed=7)

@pytest.mark.energy_variants("model", reference="fp32")
@pytest.mark.parametrize("model", {names}, indirect=True)
def test_it(model, data, energy):
    words, more = data
    with torch.inference_mode():
        for _ in range(3):
            right = model(words) == more
    energy.work(sequences=ITEMS)
    energy.score(accuracy=right.int().tolist(), higher_is_better=True)
"""

ALONE = """
import json, sys, time
import torch
from transformer import ITEMS, sequences, variant
models = {name: variant(name) for name in json.loads(sys.argv[1])}
words, _ = sequences(ITEMS, seed=7)
found = {name: [] for name in models}
with torch.inference_mode():
    for _ in range(3):
        for name, model in models.items():
            # Each by itself, its weights in the caches as in a block of rounds.
            for _ in range(8):
                begun = time.process_time()
                for _ in range(3):
                    model(words)
                found[name].append(time.process_time() - begun)
print(json.dumps({name: min(values) for name, values in found.items()}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rig", required=True, help="the program with-rapl")
    parser.add_argument("--after", type=float, default=25.0, help="seconds until the neighbour comes (default 25)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "transformer.py").write_text((HERE / "examples/variants/transformer.py").read_text("utf-8"), "utf-8")
        (folder / "test_it.py").write_text(TEST.format(names=NAMES), "utf-8")
        (folder / "pytest.ini").write_text("[pytest]\n", "utf-8")
        alone = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", ALONE, json.dumps(NAMES)],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
        work = json.loads(alone.stdout)
        measured, neighbour = _measured(given.rig, folder, given.after)
    worst = 0.0
    print(f"{'variant':10} {'share of work':>13} {'ratio in turn':>13}   error   verdict")
    for test in measured["tests"]:
        found = test["variants"]
        share = work[found["variant"]] / work[NAMES[0]]
        if found["ratio"] is None:
            print(f"{found['variant']:10} {share:13.3f}   {found['verdict']}: {found['why']}")
            continue
        error = found["ratio"] / share - 1
        worst = max(worst, abs(error))
        bounds = " to ".join(f"{end:.3f}" for end in found["ci95"])
        print(f"{found['variant']:10} {share:13.3f} {found['ratio']:13.3f} {100 * error:+6.1f} %  {found['verdict']} ({bounds})")
    print(f"worst {100 * worst:.1f} % (bar 3 %); the neighbour came {neighbour}; {'; '.join(found['remarks'])}")
    return int(worst > 0.03)


def _measured(rig: str, folder: Path, after: float) -> tuple[dict[str, Any], str]:
    """The report of a run beside a neighbour that comes later, both in the rig."""
    script = (
        f"(sleep {after}; exec {sys.executable} -c 'while True: pass') & other=$!; "
        f"{sys.executable} -m pytest -q --energy --energy-source=rapl --energy-max-time=30 --energy-json=r.json; kill $other"
    )
    begun = time.monotonic()
    subprocess.run([rig, "idle_w=0", "cpu_w=20", "--", "bash", "-c", script], cwd=folder, check=False)
    took = time.monotonic() - begun
    return json.loads((folder / "r.json").read_text("utf-8")), f"after {after:g} of {took:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
