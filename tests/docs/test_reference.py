"""What is said of options, fields and commands is what the code has: the pages are made from it."""

import importlib.util
import json
from pathlib import Path

import pytest

from pytest_joules.cli import command
from pytest_joules.report import csv_file

DOCS = Path(__file__).parents[2] / "docs"


def script(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = script("reference")
MADE = reference.pages()


def test_pages_are_what_the_code_says():
    stale = [path.name for path, text in MADE.items() if path.read_text("utf-8") != text]
    assert not stale, "run python docs/reference.py"


def test_every_generated_block_has_an_end():
    for path in DOCS.rglob("*.md"):
        text = path.read_text("utf-8")
        assert text.count("\n<!-- generated: ") == text.count("\n<!-- end -->"), path.name


def test_every_option_has_one_entry_with_its_key_and_default():
    text = MADE[DOCS / "reference" / "options.md"]
    options = reference._Recorded().options
    for name in options:
        option = "--energy" if name == "energy" else f"--energy-{name}"
        assert sum(text.count(f"- **`{option}{after}") for after in "`=[") == 1, option
    assert "(ini `energy_rounds`, default `auto`)" in text and "(ini `energy_threshold`, default `5%`)" in text
    assert "`energy_history_sessions`** (default `200`)" in text


def test_an_option_that_no_block_has_is_told(tmp_path, monkeypatch):
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "options.md").write_text("<!-- generated: options energy -->\n<!-- end -->\n", "utf-8")
    monkeypatch.setattr(reference, "HERE", tmp_path)
    with pytest.raises(reference.StaleError, match=r"no block .* has against, budget, "):
        reference.pages()


def test_an_option_that_is_gone_is_told(tmp_path, monkeypatch):
    (tmp_path / "options.md").write_text("<!-- generated: options watt -->\n<!-- end -->\n", "utf-8")
    monkeypatch.setattr(reference, "HERE", tmp_path)
    with pytest.raises(reference.StaleError, match="'watt', which there is not"):
        reference.pages()


def test_a_changed_page_is_stale_and_written_anew(tmp_path, monkeypatch, capsys):
    page = tmp_path / "exit-codes.md"
    page.write_text("# Codes\n\n<!-- generated: exits -->\nold\n<!-- end -->\n\nBy hand.\n", "utf-8")
    monkeypatch.setattr(reference, "HERE", tmp_path)
    monkeypatch.setattr(reference, "_Recorded", lambda: type("None_", (), {"options": {}}))
    assert reference.main(["--check"]) == 1 and "not what the code says" in capsys.readouterr().out
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    text = page.read_text("utf-8")
    assert "old" not in text and command.EXITS[130] in text and text.endswith("\n\nBy hand.\n")


def test_every_field_of_the_schema_is_explained():
    schema = json.loads((DOCS.parent / "pytest_joules" / "data" / "report.schema.json").read_text("utf-8"))
    for name, one in {"the report": schema, **schema["$defs"]}.items():
        silent = [key for key, value in one["properties"].items() if not value.get("description")]
        assert not silent, f"{name}: {silent}"


def test_every_argument_of_the_command_is_explained():
    text = MADE[DOCS / "reference" / "command.md"]
    silent = [line for line in text.split("\n") if line.startswith("- **") and "**: " not in line]
    assert not silent


def test_a_hooks_example_is_python_as_it_stands():
    text = MADE[DOCS / "reference" / "hooks.md"]
    blocks = text.split("```python\n")[1:]
    assert len(blocks) == 4
    for block in blocks:
        compile(block.partition("```")[0], "hooks.md", "exec")


def test_the_csv_has_the_columns_of_its_page():
    assert list(csv_file.COLUMNS)[:2] == ["nodeid", "outcome"] and "domain_NAME_j" in csv_file.COLUMNS
    assert all(f"| `{name}` | {text} |" in MADE[DOCS / "reference" / "csv.md"] for name, text in csv_file.COLUMNS.items())
