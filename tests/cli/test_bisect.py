"""``joules bisect``: which commits are judged, what is made of it and what is said; runs of pytest are simulated here, and are
real in test_bisect_runs.py."""

import json
import re
import subprocess

import pytest
from bisected import TEST, bisect, git, keep

from pytest_joules.model import empty_record
from pytest_joules.revision import candidate
from pytest_joules.revision.candidate import Ran, Saved
from pytest_joules.revision.worktree import RevisionError


class Simulated:
    """In the place of runs of pytest: what a test costs at a commit is read from that commit, by the thousand; what is not a
    number there is what goes wrong."""

    def __init__(self, monkeypatch):
        self.asked = []
        """Options of each run, and its commit."""
        self.noise = {}
        """By commit: half the intervals' width of its first, its second run."""
        self.slow = {}
        """By commit: what its first, its second run is dearer by than it should."""
        self.counter = None
        """Why instructions are not counted."""
        self.stop_after = None
        monkeypatch.setattr(candidate.Project, "run", self.run)

    def cost(self, commit):
        return COSTS[commit][0]

    def code(self, commit):
        functions = {"shop.py::total": COSTS[commit][1]}
        return {"fingerprint": functions["shop.py::total"], "functions": functions, "unknown": []}

    def run(self, revision, options, known=None, baseline=None):
        commit = revision.id
        self.asked.append((commit, list(options)))
        if self.stop_after is not None and len(self.asked) > self.stop_after:
            raise KeyboardInterrupt
        answer = dict.fromkeys(("same", "outcome", "record", "before", "leak"))
        answer.update(collected=[TEST], errors=[], why="", troubles=[], root="")
        ran = Ran(answer, 0, "")
        cost = self.cost(commit)
        if cost == "no build":
            raise RevisionError("shop is an installed copy, and pip could not build another")
        if isinstance(cost, str):
            answer.update(
                {
                    "absent": {"collected": []},
                    "import": {"errors": ["test_shop.py: ModuleNotFoundError: No module named 'till'"]},
                    "failed": {"outcome": "failed", "why": "FileNotFoundError: data.csv"},
                    "skipped": {"outcome": "skipped", "why": "Skipped: not here"},
                    "leak": {"outcome": "passed", "leak": "shop from /home/me/shop.py"},
                    "several": {"collected": [TEST, f"{TEST}2"]},
                    "crash": {},
                }[cost]
            )
            return ran if cost != "crash" else Ran(None, 3, "INTERNALERROR> no such plugin")
        code = self.code(commit)
        answer["same"] = next((other for other, there in (known or {}).items() if there == code), None)
        if answer["same"] is None:
            record = answer["record"] = {**empty_record(TEST), "code": code, "rounds": 20}
            answer["outcome"] = "passed"
            against = next((option.partition("=")[2] for option in options if "--energy-against" in option), None)
            if against is not None:
                answer["before"] = self.code(against)
                record["comparison"] = self.compared(commit, cost / self.cost(against))
            else:
                self.count(ran, cost, baseline)
        return ran

    def compared(self, commit, ratio):
        slow = self.slow.get(commit)
        ratio *= slow.pop(0) if slow else 1
        wide = self.noise.setdefault(commit, [])
        width = 1 + (wide.pop(0) if wide else 0.01)
        sure = ratio / width > 1.05
        verdict = "regressed" if sure else "ok" if ratio * width < 1.1 else "cannot tell"
        return {
            "ratio": ratio,
            "ci95": [ratio / width, ratio * width],
            "verdict": verdict,
            "why": "noisy",
            "changed": ["shop.py::total"],
        }

    def count(self, ran, cost, baseline):
        if self.counter is not None:
            ran.answer["troubles"] = [self.counter]
            return
        comparison = None
        if baseline is not None:
            ratio = cost / int(baseline.text)
            verdict = "regressed" if ratio > 1.01 else "ok"
            comparison = {"ratio": ratio, "verdict": verdict, "why": f"{ratio}", "where": ["shop.total line 3 ran 9 times"]}
        ran.answer["record"]["instructions"] = {"comparison": comparison}
        ran.saved = Saved(str(cost), ".")

    @property
    def compares(self):
        """How many runs of each commit."""
        return [commit for commit, options in self.asked]


@pytest.fixture
def runs(shop, monkeypatch):
    keep(shop, "the project")
    return Simulated(monkeypatch)


#: By commit: what the test costs there, and what it executes.
COSTS = {}


def line(shop, *costs, same=()):
    """A commit for each cost; those whose numbers are in ``same`` have the code of the one before."""
    branch = git(shop.path, "branch", "--show-current")
    born = subprocess.run(["git", "rev-parse", "-q", "--verify", branch], cwd=shop.path, check=False, capture_output=True)
    who, stream = "A <a@example.org> 1704067200 +0000", ""
    for number, cost in enumerate(costs):
        subject = f"edit {number}"
        stream += f"commit refs/heads/{branch}\nauthor {who}\ncommitter {who}\ndata {len(subject)}\n{subject}\n"
        stream += f"from refs/heads/{branch}^0\n" if number == 0 and born.returncode == 0 else ""
        stream += f"M 100644 inline cost\ndata {len(str(cost))}\n{cost}\n"
    subprocess.run(["git", "fast-import", "--quiet"], input=stream, cwd=shop.path, check=True, text=True)
    git(shop.path, "reset", "-q", "--hard")
    ids = git(shop.path, "rev-list", "--reverse", f"-{len(costs)}", "--first-parent", "HEAD").splitlines()
    code = ""
    for number, (commit, cost) in enumerate(zip(ids, costs, strict=True)):
        code = code if number in same else f"code {number} {cost}"
        COSTS[commit] = cost, code
    return ids


def found(*arguments, by="joules"):
    """The result for programs."""
    code, out, steps = bisect(TEST, *arguments, f"--by={by}", "--json")
    return code, json.loads(out) if out else None, steps


def named(result):
    return [commit["subject"] for commit in result["commits"]]


class TestSearch:
    def test_among_64(self, shop, runs):
        ids = line(shop, *[1000] * 23, *[1200] * 42)
        code, result, steps = found(ids[0])
        assert (code, result["result"], named(result)) == (1, "found", ["edit 23"])
        assert result["comparisons"] == len(runs.asked) == len(steps) == 8
        assert result["of"] == 64
        assert result["confirmed"]["ratio"] == pytest.approx(1.2)

    def test_by_instructions(self, shop, runs):
        ids = line(shop, *[100_000] * 5, *[103_000] * 4)
        code, result, _ = found(ids[0], by="auto")
        assert (code, result["by"], named(result)) == (1, "instructions", ["edit 5"])
        assert result["confirmed"]["changed"] == ["shop.total line 3 ran 9 times"]
        # The good one is counted once, and each other once; the last one is held against the one before it too.
        assert max(map(runs.compares.count, set(runs.compares) - {ids[5]})) == 1
        assert result["comparisons"] == len(runs.asked) - 1

    def test_by_joules_where_instructions_are_the_same(self, shop, runs):
        ids = line(shop, 1000, 1000, 1300, 1300)
        runs.count = lambda ran, cost, baseline: Simulated.count(runs, ran, 1000, baseline)
        code, result, _ = found(ids[0], by="auto")
        assert (code, result["by"], named(result)) == (1, "joules", ["edit 2"])

    def test_by_joules_where_nothing_counts(self, shop, runs):
        ids = line(shop, 1000, 1000, 1300)
        runs.counter = "instructions are not counted: no Valgrind"
        code, out, _ = bisect(TEST, ids[0])
        assert code == 1
        assert "by joules: instructions are not counted: no Valgrind" in out
        assert bisect(TEST, ids[0], "--by=instructions")[0] == 2

    def test_no_difference(self, shop, runs):
        ids = line(shop, 1000, 1000, 1010)
        code, out, _ = bisect(TEST, ids[0], "--by=joules")
        assert code == 0
        assert "1.01×" in out
        assert "no commit made it dearer" in out
        assert len(runs.asked) == 1

    def test_an_earlier_end(self, shop, runs):
        ids = line(shop, 1000, 1000, 1300, 1300, 2000)
        _, result, _ = found(ids[0], ids[3])
        assert named(result) == ["edit 2"]

    def test_of_two_that_made_it_dearer_the_one_that_crosses_the_middle(self, shop, runs):
        ids = line(shop, 1000, 1000, 1060, 1060, 1060, 1300, 1300)
        assert named(found(ids[0])[1]) == ["edit 5"]

    def test_the_first_after_the_good_one(self, shop, runs):
        """Like the others it is confirmed, by a verdict that names what changed."""
        ids = line(shop, 1000, 1300, 1300, 1300)
        _, result, _ = found(ids[0])
        assert named(result) == ["edit 1"]
        assert runs.compares.count(ids[1]) == 2
        assert "--energy-threshold=1000%" not in runs.asked[-1][1]

    def test_the_search_measures_nothing_a_second_time(self, shop, runs):
        """What a run of pytest does for a verdict of its own costs as much again."""
        ids = line(shop, *[1000] * 4, *[1300] * 5)
        found(ids[0], "--threshold=10%")
        given = [[option for option in options if "threshold" in option] for _, options in runs.asked]
        assert given[0] == given[-1] == ["--energy-threshold=10%"]
        assert {tuple(options) for options in given[1:-1]} == {("--energy-threshold=1000%",)}


class TestSkipped:
    @pytest.mark.parametrize(
        ("what", "said"),
        [
            ("absent", "does not exist"),
            ("import", "No module named 'till'"),
            ("failed", "fails there: FileNotFoundError: data.csv"),
            ("skipped", "is skipped there: Skipped: not here"),
            ("leak", "imported shop from /home/me/shop.py"),
            ("no build", "pip could not build"),
            ("crash", "INTERNALERROR"),
        ],
    )
    def test_beside_it(self, shop, runs, what, said):
        ids = line(shop, 1000, 1000, 1000, what, 1000, 1300, 1300)
        code, result, _ = found(ids[0])
        assert (code, named(result)) == (1, ["edit 5"])
        assert [entry["subject"] for entry in result["skipped"]] == ["edit 3"]
        assert said in result["skipped"][0]["why"]

    def test_a_range(self, shop, runs):
        ids = line(shop, 1000, 1000, "failed", "failed", 1300, 1300)
        code, result, _ = found(ids[0])
        assert (code, result["result"], named(result)) == (1, "range", ["edit 2", "edit 3", "edit 4"])
        assert result["confirmed"] is None
        code, out, _ = bisect(TEST, ids[0], "--by=joules")
        assert "made dearer by one of 3 commits" in out
        assert "git log -p" in out

    def test_a_long_range_is_not_listed_whole(self, shop, runs):
        ids = line(shop, 1000, *["failed"] * 40, 1300)
        _, out, _ = bisect(TEST, ids[0], "--by=joules")
        assert "made dearer by one of 41 commits" in out
        assert "and 29 more" in out
        assert "skipped 28 more" in out

    def test_noise_is_measured_once_more_with_more_rounds(self, shop, runs):
        ids = line(shop, 1000, 1000, 1300)
        runs.noise = {ids[1]: [0.5, 0.02]}
        _, result, _ = found(ids[0])
        assert named(result) == ["edit 2"]
        again = [options for commit, options in runs.asked if commit == ids[1]]
        assert len(again) == 2
        assert {"--energy-rounds=60", "--energy-max-time=30"} <= set(again[1])

    def test_and_then_skipped(self, shop, runs):
        ids = line(shop, 1000, 1000, 1300)
        runs.noise = {ids[1]: [0.9, 0.9]}
        code, result, _ = found(ids[0])
        assert (code, result["result"], result["comparisons"]) == (1, "range", 3)

    def test_noise_at_the_ends(self, shop, runs):
        ids = line(shop, 1000, 1000, 1300)
        runs.noise = {ids[2]: [0.9, 0.9]}
        code, out, _ = bisect(TEST, ids[0], "--by=joules")
        assert code == 3
        assert "cannot be told: noisy" in out

    def test_not_confirmed(self, shop, runs):
        ids = line(shop, 1000, 1000, 1150, 1200, 1400)
        runs.noise = {ids[3]: [0.01, 0.09, 0.09]}
        code, out, _ = bisect(TEST, ids[0], "--by=joules")
        assert code == 3
        assert "perhaps made dearer by" in out
        assert "not confirmed" in out

    @pytest.mark.parametrize(("number", "chance"), [(4, 0.75), (2, 1.4)])
    def test_one_that_was_misjudged_is_measured_anew_and_the_search_goes_on(self, shop, runs, number, chance):
        """A process may be slow, or quick, for a reason of its own."""
        ids = line(shop, *[1000] * 4, *[1300] * 5)
        runs.slow = {ids[number]: [chance]}
        code, result, _ = found(ids[0])
        assert (code, named(result)) == (1, ["edit 4"])
        assert runs.compares.count(ids[number]) >= 3

    def test_what_cannot_be_run_again_is_not_confirmed(self, shop, runs):
        ids = line(shop, 1000, 1000, 1300, 1300)
        compared, runs.compared = runs.compared, lambda commit, ratio: None if len(runs.asked) > 3 else compared(commit, ratio)
        code, result, _ = found(ids[0])
        assert (code, result["result"]) == (3, "not confirmed")
        assert "not compared" in result["confirmed"]["why"]


class TestSameCode:
    def test_is_not_run(self, shop, runs):
        ids = line(shop, *[1000] * 5, *[1300] * 6, same=(1, 2, 3, 4, 6, 7, 8, 9, 10))
        code, result, steps = found(ids[0])
        assert (code, named(result)) == (1, ["edit 5"])
        assert result["comparisons"] == 2
        others = {ids.index(entry["as"]) for entry in result["same"]}
        assert others <= {0, 10}
        assert any("not run: all code that it executes is that of" in step for step in steps)

    def test_takes_the_verdict_of_one_that_cannot_be_told(self, shop, runs):
        ids = line(shop, 1000, 1001, 1001, 1300, same=(2,))
        runs.noise = {ids[1]: [0.9, 0.9]}
        _, result, _ = found(ids[0])
        assert result["result"] == "range"
        assert runs.compares.count(ids[2]) == 1


class TestGoingOn:
    def test_after_ctrl_c(self, shop, runs):
        ids = line(shop, *[1000] * 9, *[1300] * 9)
        runs.stop_after = 3
        code, _, steps = bisect(TEST, ids[0], "--by=joules")
        assert code == 130
        assert "the same command goes on from there" in steps[-1]
        runs.stop_after, judged = None, runs.compares[:3]
        runs.asked.clear()
        code, result, steps = found(ids[0])
        assert (code, named(result)) == (1, ["edit 9"])
        assert "goes on from what an earlier run found out (3 verdicts" in steps[0]
        assert not set(runs.compares[:-1]) & set(judged)
        assert (result["earlier"], result["comparisons"]) == (3, 3 + len(runs.asked))

    def test_between_the_counts_and_the_joules_of_the_ends(self, shop, runs):
        """Instructions that do not tell are no answer to a later run either."""
        ids = line(shop, 1000, 1000, 1300)
        runs.count = lambda ran, cost, baseline: Simulated.count(runs, ran, 1000, baseline)
        runs.stop_after = 2
        assert bisect(TEST, ids[0])[0] == 130
        runs.stop_after = None
        assert named(found(ids[0], by="auto")[1]) == ["edit 2"]

    def test_by_instructions_too(self, shop, runs):
        ids = line(shop, *[100_000] * 9, *[103_000] * 9)
        runs.stop_after = 4
        assert bisect(TEST, ids[0])[0] == 130
        runs.stop_after = None
        runs.asked.clear()
        _, result, _ = found(ids[0], by="auto")
        assert (result["by"], named(result)) == ("instructions", ["edit 9"])
        assert ids[0] not in runs.compares  # its counts were kept

    def test_again(self, shop, runs):
        ids = line(shop, 1000, 1000, 1300)
        first = found(ids[0])[1]
        runs.asked.clear()
        assert {**found(ids[0])[1], "earlier": 0} == first
        assert runs.asked == []
        found(ids[0], "--restart")
        assert runs.asked
        runs.asked.clear()
        found(ids[0], "--rounds=9")
        assert runs.asked  # other options, other verdicts

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "pytest-joules/bisect/1"}', "\0" * 50])
    def test_a_damaged_file(self, shop, runs, text):
        ids = line(shop, 1000, 1000, 1300)
        found(ids[0])
        (file,) = (shop.path / ".pytest_cache/d/joules/bisect").iterdir()
        file.write_text(text)
        code, result, steps = found(ids[0])
        assert (code, named(result)) == (1, ["edit 2"])
        assert len([step for step in steps if "begins anew" in step]) == 1

    def test_any_damage(self, shop, runs):
        """Whatever a value is replaced by, it is refused or goes on: no traceback."""
        ids = line(shop, 1000, 1000, 1300)
        found(ids[0])
        (file,) = (shop.path / ".pytest_cache/d/joules/bisect").iterdir()
        whole = file.read_text()
        for match in list(re.finditer(r'(?<=: )("[^"]*"|[\d.]+|null|\[[^][]*\])', whole))[:20]:
            file.write_text(f"{whole[: match.start()]}-1{whole[match.end() :]}")
            assert bisect(TEST, ids[0], "--by=joules")[0] in (0, 1, 2, 3)

    def test_the_cache_is_not_seen_by_git(self, shop, runs):
        ids = line(shop, 1000, 1000, 1300)
        (shop.path / ".gitignore").write_text("/.powercap*\n")
        keep(shop, "nothing ignored")
        found(ids[0], ids[2])
        assert git(shop.path, "status", "--porcelain") == ""


class TestSaid:
    def test_to_a_person(self, shop, runs):
        ids = line(shop, *[1000] * 5, *[1300] * 3)
        (shop.path / "cost").write_text("5")
        code, out, steps = bisect(TEST, ids[0], "--by=joules")
        assert code == 1
        short = ids[5][:7]
        assert f"made dearer by {short} 2024-01-01 A: edit 5" in out
        assert f"1.30× (95 % interval 1.29 to 1.31) against {ids[4][:7]}, the commit before it" in out
        assert "changed: shop.py::total" in out
        assert f"to look closer: git show {short}" in out
        assert f"{len(runs.asked)} comparisons among 7 commits" in out
        assert "1 file of your tree with uncommitted changes: no part of this" in steps[0]
        assert len(steps) == 1 + len(runs.asked)
        assert all(re.fullmatch(r"joules: \w{7} edit \d.*: .*dearer", step) for step in steps[1:])

    def test_a_merge(self, shop, runs):
        """What is merged is one step, whatever is in it, and the next command looks into it."""
        ids = line(shop, 1000, 1000)
        git(shop.path, "checkout", "-qb", "side")
        inside = line(shop, 1000, 1300)
        git(shop.path, "checkout", "-q", "main")
        (shop.path / "other").write_text("x")
        COSTS[keep(shop, "beside")] = 1000, "code 1 1000"
        git(shop.path, "merge", "-q", "--no-ff", "-m", "merge side", "side")
        COSTS[git(shop.path, "rev-parse", "HEAD")] = COSTS[keep(shop, "after")] = COSTS[inside[-1]]
        _, result, _ = found(ids[0])
        assert named(result) == ["merge side"]
        assert not set(inside) & set(runs.compares)
        _, out, _ = bisect(TEST, ids[0], "--by=joules")
        assert f"joules bisect '{TEST}' {ids[1][:10]} {inside[-1][:10]}" in out
        assert named(found(ids[1], inside[-1])[1]) == ["edit 1"]

    def test_a_good_one_that_came_in_by_a_merge(self, shop, runs):
        line(shop, 1000)
        git(shop.path, "checkout", "-qb", "side")
        (inside,) = line(shop, 1000)
        git(shop.path, "checkout", "-q", "main")
        (shop.path / "other").write_text("x")
        beside = keep(shop, "beside")
        git(shop.path, "merge", "-q", "--no-ff", "-m", "merge side", "side")
        COSTS[git(shop.path, "rev-parse", "HEAD")] = COSTS[inside]
        line(shop, 1300)
        _, result, _ = found(inside)
        assert named(result) == ["edit 0"]
        assert result["of"] == 2
        assert beside not in runs.compares

    def test_options_for_pytest(self, shop, runs, monkeypatch):
        ids = line(shop, 1000, 1300)
        given = []
        monkeypatch.setattr(candidate.Project, "run", lambda project, *a, **k: given.append(project.options) or runs.run(*a, **k))
        assert bisect(TEST, ids[0], "--by=joules", "--", "-p", "no:randomly", "--", "x")[0] == 1
        assert given[0] == ("-p", "no:randomly", "--", "x")


class TestRefused:
    def refused(self, *arguments, says):
        code, out, steps = bisect(*arguments)
        assert (code, out) == (2, "")
        assert len([step for step in steps if step.startswith("joules: ")]) == len(steps) == 1
        assert says in steps[0]

    def test_commits(self, shop, runs):
        ids = line(shop, 1000, 1000, 1300)
        git(shop.path, "checkout", "-qb", "side", ids[0])
        keep(shop, "apart")
        self.refused(TEST, "nowhere", says="'nowhere' is not a revision")
        self.refused(TEST, ids[0], "nowhere", says="'nowhere' is not a revision")
        self.refused(TEST, ids[1], ids[1][:10], says="are the same commit")
        self.refused(TEST, ids[2], ids[0], says="comes after")
        self.refused(TEST, ids[2], "side", says="is not an ancestor of side: begin where they part, at")
        assert runs.asked == []

    @pytest.mark.parametrize("what", ["absent", "failed", "skipped", "import", "leak", "crash", "no build", "several"])
    @pytest.mark.parametrize("by", ["joules", "auto"])
    def test_a_test_that_cannot_be_measured_at_the_end(self, shop, runs, what, by):
        ids = line(shop, 1000, 1000, what)
        self.refused(TEST, ids[0], f"--by={by}", says=f"at {ids[2][:7]}")

    def test_not_a_repository(self, shop, tmp_path_factory, monkeypatch):
        monkeypatch.chdir(tmp_path_factory.mktemp("no-repository"))
        self.refused(TEST, "HEAD", says="is not in a git repository")

    def test_no_git(self, shop, monkeypatch):
        monkeypatch.setenv("PATH", "")
        self.refused(TEST, "HEAD", says="git is not there")

    def test_bare(self, shop, monkeypatch):
        line(shop, 1000)
        subprocess.run(["git", "clone", "-q", "--bare", str(shop.path), str(shop.temp / "bare")], check=True)
        monkeypatch.chdir(shop.temp / "bare")
        self.refused(TEST, "HEAD", says="is a bare repository")

    def test_shallow(self, shop, monkeypatch):
        ids = line(shop, 1000, 1000, 1300)
        where = shop.temp / "shallow"
        subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{shop.path}", str(where)], check=True)
        monkeypatch.chdir(where)
        self.refused(TEST, ids[0], says="git fetch --unshallow")
        self.refused(TEST, "HEAD~2", says="git fetch --unshallow")

    def test_no_commit(self, shop):
        self.refused(TEST, "HEAD~1", says="the repository has no commit yet")

    @pytest.mark.parametrize(
        "option", ["--rounds=0", "--rounds=x", "--max-time=0", "--max-time=soon", "--threshold=x", "--by=watts"]
    )
    def test_options(self, shop, option):
        code, _, steps = bisect(TEST, "HEAD~1", option)
        assert code == 2
        assert option.partition("=")[0] in steps[-1]

    def test_a_cache_that_cannot_be_written(self, shop, runs):
        ids = line(shop, 1000, 1300)
        (shop.path / "file").write_text("")
        code, _, steps = bisect(TEST, ids[0], "--by=joules", "--cache-dir=file")
        assert code == 2
        assert "file" in steps[-1]
        assert (shop.path / "file").is_file()
