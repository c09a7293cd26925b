"""Variants of a parametrised test in turn: over a counter whose truth is known."""

import pytest
from inner import sentences
from two_revisions import PLUG

import pytest_joules.session.variant_turns
from pytest_joules.cli import main

HEAD = """
COST = {{"fp32": 1_000_000, "int8": 2_000_000, "pruned": 500_000}}

def log(*words):
    with open({log!r}, "a") as file:
        print(*words, os.getpid(), file=file)

@pytest.fixture
def model(request):
    log("load", request.param)
    yield request.param
    log("drop", request.param)
"""

VARIANTS = """
@pytest.mark.energy_variants("model", reference="fp32")
@pytest.mark.parametrize("model", ["fp32", "int8", "pruned"], indirect=True)
"""

BODY = """
def test_it(model, energy):
    log("run", model)
    draw(COST[model])
    energy.work(tokens=10)
    energy.score(top1=[1, 0] * 10 if model != "pruned" else [1, 0, 0, 0] * 5, higher_is_better=True)
"""


@pytest.fixture
def models(inner):
    inner.conftest(PLUG.format(path=str(inner.tree.path("package-0"))))
    inner.log = inner.path / "log.txt"
    inner.head = HEAD.format(log=str(inner.log))
    return inner


def variants(models):
    return {name.partition("[")[2][:-1]: test["variants"] for name, test in models.tests().items() if "[" in name}


def logged(models, what):
    return [line.split()[1:] for line in models.log.read_text().splitlines() if line.startswith(what)]


def said(result):
    return sentences(result.stdout.lines)


def test_each_beside_the_reference(models, capsys):
    models.file(test_m=models.head + VARIANTS + BODY + "def test_plain(): draw(3_000_000)\n")
    result = models.run("--junitxml=junit.xml", "--energy-html=page.html", "--energy-markdown=v.md")
    result.assert_outcomes(passed=4)
    tests, found = models.tests(), variants(models)
    assert found["fp32"]["verdict"] == "reference" and found["fp32"]["ratio"] is None
    assert found["int8"]["verdict"] == "dearer" and found["int8"]["ratio"] == pytest.approx(2)
    assert found["pruned"]["verdict"] == "cheaper" and found["pruned"]["ratio"] == pytest.approx(0.5)
    assert found["int8"]["in_turn"] and found["int8"]["blocks"] == 16
    assert found["int8"]["joules_per_unit"] == pytest.approx(0.2)
    assert found["pruned"]["score_difference"] == pytest.approx(-0.25)
    assert found["pruned"]["score_ci95"][1] < 0 and found["pruned"]["front"] == "front"
    # As good as the reference, and dearer: that it is not better is not sure.
    assert found["int8"]["front"] == "cannot tell"
    assert tests["test_it[int8]"]["parameters"] == {"model": "int8"}
    assert tests["test_it[int8]"]["score_details"]["top1"]["items"] == [1, 0] * 10
    # As many rounds for each; what is no variant is measured as usual.
    assert len({test["rounds"] for name, test in tests.items() if "[" in name}) == 1
    assert tests["test_plain"]["variants"] is None and models.median("test_plain") == pytest.approx(3)
    # Each is an ordinary test to others.
    joules = models.junit()["test_it[int8]"].find("properties/property[@name='energy_joules']")
    assert float(joules.get("value")) == pytest.approx(2)
    lines = result.stdout.lines
    assert max(len(line) for line in lines if str(models.path) not in line) <= 80
    assert "energy: 3 variants of 1 test, measured in turn, each in a process of its own" in said(result)
    assert any(line.startswith("variants of test_m.py::test_it by model, in turn, 16 blocks") for line in lines)
    assert any(line.split()[:4] == ["int8", "2.00", "J", "±0.0"] and line.endswith("dearer") for line in lines)
    page = (models.path / "page.html").read_text("utf-8")
    assert "variants of test_m.py::test_it by model" in page and "<circle" in page
    assert "| `pruned` |" in (models.path / "v.md").read_text("utf-8")
    # Shown again, against another reference: it was in turn, and no warning says otherwise.
    assert main(["variants", str(models.path / "report.json"), "--by=model", "--reference=int8"]) == 0
    again = capsys.readouterr().out
    assert "by model, in turn, 16 blocks" in again and "not measured in turn" not in again
    assert any(line.split()[0] == "fp32" and "0.50 [0.50, 0.50]" in line for line in again.splitlines() if line)


def test_in_turn_with_fixtures_that_stay(models):
    """Each in a process of its own, whose wider fixtures stay up; the order of the blocks turns round."""
    models.file(test_m=models.head.replace("@pytest.fixture", '@pytest.fixture(scope="module")') + VARIANTS + BODY)
    models.run("--energy-rounds=4", "--energy-warmup=0").assert_outcomes(passed=3)
    assert len(logged(models, "load")) == len(logged(models, "drop")) == 3
    processes = {model: {process for name, process in logged(models, "run") if name == model} for model in ("fp32", "int8")}
    assert all(len(found) == 1 for found in processes.values()) and processes["fp32"] != processes["int8"]
    order = [name[0] for name, _ in logged(models, "run")]
    blocks = "".join(letter for place, letter in enumerate(order) if place == 0 or order[place - 1] != letter)
    # A block of one that follows itself goes on: fip pif ipf fpi.
    assert blocks == "fip" + "if" + "ipf" + "pi"
    found = variants(models)["int8"]
    assert found["verdict"] == "cannot tell" and "4 blocks: 9 are needed among 3 variants" in found["why"]


def test_drift_hits_all_alike(models):
    """Every body costs more than the one before, 0.5 % each: one after another the last would be far too dear."""
    body = """
def test_it(model):
    with open(COUNT, "a+") as file:
        file.write("x")
        file.flush()
        number = file.tell()
    draw(int(1e6 * 1.005 ** number))
"""
    models.file(test_m=models.head + f"COUNT = {str(models.path / 'count.txt')!r}\n" + VARIANTS + body)
    models.run("--energy-rounds=16").assert_outcomes(passed=3)
    for name in ("int8", "pruned"):
        assert variants(models)[name]["ratio"] == pytest.approx(1, abs=0.02)
        assert variants(models)[name]["verdict"] == "same within threshold"


def test_one_that_fails(models):
    """The others' numbers stay, and the table says why there is none of it."""
    body = BODY.replace("draw(COST", 'assert model != "int8", "no kernel"\n    draw(COST')
    models.file(test_m=models.head + VARIANTS + body)
    result = models.run("--energy-rounds=9")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["E*no kernel*", "int8: cannot tell: failed (AssertionError: no kernel*"])
    found = variants(models)
    assert found["pruned"]["ratio"] == pytest.approx(0.5) and found["pruned"]["verdict"] == "cheaper"
    assert found["int8"]["ratio"] is None and found["int8"]["verdict"] == "cannot tell"
    # Again, only what failed: it has nothing to be compared with.
    result = models.run("--lf")
    result.assert_outcomes(failed=1)
    assert "test_m.py::test_it: no variants to compare: of model this run has int8 alone" in said(result)


def test_the_reference_fails(models):
    body = BODY.replace("draw(COST", 'assert model != "fp32"\n    draw(COST')
    models.file(test_m=models.head + VARIANTS + body)
    models.run("--energy-rounds=3").assert_outcomes(passed=2, failed=1)
    found = variants(models)["int8"]
    assert (
        found["verdict"] == "cannot tell"
        and found["why"] == "nothing to compare with: fp32: failed (AssertionError: assert 'fp32' != 'fp32')"
    )
    assert models.tests()["test_it[int8]"]["energy"]["median"] == pytest.approx(2)


def test_one_that_kills_its_process_and_one_that_is_skipped(models):
    body = BODY.replace(
        "draw(COST", 'if model == "int8": os._exit(3)\n    if model == "pruned": pytest.skip("no")\n    draw(COST'
    )
    models.file(test_m=models.head + VARIANTS + body + "def test_plain(): draw(3_000_000)\n")
    result = models.run("--energy-rounds=3")
    result.assert_outcomes(passed=2, failed=1, skipped=1)
    assert "exit status 3" in result.stdout.str()
    tests = models.tests()
    assert tests["test_it[fp32]"]["energy"]["median"] == pytest.approx(1)
    assert "its process died: model=int8: ended with exit status 3" in tests["test_it[int8]"]["variants"]["why"]
    assert tests["test_it[pruned]"]["variants"]["why"] == "skipped"


def test_one_that_does_not_pass_again(models):
    """After blocks that did: it is told, and what was measured until then stands."""
    body = BODY.replace("draw(COST", 'assert model != "int8" or len(open(LOG).readlines()) < 60\n    draw(COST')
    models.file(test_m=models.head + f"LOG = {str(models.log)!r}\n" + VARIANTS + body)
    models.run("--energy-rounds=9").assert_outcomes(passed=3)
    found = models.tests()["test_it[int8]"]
    assert any("did not pass" in note for note in found["notes"])
    assert found["variants"]["ratio"] == pytest.approx(2) and found["variants"]["verdict"] == "cannot tell"
    assert variants(models)["pruned"]["blocks"] == 9


def test_loaded_for_each_block(models):
    text = VARIANTS.replace('"fp32")', '"fp32", load="block")', 1)
    models.file(test_m=models.head.replace("@pytest.fixture", '@pytest.fixture(scope="module")') + text + BODY)
    models.run("--energy-rounds=3").assert_outcomes(passed=3)
    assert [name for name, _ in logged(models, "load")] == [
        "fp32",
        "int8",
        "pruned",
        "pruned",
        "int8",
        "fp32",
        "int8",
        "pruned",
        "fp32",
    ]
    alive = 0
    for line in models.log.read_text().splitlines():
        alive += {"load": 1, "drop": -1}.get(line.split()[0], 0)
        assert alive <= 1
    assert any("loaded anew for each block (load='block')" in remark for remark in variants(models)["int8"]["remarks"])


def test_loaded_for_each_block_where_memory_lacks(models, monkeypatch):
    monkeypatch.setattr(pytest_joules.session.variant_turns, "free", lambda: 1000)
    models.file(test_m=models.head.replace("@pytest.fixture", '@pytest.fixture(scope="module")') + VARIANTS + BODY)
    models.run("--energy-rounds=3").assert_outcomes(passed=3)
    assert len(logged(models, "load")) == len(logged(models, "drop")) == 9
    (remark,) = [remark for remark in variants(models)["int8"]["remarks"] if "anew" in remark]
    assert "MiB a variant, 0 MiB free" in remark


def test_by_option_for_each_other_parameter(models):
    """Without a marker; the first value is the reference, and that is said."""
    models.file(
        test_m=models.head
        + """
@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("model", ["int8", "fp32"], indirect=True)
def test_it(model, length):
    draw(COST[model] * length)
"""
    )
    result = models.run("--energy-variants=model", "--energy-rounds=9")
    result.assert_outcomes(passed=4)
    tests = models.tests()
    for length in (1, 2):
        found = tests[f"test_it[fp32-{length}]"]["variants"]
        assert found["group"] == f"test_m.py::test_it[length={length}]" and found["reference"] == "int8"
        assert found["ratio"] == pytest.approx(0.5) and found["verdict"] == "cheaper"
    assert "no reference was named: int8, the first, is taken" in said(result)


def test_another_option_measures_each_by_itself(models):
    """With --energy-compare, say, a marked test is compared with the baseline; the table says that it is not in turn."""
    models.file(test_m=models.head + VARIANTS + BODY)
    models.run("--energy-rounds=6", "--energy-save=one").assert_outcomes(passed=3)
    result = models.run("--energy-rounds=6", "--energy-compare=one", "--energy-threshold=5%")
    result.assert_outcomes(passed=3)
    assert models.tests()["test_it[int8]"]["comparison"]["verdict"] == "ok"
    found = variants(models)["int8"]
    assert not found["in_turn"] and found["ratio"] == pytest.approx(2)
    assert any(
        "not measured in turn" in line and "--energy-compare has each test measured by itself" in line for line in said(result)
    )


@pytest.mark.parametrize(
    ("text", "args", "says"),
    [
        (VARIANTS, ["--energy-variants=modle"], ["--energy-variants=modle", "no test of this run has a parameter", "model"]),
        (VARIANTS, ["--energy-variants=model:fp16"], ["'fp16' is no value of model", "fp32, int8, pruned"]),
        (VARIANTS.replace('="fp32"', '="fp16"'), [], ["energy_variants: 'fp16' is no value of model"]),
        (
            VARIANTS.replace('("model", ref', '("modle", ref'),
            [],
            ["test_it[fp32]", "no parameter 'modle'; its parameters are"],
        ),
        (VARIANTS.replace("reference", "refernce"), [], ["test_it[fp32]", "does not know 'refernce'"]),
        (VARIANTS.replace('"model", reference="fp32"', ""), [], ["test_it[fp32]", "needs the name of a parameter"]),
        (VARIANTS.replace('="fp32"', '="fp32", load="never"'), [], ["load=", "'never'"]),
        (VARIANTS, ["--energy-variants=model", "--energy-against=HEAD"], ["do not go together"]),
        (VARIANTS, ["--energy-variants=model", "--energy-compare"], ["--energy-compare do not go together"]),
        (VARIANTS, ["--energy-variants=model", "-n1"], ["leave -n out, or add -n0"]),
    ],
)
@pytest.mark.inner_plugins("xdist")
def test_misuse(models, text, args, says):
    models.file(test_m=models.head + text + BODY)
    models.refused(*args, says=says)


def test_without_energy_nothing_happens(models):
    models.file(test_m=models.head + VARIANTS + BODY)
    models.run(energy=False).assert_outcomes(passed=3)


def test_a_block_that_others_disturb_is_left_out_where_enough_are_left(models):
    models.conftest(
        PLUG.format(path=str(models.tree.path("package-0")))
        + f"""
import pytest
import quiet

@pytest.fixture(autouse=True)
def others():
    with open({str(models.path / "rounds.txt")!r}, "a+") as file:
        file.write("x")
        file.flush()
        quiet.share = 0.5 if file.tell() in (9, 10) else 0.0
"""
    )
    models.file(test_m=models.head + VARIANTS.replace(', "pruned"', "") + BODY)
    models.run("--energy-rounds=10", "--energy-warmup=0").assert_outcomes(passed=2)
    found = models.tests()["test_it[int8]"]
    assert found["rounds"] == found["variants"]["blocks"] < 10
    assert found["provenance"] == "measured" and found["variants"]["verdict"] == "dearer"
