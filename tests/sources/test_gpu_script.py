"""The script that checks a GPU's joules, where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_it_runs_on_a_simulated_library():
    script = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
    command = [sys.executable, str(script), "--simulate", "--seconds=0.02"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "no board was seen: simulated"
    assert lines[-1] == "all checks passed"
    for said in (
        "J, by hand",
        "test_product[bf16]",
        "pJ an operation",
        "test_variant[fp32]",
        "bf16 costs",
        "not run: it needs torch",
    ):
        assert said in done.stdout


def test_a_check_that_fails_is_an_exit_code(tmp_path):
    script = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
    (tmp_path / "pytest_joules.py").write_text("raise ImportError('hidden by a test')")
    done = subprocess.run(
        [sys.executable, str(script), "--simulate", "--seconds=0.02", "--only", "1"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "FAILED: pytest -k test_power ended with" in done.stdout
