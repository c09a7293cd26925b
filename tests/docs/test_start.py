"""The first steps print what their page shows."""

import re

import pytest
from test_reference import DOCS, script

make_start = script("make_start")
PAGE = make_start.PAGE.read_text("utf-8")


def test_the_page_shows_what_its_commands_print():
    assert make_start.without_numbers(make_start.made(PAGE)) == make_start.without_numbers(PAGE), "run python docs/make_start.py"


def test_every_command_but_the_installation_is_run():
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", PAGE)
    assert [block for block in blocks if "pip install" in block] == blocks[:1]
    assert (
        len(blocks) - 1
        == len(re.findall(r"(?m)^<!-- run", PAGE))
        == sum("command" in s.groupdict() and bool(s["command"]) for s in make_start._STEP.finditer(PAGE))
    )


@pytest.mark.parametrize(
    "change", [("over energy budget", "below budget"), ("estimated", "measured"), ("test_long", "test_slow")]
)
def test_other_words_are_not_the_same_page(change):
    assert make_start.without_numbers(PAGE.replace(*change)) != make_start.without_numbers(PAGE)


def test_other_numbers_are_the_same_page():
    other = PAGE.replace(" mJ", " µJ").replace("20 rounds", "5 rounds").replace("±", "± ").replace("---", "----")
    assert other != PAGE and make_start.without_numbers(other.replace("± ", "±")) == make_start.without_numbers(PAGE)


def test_a_line_that_is_broken_elsewhere_is_the_same():
    assert make_start.without_numbers("from 1.25\nmJ to 2 J") == make_start.without_numbers("from 3 µJ\n  to 20 mJ")


def test_a_command_that_ends_otherwise_is_told():
    step = "<!-- run: exit 3 -->\n\n```sh\npython -V\n```\n\n```text\n```\n"
    with pytest.raises(make_start.StepError, match="python -V ended with 0"):
        make_start.made(step)


def test_index_and_readme_show_the_same_commands():
    index, readme = ((path).read_text("utf-8") for path in (DOCS / "index.md", DOCS.parent / "README.md"))
    shown = re.findall(r"(?ms)^```sh\n(.*?)^```", index)
    assert len(shown) == 2 and all(f"```sh\n{block}```" in readme for block in shown)
