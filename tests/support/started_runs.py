"""Runs in processes of their own, to be stopped while they measure."""

from processes import wait_until

THREE = """
rounds = []
def test_first(): draw(1_000)
def test_second():
    rounds.append(1)
    draw(2_000)
    if len(rounds) == 4:  # one to warm up, then the third
        draw(7)
        {how}
def test_third(): draw(3_000)
"""


def started(start, inner, *args, marks):
    """An inner run at the point where a test made the file ``marks``."""
    command = ["-m", "pytest", "--energy", f"--energy-powercap={inner.powercap}", "--energy-json=report.json", *args]
    process = start(*command, cwd=inner.path)
    wait_until((inner.path / marks).exists, f"making {marks}", process)
    return process


def waiting(inner):
    """Tests of which the second one waits in its third round until somebody ends the run."""
    inner.file(test_a="import time\n" + THREE.format(how="open('here', 'w').close(); time.sleep(60)"))
