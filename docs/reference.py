"""Fill in what the reference pages take from the code: options, markers, hooks, the command, report fields, exit codes, changes.

    python docs/reference.py            # write the pages anew
    python docs/reference.py --check    # exit 1 where a page is not what the code says

A page says where: what stands between ``<!-- generated: NAME ARGUMENTS -->`` and ``<!-- end -->`` is made here, all else by hand.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pytest_joules import data, hookspecs, plugin
from pytest_joules.cli import command
from pytest_joules.report import csv_file
from pytest_joules.settings.options import Settings

HERE = Path(__file__).resolve().parent
_BLOCK = re.compile(r"(?ms)^<!-- generated: ([^\n]+) -->\n.*?^<!-- end -->$")


class StaleError(Exception):
    """A page asks for what the code has not got, or lacks what it has."""


def filled(text: str, make: Callable[[list[str]], str]) -> str:
    """The page with each block as ``make`` makes it from the words of its head."""
    return _BLOCK.sub(lambda found: f"<!-- generated: {found[1]} -->\n\n{make(found[1].split())}\n\n<!-- end -->", text)


def pages() -> dict[Path, str]:
    """Every page that has blocks, as it should be.

    Raises:
        StaleError: an option is in no block or in two, or a block names what is not there.
    """
    found: dict[Path, str] = {}
    told: list[str] = []
    for path in sorted(HERE.rglob("*.md")):
        if _BLOCK.search(text := path.read_text("utf-8")):
            found[path] = filled(text, lambda words: _MAKERS[words[0]](words[1:], told))
    if missing := set(_Recorded().options) - set(told):
        raise StaleError(f"no block of docs/reference/options.md has {', '.join(sorted(missing))}")
    return found


# Options of pytest


class _Recorded:
    """Stands in for pytest's parser: what the plugin asks it for, in this order."""

    def __init__(self) -> None:
        self.options: dict[str, dict[str, Any]] = {}
        """By name without ``--energy-``; ``energy`` itself by its own."""
        self.keys: dict[str, str] = {}
        """What each ini key is, in one sentence."""
        plugin.pytest_addoption(self, None)  # type: ignore[arg-type]  # it takes what pytest gives it, and this stands in for that

    def getgroup(self, *_: str) -> _Recorded:
        return self

    def addoption(self, name: str, **about: Any) -> None:  # noqa: ANN401 - whatever pytest takes
        self.options[name.removeprefix("--energy-").removeprefix("--")] = about

    def addini(self, key: str, text: str, **_: object) -> None:
        self.keys[key] = text


def _default(key: str) -> str | None:
    """What holds where nobody says, as one would write it; ``None``: nothing does."""
    settings = Settings()
    record = settings.as_record() | {"top": settings.top, "history_sessions": settings.history_sessions}
    value = record.get(key)
    if value is None or isinstance(value, dict):
        return None
    if key.endswith("threshold"):
        return f"{100 * value:g}%"
    if isinstance(value, bool):
        return "true" if value else None
    return ",".join(value) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)


def _options(words: list[str], told: list[str]) -> str:
    """The options named; ``*``: all that no block before has."""
    parser = _Recorded()
    options, keys = parser.options, parser.keys
    names = [name for word in words for name in ([one for one in options if one not in told] if word == "*" else [word])]
    lines = []
    for name in dict.fromkeys(names):
        if name not in options:
            raise StaleError(f"docs/reference/options.md asks for an option {name!r}, which there is not")
        if name in told:
            continue
        told.append(name)
        attributes = options[name]
        written = "--energy" if name == "energy" else f"--energy-{name}"
        if metavar := attributes.get("metavar"):
            written += f"[={metavar}]" if attributes.get("nargs") == "?" else f"={metavar}"
        key = "energy" if name == "energy" else "energy_budgets" if name == "budget" else f"energy_{name.replace('-', '_')}"
        about = [f"ini `{key}`" if key in keys else "no ini key"]
        if (default := _default(key.removeprefix("energy_"))) is not None:
            about.append(f"default `{default}`")
        lines.append(f"- **`{written}`** ({', '.join(about)}): {_sentence(attributes['help'].replace('%%', '%'), default)}")
    return "\n".join(lines)


def _ini(_: list[str], __: list[str]) -> str:
    """Keys that no option has."""
    parser = _Recorded()
    with_option = {f"energy_{name.replace('-', '_')}" for name in parser.options} | {"energy", "energy_budgets"}
    return "\n".join(
        f"- **`{key}`** (default `{_default(key.removeprefix('energy_'))}`): {_sentence(text, '')}"
        for key, text in parser.keys.items()
        if key not in with_option
    )


def _sentence(text: str, default: str | None) -> str:
    """A help text, without the default where that is said beside it."""
    if default is not None:
        text = re.sub(r" ?\(default:? [^()]*\)$", "", re.sub(r"\(default:? [^();]*; ", "(", text))
    return _code(text)


# Markers and the fixture


def _markers(_: list[str], __: list[str]) -> str:
    parts = []
    for line in plugin.MARKERS:
        signature, text = line.split(": ", 1)
        parts.append(f"### `@pytest.mark.{signature}`\n\n{_code(f'{text[:1].upper()}{text[1:]}')}")
    return "\n\n".join(parts)


def _fixture(_: list[str], __: list[str]) -> str:
    calls = [(name, one) for name, one in vars(plugin.NoEnergy).items() if inspect.isfunction(one)]
    return "\n".join(
        f"- **`energy.{name}{_signature(one)}`**: {' '.join(_rst(inspect.getdoc(one) or '').split())}" for name, one in calls
    )


def _signature(function: Callable[..., object]) -> str:
    parameters = [one.replace(annotation=inspect.Parameter.empty) for one in inspect.signature(function).parameters.values()]
    return f"({', '.join(str(one) for one in parameters if one.name != 'self')})"


# Hooks


def _hooks(_: list[str], __: list[str]) -> str:
    hooks = [(name, one) for name, one in vars(hookspecs).items() if name.startswith("pytest_joules_")]
    return "\n\n".join(f"## `{name}{_signature(one)}`\n\n{_rst(inspect.getdoc(one) or '')}" for name, one in hooks)


def _rst(text: str) -> str:
    """A docstring as Markdown: what is indented after ``::`` is Python."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    code = re.compile(r"(?ms)^([^\n]*):: *\n\n((?:    [^\n]*(?:\n|\Z)|\n)+)")
    return code.sub(
        lambda found: f"{f'{found[1]}:' if found[1] else ''}\n\n```python\n{textwrap.dedent(found[2]).strip()}\n```\n", text
    ).strip()


def _code(text: str) -> str:
    """Options and keywords in a sentence as code."""
    return re.sub(r"(?<![\w`'-])(--[a-z][a-z-]*|\w+=(?:'[^']*'|[\w.]+))(?![\w`])", r"`\1`", text)


# The command


def _command(_: list[str], __: list[str]) -> str:
    parser = command._parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    short = {action.dest: action.help or "" for action in commands._choices_actions}
    return "\n\n".join(_subcommand(name, short[name], one) for name, one in commands.choices.items())


def _subcommand(name: str, short: str, parser: argparse.ArgumentParser) -> str:
    plain, options = [], []
    formatter = argparse.HelpFormatter(parser.prog)
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        about = _code(formatter._expand_help(action)) if action.help else ""
        values = action.metavar or ("|".join(map(str, action.choices)) if action.choices else "")
        if action.option_strings:
            written = action.option_strings[-1] + (f"[={values}]" if action.nargs == "?" else f"={values}" if values else "")
            options.append(f"- **`{written}`**: {about}" if about else f"- **`{written}`**")
        else:
            some = {"*": f"[{values} ...]", "?": f"[{values}]", "+": f"{values} ..."}
            plain.append((some.get(str(action.nargs), str(values)), about))
    line = " ".join([f"joules {name}", *(word for word, _ in plain), *(["[option ...]"] if options else [])])
    text = _code(parser.description or f"{short[:1].upper()}{short[1:]}.")
    arguments = [f"- **`{word.strip('[]')}`**: {about}" for word, about in plain if about]
    listed = "\n".join([*arguments, *options])
    return f"## `joules {name}`\n\n{text}\n\n```text\n{line}\n```" + (f"\n\n{listed}" if listed else "")


def _exits(_: list[str], __: list[str]) -> str:
    return _table(("code", "when"), ((f"{code}", text) for code, text in command.EXITS.items()))


# Reports


def _schema(_: list[str], __: list[str]) -> str:
    schema = json.loads((Path(str(data.__path__[0])) / "report.schema.json").read_text("utf-8"))
    parts = [_fields("The report", "", schema)]
    parts += [_fields(f"`{name}`", name, schema["$defs"][name]) for name in _in_order(schema)]
    return "\n\n".join(parts)


def _in_order(schema: dict[str, Any]) -> list[str]:
    """The definitions, those first that are named first."""
    found: list[str] = []
    waiting = [schema]
    for one in waiting:  # grows
        for name in re.findall(r"#/\$defs/(\w+)", json.dumps(one["properties"])):
            if name not in found:
                found.append(name)
                waiting.append(schema["$defs"][name])
    return found


def _fields(title: str, name: str, schema: dict[str, Any]) -> str:
    needed = schema.get("required", [])
    rows = (
        (f"`{key}`" + ("" if key in needed else " (optional)"), _type(one), one.get("description", ""))
        for key, one in schema["properties"].items()
    )
    heading = f"## {title}" if not name else f"### {title}"
    said = f"\n\n{schema['description']}" if schema.get("description") else ""
    return f"{heading}{said}\n\n{_table(('field', 'form', 'meaning'), rows)}"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})"
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join("null" if one is None else f"`{one}`" for one in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return " or ".join(_form(one, schema) for one in types)


def _form(kind: str, schema: dict[str, Any]) -> str:
    words = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    inside = schema.get("items") if kind == "array" else schema.get("additionalProperties") if kind == "object" else None
    if kind == "array":
        return f"list of {_type(inside)}" if isinstance(inside, dict) else "list"
    if kind == "object":
        return f"by name: {_type(inside)}" if isinstance(inside, dict) else "object"
    if kind == "string" and schema.get("format") == "date-time":
        return "date and time"
    return words.get(kind, kind)


def _csv(_: list[str], __: list[str]) -> str:
    return _table(("column", "meaning"), ((f"`{name}`", text) for name, text in csv_file.COLUMNS.items()))


def _changes(_: list[str], __: list[str]) -> str:
    """The changelog, without its title and remarks."""
    text = (HERE.parent / "CHANGELOG.md").read_text("utf-8").partition("\n## ")
    return f"## {text[2].strip()}"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


_MAKERS: dict[str, Callable[[list[str], list[str]], str]] = {
    "options": _options,
    "ini": _ini,
    "markers": _markers,
    "fixture": _fixture,
    "hooks": _hooks,
    "command": _command,
    "exits": _exits,
    "schema": _schema,
    "csv": _csv,
    "changes": _changes,
}


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    if arguments and not check:
        print(__doc__)
        return 2
    try:
        made = pages()
    except StaleError as error:
        print(f"docs/reference.py: {error}", file=sys.stderr)
        return 1
    stale = [path for path, text in made.items() if path.read_text("utf-8") != text]
    for path in stale:
        print(
            f"{path.relative_to(HERE.parent)}: "
            + ("not what the code says: run python docs/reference.py" if check else "written")
        )
        if not check:
            path.write_text(made[path], "utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
