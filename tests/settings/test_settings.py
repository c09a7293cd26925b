"""What users write: quantities, patterns, options, ini keys and markers, and which of them wins."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_joules.settings.budgets import BudgetRule, budget_rule, most_specific
from pytest_joules.settings.values import UNITS, SettingError, joules, rounds, seconds, whole_warmups

#: Writes a line for every time that a test's body is called.
COUNTING = """
def call(name):
    draw(1000)
    with open("calls.txt", "a") as file:
        print(name, file=file)
"""


def calls(inner, name):
    return (inner.path / "calls.txt").read_text().split().count(name)


# Quantities


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (2, 2.0),
        (2.5, 2.5),
        ("2.5", 2.5),
        ("500 mJ", 0.5),
        ("500mJ", 0.5),
        ("  500\t mJ\n", 0.5),
        ("500\u00a0mJ", 0.5),
        ("3 µJ", 3e-6),  # the micro sign
        ("3 μJ", 3e-6),  # the Greek letter
        ("3 uJ", 3e-6),
        ("7 nJ", 7e-9),
        ("1.5e3 J", 1500.0),
        ("1E3J", 1000.0),
        (".5 kJ", 500.0),
        ("5. MJ", 5e6),
        ("+1 J", 1.0),
        ("0.1 Wh", 360.0),
        ("2 mWh", 7.2),
        ("1 kWh", 3.6e6),
    ],
)
def test_quantities(text, value):
    assert joules(text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "J",
        "mJ 500",
        "2 x",
        "2 W",
        "2 mj",
        "2 j",
        "1,5 J",
        "1_000 J",
        "2 J J",
        "0x10 J",
        "two J",
        None,
        [],
        {},
        True,
        b"2 J",
        1j,
    ],
)
def test_no_quantities(text):
    with pytest.raises(SettingError) as caught:
        joules(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", [0, 0.0, -0.0, -1, "0 J", "-1 J", "-0 mJ", "1e-400 J"])
def test_no_budget_of_nothing(text):
    with pytest.raises(SettingError, match="above 0 J"):
        joules(text)


@pytest.mark.parametrize("text", [math.inf, -math.inf, math.nan, "inf", "inf J", "-Infinity", "nan", "NaN J", "1e400", 10**400])
def test_no_budget_without_end(text):
    with pytest.raises(SettingError, match="finite"):
        joules(text)


@pytest.mark.parametrize("text", ["infJ", "nanJ", "info", "infinite J", "nanojoule"])
def test_words_that_begin_like_numbers(text):
    with pytest.raises(SettingError):
        joules(text)


@given(
    st.floats(min_value=1e-6, max_value=1e12, allow_nan=False),
    st.sampled_from(sorted(UNITS)),
    st.sampled_from(["", " ", "\t", "\u00a0 "]),
)
@example(1e-6, "nJ", "")
def test_a_quantity_is_what_was_written(number, unit, space):
    assert joules(f"{space}{number!r}{space}{unit}{space}") == number * UNITS[unit]


@given(st.text(max_size=12))
def test_any_text_is_an_energy_or_refused(text):
    try:
        assert 0 < joules(text) < math.inf
    except SettingError as error:
        assert repr(text) in str(error)


@given(st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.binary(max_size=3), st.text(max_size=6)))
@example(10**400)
@example("9" * 5000)
def test_any_value_is_a_number_of_something_or_refused(value):
    for parse in (joules, rounds, seconds, whole_warmups):
        try:
            parsed = parse(value)
        except SettingError:
            continue
        assert parsed is None or 0 <= parsed < math.inf


# Patterns


@pytest.mark.parametrize(
    ("pattern", "nodeid", "matches"),
    [
        ("tests/test_io.py::*", "tests/test_io.py::test_a", True),
        ("tests/test_io.py::*", "tests/test_os.py::test_a", False),
        ("*::test_a", "t.py::C::test_a", True),
        ("*::test_a", "t.py::test_ab", False),
        ("t.py::test_?", "t.py::test_a", True),
        ("t.py::test_[ab]", "t.py::test_b", True),
        ("t.py::test_[ab]", "t.py::test_c", False),
        ("t.py::test_[!a]", "t.py::test_b", True),
        ("t.py::test_a[x=1]", "t.py::test_a[x=1]", True),
        ("t.py::test_a[1-2]", "t.py::test_a[1-2]", True),
        ("t.py::test_a[*]", "t.py::test_a[1-2]", True),
        ("t.py::test_a[*]", "t.py::test_a", False),
        ("t.py::test_a[z-a]", "t.py::test_a[z-a]", True),
        ("T.py::test_a", "t.py::test_a", False),
        ("t.py", "t.py::test_a", False),
    ],
)
def test_patterns(pattern, nodeid, matches):
    assert budget_rule(f"{pattern} = 1 J").matches(nodeid) is matches


def test_the_last_equals_sign_divides():
    assert budget_rule("t.py::test_a[x=1,y=[2]]= 500 mJ") == BudgetRule("t.py::test_a[x=1,y=[2]]", 0.5)


@pytest.mark.parametrize("text", ["", "=", "2 J", "*", "*=", "=2 J", " = 2 J", "test_[a=2 J", "test_a]=2 J", "*=2 X", "*=-1 J"])
def test_malformed_rules(text):
    with pytest.raises(SettingError) as caught:
        budget_rule(text)
    assert str(caught.value)


NODE = "tests/test_io.py::test_read[x=1]"


@pytest.mark.parametrize(
    ("patterns", "wins"),
    [
        (["*", "tests/*"], "tests/*"),
        (["tests/*", "*"], "tests/*"),
        (["tests/*", "*::test_read*", "tests/test_io.py::*"], "tests/test_io.py::*"),
        ([NODE, "tests/test_io.py::test_read[x=?]", "*"], NODE),
        (["other"], None),
        ([], None),
    ],
)
def test_the_most_specific_wins(patterns, wins):
    rule = most_specific([BudgetRule(pattern, 1.0) for pattern in patterns], NODE)
    assert (rule and rule.pattern) == wins


def test_an_exact_node_id_beats_a_longer_pattern():
    # All brackets count as no letter: the exact one has fewer letters of its own than the pattern.
    nodeid = "t.py::test_a[[[[]]]]"
    assert most_specific([BudgetRule(nodeid, 1.0), BudgetRule("t.py::test_a*", 2.0)], nodeid).joules == 1.0


def test_of_equals_the_last_wins():
    assert most_specific([BudgetRule("a*", 1.0), BudgetRule("*a", 2.0)], "aa").joules == 2.0


# Precedence, in whole runs

PRECEDENCE = (
    COUNTING
    + """
def test_plain():
    call("plain")

@pytest.mark.energy(rounds=3, warmup=2)
def test_marked():
    call("marked")

@pytest.mark.energy(rounds=3, warmup=2)
class TestClass:
    @pytest.mark.energy(rounds=4)
    def test_closest(self):
        call("closest")

@pytest.mark.energy(rounds="auto", warmup=0)
def test_auto():
    call("auto")

@pytest.mark.energy(skip=True)
def test_skipped():
    call("skipped")

@pytest.mark.energy(iterations=3, rounds=2, warmup=0)
def test_iterated():
    call("iterated")
"""
)


def test_the_marker_beats_the_ini_file(inner):
    inner.ini("energy_rounds = 2", "energy_warmup = 0")
    inner.file(test_a=PRECEDENCE)
    inner.run()
    # calls: rounds and warm-up rounds
    assert calls(inner, "plain") == 2
    assert calls(inner, "marked") == 3 + 2
    assert calls(inner, "closest") == 4 + 2
    assert calls(inner, "auto") == 5
    assert calls(inner, "skipped") == 1
    assert calls(inner, "iterated") == 3 * 2
    tests = inner.tests()
    assert [tests[name]["rounds"] for name in ("test_plain", "test_marked", "TestClass::test_closest", "test_auto")] == [
        2,
        3,
        4,
        5,
    ]
    assert tests["test_iterated"]["iterations"] == 3
    assert tests["test_iterated"]["energy"]["median"] == pytest.approx(1e-3)
    assert tests["test_skipped"]["energy"] is None
    assert tests["test_skipped"]["notes"] == ["marked skip"]


def test_the_command_line_beats_both(inner):
    inner.ini("energy_rounds = 2", "energy_warmup = 0")
    inner.file(test_a=PRECEDENCE)
    inner.run("--energy-rounds=6", "--energy-warmup=1")
    assert [calls(inner, name) for name in ("plain", "marked", "closest", "auto")] == [7, 7, 7, 7]


def test_one_option_leaves_the_others_to_the_marker(inner):
    inner.file(test_a=PRECEDENCE)
    inner.run("--energy-rounds=auto")
    assert calls(inner, "marked") == 5 + 2


@pytest.mark.parametrize(
    ("ini", "args", "measured"),
    [
        ([], [], False),
        (["energy = true"], [], True),
        (["energy = false"], ["--energy"], True),
        (["addopts = --energy"], [], True),
        (["energy = true"], ["--energy-disable"], False),
        (["addopts = --energy"], ["--energy-disable"], False),
        ([], ["--energy", "--energy-disable"], False),
    ],
)
def test_who_switches_it_on_and_off(inner, ini, args, measured):
    inner.ini(*ini)
    if ini and ini[0].startswith("addopts"):
        (inner.path / "pytest.ini").write_text(f"[pytest]\n{ini[0]} -p no:asyncio\n")
    inner.file(test_a=COUNTING + "\ndef test_a():\n    call('a')\n")
    inner.run(*args, f"--energy-powercap={inner.powercap}", energy=False).assert_outcomes(passed=1)
    assert calls(inner, "a") == (6 if measured else 1)
    assert (inner.path / ".pytest_cache/d/joules").exists() is measured


INI = {
    "energy_source": ("estimate", lambda report: report["settings"]["source"] == "estimate"),
    "energy_max_time": ("7.5", lambda report: report["settings"]["max_time"] == 7.5),
    "energy_estimate_idle_watts": ("3", lambda report: report["settings"]["estimate_idle_watts"] == 3),
    "energy_estimate_max_watts": ("9", lambda report: report["settings"]["estimate_max_watts"] == 9),
    "energy_trust_estimates": ("true", lambda report: report["settings"]["trust_estimates"] is True),
    "energy_budgets": ("\n  *::test_a = 4 kJ\n  *::test_b = 5 kJ", lambda report: len(report["settings"]["budgets"]) == 2),
    "energy_json": ("of_ini.json", lambda report: True),
    "energy_csv": ("of_ini.csv", lambda report: True),
    "energy_store": ("kept/of_ini.db", lambda report: True),
    "energy_top": ("1", lambda report: True),
    "energy_idle": ("off", lambda report: report["settings"]["idle"] == "off"),
}


def test_every_option_has_its_ini_key(inner):
    inner.ini("energy = 1", *(f"{key} = {value}" for key, (value, _) in INI.items()))
    inner.file(test_a="def test_a(): draw(1)\ndef test_b(): draw(2)\n")
    result = inner.run(energy=False)
    result.assert_outcomes(passed=2)
    (inner.path / "of_ini.json").rename(inner.path / "report.json")
    report = inner.report()
    for key, (_, holds) in INI.items():
        assert holds(report), key
    assert (inner.path / "of_ini.csv").exists()
    assert len(inner.history("kept/of_ini.db")) == 2
    result.stdout.fnmatch_lines(["* and 1 more, each less: --energy-top=0 shows all"])


def test_options_beat_their_ini_keys(inner):
    inner.ini(*(f"{key} = {value}" for key, (value, _) in INI.items() if key not in ("energy_estimate_idle_watts",)))
    inner.file(test_a="def test_a(): draw(1)\ndef test_b(): draw(2)\n")
    result = inner.run(
        "--energy-source=rapl",
        "--energy-max-time=3",
        "--energy-estimate-max-watts=11",
        "--energy-csv=of_option.csv",
        "--energy-store=of_option.db",
        "--energy-top=0",
    )
    settings = inner.report()["settings"]
    assert (settings["source"], settings["max_time"], settings["estimate_max_watts"]) == ("rapl", 3.0, 11.0)
    assert (inner.path / "of_option.csv").exists() and not (inner.path / "of_ini.csv").exists()
    assert len(inner.history("of_option.db")) == 2 and not (inner.path / "kept").exists()
    assert "more, each less" not in result.stdout.str()


def test_a_powercap_tree_from_the_ini_file(inner):
    inner.ini(f"energy_powercap = {inner.powercap.relative_to(inner.path)}")
    inner.file(test_a="def test_a(): draw(1)\n")
    inner.run("--energy", energy=False).stdout.fnmatch_lines(["energy: rapl (package-0)"])


@pytest.mark.parametrize("place", ["pyproject.toml", "pytest.toml", "ini_options"])
def test_toml_keeps_its_types(inner, place):
    if pytest.version_tuple < (9,) and place != "ini_options":
        pytest.skip("pytest 8 has no native TOML configuration")
    (inner.path / "pytest.ini").unlink()
    section = {"pytest.toml": "pytest", "pyproject.toml": "tool.pytest", "ini_options": "tool.pytest.ini_options"}[place]
    (inner.path / ("pytest.toml" if place == "pytest.toml" else "pyproject.toml")).write_text(
        f"""[{section}]
addopts = ["-p", "no:asyncio"]
energy = true
energy_source = ["rapl"]
energy_rounds = 3
energy_warmup = 0
energy_max_time = 7
energy_idle = false
energy_threshold = 0.07
energy_fail_on = ["regression"]
energy_trust_estimates = true
energy_top = 1
energy_predict = false
energy_estimate_idle_watts = 3.5
energy_budgets = ["*::test_a = 1 kJ"]
energy_json = "report.json"
energy_powercap = "{inner.powercap}"
"""
    )
    inner.file(test_a="def test_a(): draw(1)\n")
    inner.run(energy=False).assert_outcomes(passed=1)
    settings = inner.report()["settings"]
    expected = {"source": "rapl", "rounds": 3, "warmup": 0, "max_time": 7.0, "idle": "off", "threshold": 0.07}
    expected |= {"fail_on": ["regression"], "trust_estimates": True, "predict": None, "estimate_idle_watts": 3.5}
    assert {key: settings[key] for key in expected} == expected
    assert inner.tests()["test_a"]["budget"]["verdict"] == "ok"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("energy_rounds = 2.5", "ini energy_rounds: 2.5 is not a whole number of rounds"),
        ("energy_max_time = true", "ini energy_max_time: True is not a number of seconds"),
        ("energy_threshold = [5]", "ini energy_threshold: [5] is not a share"),
        ("energy_trust_estimates = 7", "ini energy_trust_estimates: 7: write true or false"),
        ("energy_budgets = [5]", "ini energy_budgets: '5' is not PATTERN=JOULES"),
        ("energy_budgets = 5", "ini energy_budgets: 5 is no list of PATTERN = JOULES"),
        ("energy_json = true", "ini energy_json: True is not a text"),
        ("energy_store = ['h.db']", "ini energy_store: ['h.db'] is not a text"),
        ("energy_powercap = 5", "ini energy_powercap: 5 is not a text"),
        ("energy_against = 2020-01-01", "ini energy_against: datetime.date(2020, 1, 1) is not a text"),
        ("energy_predict = ['m']", "ini energy_predict: ['m']: write true, false or a MODEL in quotes"),
        ("energy = 7", "ini energy: 7: write true or false"),
    ],
)
def test_toml_of_the_wrong_type_is_refused(inner, line, says):
    if pytest.version_tuple < (9,):
        pytest.skip("pytest 8 has no native TOML configuration")
    (inner.path / "pytest.ini").unlink()
    (inner.path / "pytest.toml").write_text(f"[pytest]\n{line}\n")
    inner.refused(*([] if line.startswith("energy =") else ["--energy"]), says=[says], energy=False)


def test_markers_of_a_conftest_hook_count(inner):
    inner.conftest(
        """
import pytest
def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.energy(rounds=2, warmup=0))
"""
    )
    inner.file(test_a=COUNTING + "\ndef test_a():\n    call('a')\n")
    inner.run()
    assert calls(inner, "a") == 2


def test_markers_are_known_and_do_nothing_without_energy(inner):
    inner.file(
        test_a="""
@pytest.mark.energy_budget(joules="nonsense")
@pytest.mark.energy(rounds=-1, nonsense=1)
def test_a(energy):
    with energy.measure("region"):
        energy.work(tokens=1)
    energy.score(x=1)
"""
    )
    result = inner.run("--strict-markers", "--markers", energy=False)
    result.stdout.fnmatch_lines(["@pytest.mark.energy_budget(joules, instructions): *", "@pytest.mark.energy(rounds, *"])
    result = inner.run("--strict-markers", "--junitxml=junit.xml", energy=False)
    result.assert_outcomes(passed=1)
    assert "energy" not in result.stdout.str().replace("test_markers_are_known_and_do_nothing_without_energy", "")
    assert "energy_joules" not in (inner.path / "junit.xml").read_text()
