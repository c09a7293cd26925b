"""What the documents say of names is what the code has."""

import argparse
import re
from pathlib import Path

import pytest

from pytest_joules import __version__, plugin
from pytest_joules.cli import command

ROOT = Path(__file__).parents[2]
OPTIONS = (ROOT / "docs" / "options.md").read_text("utf-8")


def section(title: str) -> str:
    return OPTIONS.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def subcommands() -> dict[str, argparse.ArgumentParser]:
    parser = command._parser()
    return next(action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))


def documented() -> dict[str, set[str]]:
    """Options by subcommand, of the table that says which one is of which."""
    found: dict[str, set[str]] = {}
    of: list[str] = []
    for cell, option in re.findall(r"^\| ([a-z, ]*)\| `(--[a-z-]+)[^`]*` \|", section("The command `joules`"), re.MULTILINE):
        of = cell.strip().split(", ") if cell.strip() else of
        for name in of:
            found.setdefault(name, set()).add(option)
    return found


def test_every_subcommand_is_documented_with_its_arguments():
    written = dict(re.findall(r"^\| `joules (\w+)([^`]*)` \|", section("The command `joules`"), re.MULTILINE))
    assert set(written) == set(subcommands())
    for name, parser in subcommands().items():
        arguments = [action.metavar for action in parser._actions if not action.option_strings]
        assert re.findall(r"[A-Z]+", written[name]) == arguments, name


def test_every_option_of_the_command_is_documented_and_no_other():
    has = {
        name: {option for action in parser._actions for option in action.option_strings if option.startswith("--")} - {"--help"}
        for name, parser in subcommands().items()
    }
    assert documented() == {name: options for name, options in has.items() if options}


def test_every_option_of_pytest_is_documented_and_no_other():
    parser = pytest.Parser(_ispytest=True)
    plugin.pytest_addoption(parser, None)
    (group,) = (group for group in parser._groups if group.name == "energy")
    has = {option for one in group.options for option in one.names()}
    written = set(re.findall(r"^\| `(--energy[a-z-]*)[^`]*` \|", section("Options and ini keys"), re.MULTILINE))
    assert written == has


def test_tables_have_no_escaped_pipes():
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert "\\|" not in path.read_text("utf-8"), path.name


def test_every_room_has_its_line_in_the_architecture():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8").partition("## One line a room")[2].partition("\n## ")[0]
    written = [
        name for cell in re.findall(r"^\| (`.*`) \| \S.*\|$", text, re.MULTILINE) for name in re.findall(r"`([^`]+)`", cell)
    ]
    package = ROOT / "pytest_joules"
    there = [f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()]
    there += [path.name for path in package.glob("*.py") if path.name != "__init__.py"]
    assert sorted(written) == sorted(there)


def test_the_citation_has_the_packages_version():
    lines = (ROOT / "CITATION.cff").read_text("utf-8").splitlines()
    fields = dict(line.split(": ", 1) for line in lines if re.match(r"[a-z-]+: ", line))
    assert fields["cff-version"] == "1.2.0" and fields["version"] == __version__
    assert {"title", "message"} <= set(fields) and "authors:" in lines
