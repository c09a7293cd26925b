"""Outcomes under ``--energy`` are those of a plain run: nothing that a user or a tool sees of a test is different."""

from __future__ import annotations

import shutil
import subprocess
import sys

import parity
import pytest
from parity import FIVE, PLAIN, THREE, Run
from powercap import make_tree

VARIANTS = {"three": THREE, "five": FIVE}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Run]:
    """Every corpus, run plainly and measured: once for all tests of this file."""
    return {}


@pytest.fixture
def pair(request, pytester, alone, runs) -> tuple[Run, Run]:
    # test_beside_other_plugins.py has the other plugins.
    folder, variant = request.param
    for name, options in (("plain", PLAIN), (variant, VARIANTS[variant])):
        if (folder, name) not in runs:
            parity.copy_idioms(pytester, folder)
            runs[folder, name] = parity.run(pytester, "--doctest-modules", *options)
    return runs[folder, "plain"], runs[folder, variant]


def corpora(*folders):
    cases = [(folder, variant) for folder in folders for variant in VARIANTS]
    return pytest.mark.parametrize("pair", cases, indirect=True, ids="-".join)


@corpora("plain", "hooks")
def test_whole_run(pair):
    plain, measured = pair
    assert measured.exit == plain.exit == 1
    assert measured.suite == plain.suite
    assert measured.summary == plain.summary
    assert "INTERNALERROR" not in measured.output


@pytest.mark.parametrize(
    ("pair", "file"),
    [((folder, variant), file) for folder in ("plain", "hooks") for variant in VARIANTS for file in parity.files(folder)],
    indirect=["pair"],
)
def test_file(pair, file):
    plain, measured = pair
    # pytest 8.4 has no subtests: there the file is skipped.
    assert plain.seen.get(file) or file == "test_subtests.py"
    assert measured.seen.get(file) == plain.seen.get(file)
    assert measured.warned.get(file) == plain.warned.get(file)
    name = file.partition(".")[0]
    assert measured.junit.get(name) == plain.junit.get(name)


def test_world_with_counters(pytester, alone, tmp_path):
    """What tests patch of ``os``, ``time`` and the imports does not reach what watches the machine beside its counters."""
    shutil.copy(parity.IDIOMS / "plain" / "idiom_world.py", pytester.path / "test_world.py")
    tree = make_tree(tmp_path / "powercap", {"package-0": ["core", "dram"]})
    plain = parity.run(pytester)
    with tree.running({"package-0": 20.0, "core": 10.0, "dram": 3.0}):
        measured = parity.run(pytester, *THREE, f"--energy-powercap={tree.root}", "--energy-source=rapl")
    assert measured.seen == plain.seen
    assert measured.exit == plain.exit == 0


def test_objects_loaded_before_the_tests_stay_visible_to_the_collector(pytester):
    """``gc.get_referrers`` is what Hypothesis (and leak tests) ask: nothing may be frozen."""
    # Python 3.12 has some frozen when it starts.
    asked = subprocess.run([sys.executable, "-c", "import gc; print(gc.get_freeze_count())"], capture_output=True, check=True)
    pytester.makepyfile(f"import gc\ndef test_a():\n    assert gc.get_freeze_count() == {int(asked.stdout)}\n")
    pytester.runpytest_subprocess("--energy", "--energy-rounds=2", "-p", "no:cacheprovider").assert_outcomes(passed=1)
