"""What a run keeps as a baseline, and what comes of it in the next."""

import json

import pytest

from pytest_joules import baseline as baselines


class TestInARun:
    """As users do it: the counters are simulated, and the joules of the tests are known."""

    TESTS = "def test_a():\n    draw(2_000_000)\ndef test_b():\n    draw(3_000_000)\n"

    @pytest.fixture
    def kept(self, inner):
        """A run that was kept as ``main``; the file of it."""
        inner.file(test_t=self.TESTS)
        assert inner.run("--energy-save=main", "--energy-rounds=6").ret == 0
        (path,) = (inner.path / ".joules").glob("*/*.json")
        return path

    def test_what_a_run_keeps(self, inner, kept):
        assert (kept.parent.name, kept.name) == (inner.report()["machine"]["id"], "main.json")
        found = baselines.load(kept)
        assert {nodeid: test.energy["median"] for nodeid, test in found.tests.items()} == {
            "test_t.py::test_a": pytest.approx(2.0, rel=1e-5),
            "test_t.py::test_b": pytest.approx(3.0, rel=1e-5),
        }
        assert found.tests["test_t.py::test_a"].samples == pytest.approx([2.0] * 6, rel=1e-5)
        assert found.tests["test_t.py::test_a"].functions, "what it executes, for the blame"

    def test_the_same_again_is_ok(self, inner, kept):
        result = inner.run("--energy-compare", "--energy-rounds=6")
        assert result.ret == 0
        result.stdout.fnmatch_lines(["compared with main (*): 2 ok"])

    @pytest.mark.parametrize(
        ("fact", "says"), [("governor", "governor: performance, now powersave"), ("CPU", "CPU: performance, now powersave")]
    )
    def test_another_machine_or_governor_is_no_verdict_and_no_failure(self, inner, kept, fact, says):
        machine = "\nimport pytest_joules.machine as found\nwas = found.fingerprint\n"
        machine += f"found.fingerprint = lambda: {{**was(), 'facts': {{**was()['facts'], {fact!r}: 'powersave'}}}}\n"
        machine += "def pytest_unconfigure(config):\n    found.fingerprint = was\n"
        data = json.loads(kept.read_text("utf-8"))
        data["machine"]["facts"][fact] = "performance"
        kept.write_text(json.dumps(data), "utf-8")
        inner.conftest(machine)
        inner.file(test_t=self.TESTS.replace("2_000_000", "9_000_000"))
        result = inner.run("--energy-compare=main", "--energy-rounds=6")
        assert result.ret == 0
        assert says in " ".join(result.stdout.str().split())
        assert [test["comparison"]["verdict"] for test in inner.report()["tests"]] == ["cannot tell"] * 2

    def test_a_damaged_one_is_refused_before_anything_runs(self, inner, kept):
        kept.write_text(kept.read_text("utf-8")[:-200], "utf-8")
        (inner.path / "report.json").unlink()
        inner.refused("--energy-compare=main", says=["--energy-compare=main", "main.json", "--energy-save"])

    def test_a_missing_one_too(self, inner, kept):
        (inner.path / "report.json").unlink()
        inner.refused("--energy-compare=mian", says=["no baseline 'mian'", "main of this machine"])

    def test_the_ratchet(self, inner, kept):
        inner.file(test_t=self.TESTS.replace("2_000_000", "4_000_000"))
        result = inner.run("--energy-compare=main", "--energy-update", "--energy-rounds=6", "-k", "test_a")
        assert result.ret == 0
        result.stdout.fnmatch_lines(["loosened   test_t.py::test_a  2.00 J -> 4.00 J (2×)"])
        tests = baselines.load(kept).tests
        assert tests["test_t.py::test_a"].energy["median"] == pytest.approx(4.0, rel=1e-5)
        assert tests["test_t.py::test_b"].energy["median"] == pytest.approx(3.0, rel=1e-5)
        assert inner.run("--energy-compare=main", "--energy-rounds=6").ret == 0
