"""A companion runs a test when told, as a run would, and disturbs nothing; whatever happens to it costs that test only."""

import os
import signal
import subprocess
import sys

import pytest
from processes import PATIENCE, ended, wait_for, wait_until

#: Runs with a companion of their own at the end: ``script(companion, config)`` is the test's own, its findings go to a file.
DRIVER = """
import json
import pytest
from pytest_joules.companion.parent import Companion
from pytest_joules.companion.process import CompanionError

@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    config = session.config
    if config.pluginmanager.get_plugin("joules-stepping") or config.option.collectonly or hasattr(config, "workerinput"):
        return
    found = {{}}
    def note(**facts): found.update(facts)
    try:
        with Companion(config, label="again", **{options}) as companion:
            note(pid=companion._process.pid)
            script(companion, note, config)
    except CompanionError as error:
        note(error=str(error))
    finally:
        with open("found.json", "w") as file:
            json.dump(found, file)

def script(companion, note, config):
{script}
"""


def driven(inner, script, *args, options="{}", more="", **kwargs):
    """Run with a companion at the end that does what ``script`` says; what it noted."""
    import json
    import textwrap

    body = textwrap.indent(textwrap.dedent(script).strip(), "    ")
    inner.conftest(more + DRIVER.format(script=body, options=options))
    result = inner.run(*args, **kwargs)
    path = inner.path / "found.json"
    return result, json.loads(path.read_text()) if path.exists() else None


MEASURE = """
answer = companion.measure("test_a.py::test_it")
note(record=answer.record, outcome=answer.outcome, reports=answer.reports)
"""


def test_measures_what_the_body_draws(inner):
    inner.file(test_a="def test_it():\n    draw(3000)\n    print('heard', os.getpid())\n")
    result, found = driven(inner, MEASURE, "--energy-rounds=6")
    result.assert_outcomes(passed=1)
    assert [sample["energy"] for sample in found["record"]["samples"]] == [pytest.approx(3e-3)] * 6
    assert found["record"]["provenance"] == "measured"
    assert found["outcome"] == "passed"
    assert [report["when"] for report in found["reports"]] == ["setup", "call", "teardown"]
    assert f"heard {found['pid']}" in str(found["reports"][1]["sections"])
    assert ended(found["pid"])


def test_keeps_wider_fixtures_between_blocks(inner):
    inner.file(
        test_a="""
def log(text):
    with open("log.txt", "a") as file:
        print(text, file=file)

@pytest.fixture(scope="module")
def wide():
    log("up")
    yield
    log("down")

@pytest.fixture
def narrow():
    log("narrow")

def test_it(wide, narrow):
    log("body")
    draw(3000)

def test_next(wide):
    log("next")
    draw(5000)
"""
    )
    _, found = driven(
        inner,
        """
        open("log.txt", "w").close()
        name = "test_a.py::test_it"
        one = companion.measure(name, last=False, rounds=2)
        two = companion.measure(name, last=True, rounds=3, following="test_a.py::test_next")
        three = companion.measure("test_a.py::test_next", rounds=1)
        note(rounds=[answer.record["rounds"] for answer in (one, two, three)], log=open("log.txt").read().split())
        """,
        "--energy-rounds=4",
    )
    assert found["rounds"] == [2, 3, 1]
    # With one round to warm up in each block.
    assert found["log"] == ["up", *["narrow", "body"] * (3 + 4), "next", "next", "down"]


def test_long_rounds_warm_up_once(inner):
    inner.file(test_a="import time\ndef test_it():\n    draw(1000)\n    time.sleep(0.3)\n    open('log', 'a').write('x')\n")
    script = """
    open("log", "w").close()
    for _ in range(2):
        companion.measure("test_a.py::test_it", rounds=2)
    note(rounds=len(open("log").read()))
    """
    _, found = driven(inner, script, "--energy-rounds=1", "--energy-warmup=1")
    assert found["rounds"] == 1 + 2 + 2


def test_disturbs_nothing(inner):
    inner.file(test_a="@pytest.mark.energy_budget(joules='1 mJ')\ndef test_it(): draw(3000)\ndef test_other(): draw(1)\n")
    result, found = driven(
        inner,
        """
        import pathlib
        before = {str(path): path.stat().st_mtime_ns for path in pathlib.Path().rglob("*") if path.is_file()}
        companion.measure("test_a.py::test_other")
        answer = companion.measure("test_a.py::test_it")
        companion.close()
        after = {str(path): path.stat().st_mtime_ns for path in pathlib.Path().rglob("*") if path.is_file()}
        changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
        note(outcome=answer.outcome, budget=answer.record["budget"], changed=sorted(changed))
        """,
        "--energy-rounds=6",
        "-x",
        "--junitxml=junit.xml",
        "--energy-csv=samples.csv",
        "--lf",
    )
    result.assert_outcomes(failed=1)
    # The budget is judged by whoever asked; the companion is stopped by nothing and writes nothing.
    assert found["outcome"] == "passed"
    assert found["budget"] is None
    assert [path for path in found["changed"] if "energy_uj" not in path] == []


def test_outcomes_travel(inner):
    inner.file(
        test_a="""
def test_it(): draw(1000)
def test_fails():
    print("before it fell")
    assert 1 == 2
@pytest.mark.skip(reason="not today")
def test_skipped(): pass
@pytest.mark.xfail(reason="known")
def test_xfail(): assert 0
@pytest.fixture
def broken():
    yield
    raise ValueError("torn")
def test_teardown(broken): draw(5)
"""
    )
    _, found = driven(
        inner,
        """
        outcomes = {}
        for nodeid in companion.nodeids:
            answer = companion.measure(nodeid)
            outcomes[nodeid.partition("::")[2]] = answer.outcome
            for data in answer.reports:
                report = config.hook.pytest_report_from_serializable(config=config, data=data)
                if report.failed and report.when == "call":
                    note(text=report.longreprtext, said=report.capstdout)
        note(outcomes=outcomes)
        """,
    )
    assert found["outcomes"] == {
        "test_it": "passed",
        "test_fails": "failed",
        "test_skipped": "skipped",
        "test_xfail": "xfailed",
        "test_teardown": "failed",
    }
    assert "assert 1 == 2" in found["text"]
    assert found["said"] == "before it fell\n"


CRASHES = """
def test_fine(): draw(1000)
def test_exits(request):
    if request.config.pluginmanager.hasplugin("joules-stepping"):
        os._exit(3)
def test_killed(request):
    if request.config.pluginmanager.hasplugin("joules-stepping"):
        os.abort()
"""


def test_a_crash_costs_that_test_only(inner):
    inner.file(test_a=CRASHES)
    result, found = driven(
        inner,
        """
        errors = []
        for name in ("test_exits", "test_killed"):
            try:
                companion.measure(f"test_a.py::{name}")
            except CompanionError as error:
                errors.append(str(error))
                companion.start()
        note(errors=errors, record=companion.measure("test_a.py::test_fine").record)
        """,
        "--energy-rounds=3",
    )
    result.assert_outcomes(passed=3)
    exited, killed = found["errors"]
    assert "again: ended with exit status 3 while it ran test_a.py::test_exits" in exited
    assert "again: was killed by signal SIGABRT while it ran test_a.py::test_killed; it said last:" in killed
    assert "Fatal Python error: Aborted" in killed
    assert found["record"]["energy"]["median"] == pytest.approx(1e-3)


def test_no_answer_in_time(inner):
    inner.file(
        test_a="import time\ndef test_it(request):\n"
        "    if request.config.pluginmanager.hasplugin('joules-stepping'): time.sleep(60)\n"
    )
    _, found = driven(inner, 'companion.measure("test_a.py::test_it", timeout=1)')
    assert found["error"].startswith("again: did not answer within 1 s while it ran test_a.py::test_it")
    assert ended(found["pid"])


def test_a_test_that_is_not_there(inner):
    inner.file(test_a="def test_it(): draw(1)\n")
    inner.file(test_broken="import os\nif os.environ.get('HERE') == 'no': import nothing_such\ndef test_there(): draw(1)\n")
    _, found = driven(
        inner,
        """
        note(nodeids=companion.nodeids, record=companion.measure("test_a.py::test_it").record)
        companion.measure("test_broken.py::test_there")
        """,
        options="dict(env={'HERE': 'no'})",
    )
    # What could be collected can be measured.
    assert found["nodeids"] == ["test_a.py::test_it"]
    assert found["record"]["energy"]["median"] == pytest.approx(1e-6)
    assert "again: test_broken.py::test_there is not there: test_broken.py could not be collected" in found["error"]
    assert "nothing_such" in found["error"]


def test_cannot_start(inner):
    inner.file(test_a="def test_it(): draw(1)\n")
    more = "import os\nif os.environ.get('HERE') == 'no': raise ValueError('conftest fell')\n"
    _, found = driven(inner, "pass", options="dict(env={'HERE': 'no'})", more=more)
    assert "again: ended with exit status 4 while it collected the tests" in found["error"]
    assert "conftest fell" in found["error"]


def test_a_plugin_object_cannot_be_repeated(inner):
    inner.file(test_a="def test_it(): draw(1)\n")
    (inner.path / "main.py").write_text(
        "import pytest, sys\nclass Mine: pass\nsys.exit(pytest.main(sys.argv[1:], plugins=[Mine()]))\n"
    )
    inner.conftest(DRIVER.format(script="    pass", options="{}"))
    result = inner.pytester.run(sys.executable, "main.py", "--energy", f"--energy-powercap={inner.powercap}")
    assert result.ret == 0
    assert "plugin object (Mine)" in (inner.path / "found.json").read_text()


def test_as_this_run_was_started(inner):
    (inner.path / "tests").mkdir()
    (inner.path / "tests" / "test_a.py").write_text(
        "import sys, os\ndef test_it(record_property):\n"
        "    record_property('seen', [os.getcwd() in sys.path, sys.flags.optimize, sys.argv[1:3], os.environ.get('ADDED')])\n"
    )
    inner.ini("pythonpath = .")
    script = """
    answer = companion.measure("tests/test_a.py::test_it", rounds=1)
    note(seen=dict(answer.reports[1]["user_properties"])["seen"], args=companion._how.args[:2])
    """
    _, found = driven(inner, script, "tests", options="dict(env={'ADDED': 'so'})")
    assert found["seen"] == [True, 0, found["args"], "so"]


@pytest.mark.parametrize("module", [True, False])
def test_the_path_and_the_interpreter_as_they_were(inner, module):
    """``python -m pytest`` puts the working directory on the path, ``pytest`` does not; options of the interpreter count."""
    (inner.path / "tests").mkdir()
    (inner.path / "tests" / "test_a.py").write_text(
        "import os, sys\ndef test_it():\n    if os.getcwd() in sys.path: import counter\n"
        "    print(os.getcwd() in sys.path, '' in sys.path, sys.flags.optimize, sys.flags.dev_mode)\n"
    )
    script = 'note(sections=companion.measure("tests/test_a.py::test_it", rounds=1).reports[1]["sections"])'
    (inner.path / "conftest.py").write_text(DRIVER.format(script=f"    {script}", options="{}"))
    start = ["-m", "pytest"] if module else ["-c", "import sys; del sys.path[0]; import pytest; pytest.main()"]
    arguments = ["--energy", f"--energy-powercap={inner.powercap}", "--energy-rounds=1", "--import-mode=importlib"]
    subprocess.run([sys.executable, "-O", "-X", "dev", *start, *arguments], cwd=inner.path, check=True, stdout=subprocess.PIPE)
    assert f"{module} False 1 True" in (inner.path / "found.json").read_text()


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
def test_ends_with_its_parent(inner, start, how):
    """And what its tests have started with it."""
    inner.file(
        test_a="""
import subprocess, time
def test_it(request):
    if request.config.pluginmanager.hasplugin('joules-stepping'):
        open('child', 'w').write(str(subprocess.Popen(['sleep', '600']).pid))
        open('running', 'w').write(str(os.getpid()))
        time.sleep(120)
"""
    )
    inner.conftest(DRIVER.format(script='    companion.measure("test_a.py::test_it")', options="{}"))
    parent = start("-m", "pytest", "--energy", f"--energy-powercap={inner.powercap}", cwd=inner.path)
    pid = wait_for(inner.path / "running", parent)
    child = wait_for(inner.path / "child")
    parent.send_signal(getattr(signal, how))
    parent.wait()
    assert parent.returncode == (-signal.SIGKILL if how == "SIGKILL" else 128 + signal.SIGTERM)
    wait_until(lambda: ended(pid) and ended(child))


@pytest.mark.parametrize("whom", ["parent", "group"])
def test_interrupted(inner, start, whom):
    inner.file(
        test_a="""
import time
@pytest.fixture(scope="session")
def wide():
    yield
    open("torn down", "w").close()

def test_it(request, wide):
    if request.config.pluginmanager.hasplugin('joules-stepping'):
        open('running', 'w').write(str(os.getpid()))
        time.sleep(120)
"""
    )
    inner.conftest(DRIVER.format(script='    os.remove("torn down")\n    companion.measure("test_a.py::test_it")', options="{}"))
    (inner.path / "conftest.py").write_text("import os\n" + (inner.path / "conftest.py").read_text())
    temp = inner.path / "temp"
    temp.mkdir()
    command = ["-m", "pytest", "--energy", f"--energy-powercap={inner.powercap}"]
    parent = start(*command, cwd=inner.path, env={**os.environ, "TMPDIR": str(temp)})
    pid = wait_for(inner.path / "running", parent)
    if whom == "parent":
        parent.send_signal(signal.SIGINT)
    else:
        os.killpg(parent.pid, signal.SIGINT)
    said, _ = parent.communicate(timeout=PATIENCE)
    assert "KeyboardInterrupt" in said
    assert ended(pid)
    assert (inner.path / "torn down").exists()
    assert [path.name for path in temp.iterdir() if path.name.startswith("pytest-joules-")] == []


@pytest.mark.inner_plugins("xdist")
def test_in_a_worker(inner):
    """A worker of pytest-xdist does not know the command line: the controller tells it."""
    pytest.importorskip("xdist")
    inner.file(test_a="def test_it(request): draw(1000)\n", test_b="def test_other(): draw(1)\n")
    more = """
import json, pytest
from pytest_joules.companion.invocation import Passing
from pytest_joules.companion.parent import Companion

def pytest_configure(config):
    if not hasattr(config, "workerinput") and not config.pluginmanager.hasplugin("joules-stepping"):
        config.pluginmanager.register(Passing(), "joules-passing")

def pytest_sessionfinish(session):
    if getattr(session.config, "workerinput", {}).get("workerid") == "gw0":
        with Companion(session.config, label="again") as companion:
            with open("found.json", "w") as file:
                json.dump([companion.nodeids, companion.measure("test_a.py::test_it").record], file)
"""
    import json

    inner.conftest(more)
    result = inner.run("-n2", "test_a.py", "--energy-rounds=3", subprocess=True)
    result.assert_outcomes(passed=1)
    nodeids, record = json.loads((inner.path / "found.json").read_text())
    assert nodeids == ["test_a.py::test_it"]
    assert [sample["energy"] for sample in record["samples"]] == [pytest.approx(1e-3)] * 3
