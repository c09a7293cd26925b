"""The workflows of the documentation, and the action: of the form that the sites publish, and run as far as a shell can."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"(?ms)^```yaml\n(.*?)^```$")
BLOCKS = [yaml.safe_load(text) for text in _BLOCK.findall((ROOT / "docs" / "ci.md").read_text("utf-8"))]
WORKFLOWS = [block for block in BLOCKS if "jobs" in block]
GITLAB = [block for block in BLOCKS if "jobs" not in block]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))


def fits(schema, *paths):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_that_the_page_promises_are_there():
    assert [block["name"] for block in WORKFLOWS] == ["energy", "instructions", "energy trend", "energy comment", "energy"]
    assert len(GITLAB) == 2


def test_they_are_of_the_published_form(tmp_path):
    def written(blocks, name):
        for number, block in enumerate(blocks):
            path = tmp_path / f"{name}-{number}.yml"
            # YAML 1.1 takes the key "on" for a truth.
            path.write_text(yaml.safe_dump({"on" if key is True else key: value for key, value in block.items()}))
            yield path

    fits("vendor.github-workflows", *written(WORKFLOWS, "github"))
    fits("vendor.gitlab-ci", *written(GITLAB, "gitlab"))
    fits("vendor.github-actions", ROOT / "action.yml")


def test_none_may_more_than_it_needs():
    for block in WORKFLOWS:
        assert block.get("permissions", {"contents": "read"}) in (
            {"contents": "read"},
            {"contents": "write"},
            {"actions": "read", "pull-requests": "write"},
        )
        # What somebody else chose (a branch's name, a title) is never a part of a script.
        for job in block["jobs"].values():
            for step in job["steps"]:
                assert not re.search(r"\$\{\{\s*github\.(event|head_ref)", step.get("run", ""))


# Run, with the programs of others (pip, apt-get, gh) replaced


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A repository with a branch that makes a test dearer, on a machine where nothing is installed from outside."""
    programs = tmp_path / "programs"
    programs.mkdir()

    def program(name, script):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)

    for name in ("pip", "sudo", "apt-get"):
        program(name, "exit 0")
    answers = f'case "$*" in *--jq*) echo 7;; *--paginate*) cat {tmp_path}/comments.json;; esac'
    program("gh", f'echo "$@" >> {tmp_path}/gh.txt\n{answers}')
    program("python", f'[ "$2" = pip ] || exec {sys.executable} "$@"')
    repository = tmp_path / "repository"
    repository.mkdir()
    for name in list(os.environ):
        if name.startswith(("GITHUB", "GITLAB", "CI_", "PYTEST")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", os.pathsep.join((str(programs), str(Path(sys.executable).parent), os.environ["PATH"])))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.chdir(repository)
    (repository / "shop.py").write_text("def total(n):\n    return sum(i * i for i in range(n))\n")
    tests = "from shop import total\ndef test_total(): total(20_000)\ndef test_same(): sum(range(9_000))\n"
    (repository / "test_shop.py").write_text(tests)
    (repository / ".gitignore").write_text("__pycache__\n.pytest_cache\n")
    git("init -q -b main")
    git("add .")
    git("-c user.name=a -c user.email=a@b commit -q -m 1")
    git("update-ref refs/remotes/origin/main HEAD")
    return tmp_path


def git(command):
    subprocess.run(["git", *command.split()], check=True, capture_output=True)


def change():
    Path("shop.py").write_text("def total(n):\n    return sum(i * i for i in range(3 * n))\n")
    git("-c user.name=a -c user.email=a@b commit -q -a -m 2")


def steps(block, **given):
    """Runs the steps of a workflow's one job as GitHub does: the first failure leaves only those with ``always()``.

    ``given``: what expressions come to. Returns the standard output of all, and the exit status.
    """
    (job,) = block["jobs"].values()
    said, status = "", 0
    for step in job["steps"]:
        condition = step.get("if", "success()")
        if "event_name" in condition and f"'{given['event_name']}'" not in condition:
            continue
        if "run" not in step or (status and "always()" not in condition):
            continue
        script = re.sub(r"\$\{\{\s*([\w.]+)\s*\}\}", lambda found: given[found[1]], step["run"])
        done = shell(script, **given)
        said += done.stdout
        status = status or done.returncode
    return said, status


def shell(script, **variables):
    environment = {**os.environ, **{name: value for name, value in variables.items() if name.isupper()}}
    options = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(options, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_gate_by_revisions_and_the_comment(site):
    change()
    summary = site / "summary.md"
    given = {"GITHUB_BASE_REF": "main", "GITHUB_STEP_SUMMARY": str(summary), "GITHUB_WORKSPACE": str(Path.cwd())}
    said, status = steps(WORKFLOWS[0], **given)
    assert status == 1, said
    assert "::error file=shop.py,line=1,title=regressed" in said
    text = summary.read_text("utf-8")
    assert "1 regressed" in text
    assert "`shop.total`" in text
    assert "test_shop.py::test_total" in Path("energy.html").read_text("utf-8")

    (site / "comments.json").write_text("[]")
    said, status = steps(WORKFLOWS[3], REPO="o/r", HEAD="someone:branch")
    assert status == 0, said
    assert Path("comment.md").read_text("utf-8").startswith("<!-- pytest-joules: energy -->\n**Energy: ")
    asked = (site / "gh.txt").read_text()
    assert "pulls -f state=open -f head=someone:branch" in asked
    assert asked.splitlines()[-1] == "api repos/o/r/issues/7/comments -F body=@comment.md"
    body = "<!-- pytest-joules: energy -->\nold"
    (site / "comments.json").write_text(json.dumps([{"id": 12, "body": body, "user": {"login": "github-actions[bot]"}}]))
    steps(WORKFLOWS[3], REPO="o/r", HEAD="someone:branch")
    assert (site / "gh.txt").read_text().splitlines()[-1].startswith("api --method PATCH repos/o/r/issues/comments/12")


@pytest.mark.slow
def test_the_trend(site):
    for _ in range(2):
        said, status = steps(WORKFLOWS[2], RUNNER_OS="Linux", event_name="push")
        assert status == 0, said
    assert "2 sessions on" in Path("history.html").read_text("utf-8")
    assert {entry["unit"] for entry in json.loads(Path("benchmark.json").read_text("utf-8"))} == {"J"}


@pytest.mark.slow
def test_the_gate_by_instructions(site, monkeypatch):
    from pytest_joules.count import callgrind
    from pytest_joules.count.counter import NoCounter

    try:
        callgrind.find()
    except NoCounter:
        pytest.skip("no Valgrind here")
    said, status = steps(WORKFLOWS[1], event_name="pull_request")
    assert status == 0, said
    assert "::warning::no baseline yet" in said
    said, status = steps(WORKFLOWS[1], event_name="push")
    assert status == 0, said
    change()
    summary = site / "summary.md"
    said, status = steps(WORKFLOWS[1], event_name="pull_request", GITHUB_STEP_SUMMARY=str(summary))
    assert status == 1, said
    assert "::error file=shop.py,line=1," in said
    assert "Minstr" in summary.read_text("utf-8")


@pytest.mark.slow
def test_gitlab(site):
    change()
    git("update-ref FETCH_HEAD origin/main")
    git("remote add origin .")
    environment = {"GITLAB_CI": "true", "CI_PROJECT_DIR": str(Path.cwd()), "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main"}
    done = shell("\n".join(GITLAB[0]["energy"]["script"]).replace("git fetch origin", "true"), **environment)
    assert done.returncode == 1, done.stdout + done.stderr
    (issue,) = json.loads(Path("gl-energy-code-quality.json").read_text("utf-8"))
    assert issue["location"] == {"path": "shop.py", "lines": {"begin": 1}}
    reports = GITLAB[0]["energy"]["artifacts"]["reports"]
    assert all(Path(name).exists() for name in (*GITLAB[0]["energy"]["artifacts"]["paths"], *reports.values()))


@pytest.mark.slow
@pytest.mark.parametrize("tests", ["def test_a(): sum(range(1000))\n", "def test_a(): assert 0\n"])
def test_the_action(site, tests):
    Path("test_shop.py").write_text(tests)
    output = site / "output.txt"
    given = {
        "GITHUB_OUTPUT": str(output),
        "ACTION": str(ROOT),
        "REPORT": "out.json",
        "OPTIONS": "--energy\n\n--energy-rounds=2\n--energy-label=x=$(touch hit)\n",
    }
    done = [shell(step["run"], **given) for step in ACTION["runs"]["steps"]]
    fails = "assert 0" in tests
    assert [one.returncode for one in done] == [0, int(fails)], done[-1].stdout + done[-1].stderr
    assert not Path("hit").exists()
    said = dict(line.split("=", 1) for line in output.read_text("utf-8").splitlines())
    assert said["report"] == "out.json"
    assert said["headline"].startswith("nothing was measured" if fails else "1 test, one pass ")
