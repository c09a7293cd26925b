"""Every page is found, every link leads somewhere, every block can be used as it stands."""

import argparse
import ast
import configparser
import json
import re
import shlex
import sys
import unicodedata
from pathlib import Path

import pytest
from test_reference import reference

from pytest_joules.cli import command

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))}
_BLOCK = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def blocks(kind):
    return [
        pytest.param(text, id=f"{name}-{number}")
        for name, page in PAGES.items()
        for number, (of, text) in enumerate(_BLOCK.findall(page))
        if of == kind
    ]


def prose(page):
    return re.sub(r"`[^`\n]*`", "", _BLOCK.sub("", page))


def slugs(page, *, github):
    """The anchors of a page's headings."""
    found = []
    for title in re.findall(r"(?m)^#+ (.+)$", _BLOCK.sub("", page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").replace("*", "").strip().lower()
        if github:
            found.append(re.sub(r"[^\w\s-]", "", text).replace(" ", "-"))
        else:  # as the toc of Python-Markdown makes them
            plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
            found.append(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip()))
    return found


def links(name):
    for one in _LINK.findall(prose(PAGES[name])):
        target = one[0] or one[1]
        if not re.match(r"[a-z]+:", target):
            yield target


@pytest.mark.parametrize("name", PAGES)
def test_links_and_anchors_resolve_on_github_and_on_the_built_pages(name):
    for target in links(name):
        path, _, anchor = target.partition("#")
        found = (ROOT / name).parent / path if path else ROOT / name
        assert found.exists(), target
        if name.startswith("docs/"):
            assert found.resolve().is_relative_to(DOCS), f"{target} is not among the built pages"
        if anchor:
            page = found.read_text("utf-8")
            assert anchor in slugs(page, github=True) and anchor in slugs(page, github=False), target


def nav():
    """Pages by section."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2].split("\n"):
        if head := re.fullmatch(r"  - ([\w ]+):", line):
            section = head[1]
        elif entry := re.fullmatch(r"      - ([^:]+): (\S+\.md)", line):
            found.setdefault(section, []).append(entry[2])
        elif line.strip() and line[0] != " ":
            break
    return found


def test_every_page_is_in_the_navigation_once_and_two_steps_away():
    listed = [page for pages in nav().values() for page in pages]
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    assert list(nav()) == ["Start", "How to", "Reference", "Why", "Project"]


def test_every_page_is_reached_in_two_steps_on_github_too():
    def reached(name):
        return {((ROOT / name).parent / target.partition("#")[0]).resolve() for target in links(name) if target[0] != "#"}

    first = reached("README.md")
    second = {
        page
        for path in first
        if path.suffix == ".md" and path.is_relative_to(DOCS)
        for page in reached(path.relative_to(ROOT).as_posix())
    }
    # The changelog itself is in the README; what stands among the pages is its copy.
    assert {path.resolve() for path in DOCS.rglob("*.md")} - {DOCS / "changes.md"} <= first | second


def test_nothing_is_fetched_from_elsewhere():
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert "highlightjs: false" in text and not re.search(r"https?://", text)


def commands():
    """Command lines that begin with pytest or joules, comments left out."""
    for name, page in PAGES.items():
        for number, (kind, text) in enumerate(_BLOCK.findall(page)):
            if kind == "sh":
                for line in text.split("\n"):
                    if re.match(r"(pytest|joules)\b", line):
                        yield pytest.param(shlex.split(line, comments=True), id=f"{name}-{number}-{line[:40]}")


OPTIONS = {"--energy" if name == "energy" else f"--energy-{name}" for name in reference._Recorded().options}
#: Of pytest itself and of xdist.
OTHERS = {"-n", "-q", "--junitxml"}


def subcommands():
    return next(action.choices for action in command._parser()._actions if isinstance(action, argparse._SubParsersAction))


@pytest.mark.parametrize("words", list(commands()))
def test_commands_have_only_options_that_exist(words):
    program, *rest = words
    given = {word.partition("=")[0] for word in rest if word.startswith("-")}
    if program == "pytest":
        assert given <= OPTIONS | OTHERS
    else:
        parser = subcommands()[rest[0]]
        assert given <= {option for action in parser._actions for option in action.option_strings}


def test_a_mistyped_option_would_be_found():
    assert "--energy-jsn" not in OPTIONS and "--energy-json" in OPTIONS


@pytest.mark.parametrize("text", blocks("python"))
def test_python_compiles(text):
    ast.parse(text)


PARSERS = {
    "json": json.loads,
    "toml": tomllib.loads,
    "ini": lambda text: configparser.ConfigParser(interpolation=None).read_string(text),
}


@pytest.mark.parametrize(("kind", "text"), [(kind, *block.values) for kind in PARSERS for block in blocks(kind)])
def test_data_parses(kind, text):
    PARSERS[kind](text)


@pytest.mark.parametrize("text", blocks("ini") + blocks("toml"))
def test_ini_keys_exist(text):
    keys = set(re.findall(r"(?m)^(energy\w*) *=", text))
    assert keys <= set(reference._Recorded().keys)


def test_every_block_says_what_it_is():
    for name, page in PAGES.items():
        assert "" not in [kind for kind, _ in _BLOCK.findall(page)], name


def test_tables_have_no_escaped_pipes():
    for name, page in PAGES.items():
        assert "\\|" not in page, name
