"""What the documents say of names is what the code has."""

import re
from pathlib import Path

from pytest_joules import __version__

ROOT = Path(__file__).parents[2]


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
