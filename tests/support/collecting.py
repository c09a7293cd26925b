"""Packages that build without anything, for ``joules collect``: their folders and their source distributions."""

import io
import json
import tarfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

#: Builds without anything: a wheel whose one file leads to the project (PEP 660), or that holds the module (PEP 517).
BACKEND = """
import os, pathlib, zipfile

def _wheel(folder, name, content):
    file = f"NAME-VERSION-py3-none-any.whl"
    info = "NAME-VERSION.dist-info"
    with zipfile.ZipFile(os.path.join(folder, file), "w") as wheel:
        wheel.writestr(name, content)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: NAME\\nVersion: VERSION\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return file

def build_editable(folder, settings=None, metadata=None):
    return _wheel(folder, "NAME.pth", os.getcwd())

def build_wheel(folder, settings=None, metadata=None):
    return _wheel(folder, "thing.py", pathlib.Path("thing.py").read_text())
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "NAME"
version = "VERSION"
"""
MODULE = "def total(n):\n    return sum(range(n))\n"
TESTS = """
import pytest
from thing import total

@pytest.mark.parametrize("n", [1, 10, 100])
def test_total(n):
    assert total(n) == n * (n - 1) // 2

def test_wrong():
    assert total(2) == 5
"""


def files_of(name="thing", version="1.0", **changed):
    files = {"pyproject.toml": PYPROJECT, "backend.py": BACKEND, "thing.py": MODULE, "tests/test_thing.py": TESTS}
    files["PKG-INFO"] = "Metadata-Version: 2.1\nName: NAME\nVersion: VERSION\n"
    files |= {path if "." in path else path.replace("__", "/") + ".py": text for path, text in changed.items()}
    return {path: text.replace("NAME", name).replace("VERSION", version) for path, text in files.items() if text is not None}


def needed(root):
    """Files and folders of a distribution and of those that it requires."""
    names, found = [root], {}
    for name in names:  # which grows
        distribution = metadata.distribution(name)
        for file in distribution.files or ():
            if file.parts[0] not in ("..", "__pycache__"):
                found[file.parts[0]] = Path(distribution.locate_file(file.parts[0]))
        for requirement in map(Requirement, distribution.requires or ()):
            asked = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if asked and requirement.name not in names:
                names.append(requirement.name)
    return list(found.values())


def folder(path, **options):
    for name, text in files_of(**options).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def sdist(path, name="thing", version="1.0", **options):
    with tarfile.open(path / f"{name}-{version}.tar.gz", "w:gz") as tar:
        for file, text in files_of(name, version, **options).items():
            info = tarfile.TarInfo(f"{name}-{version}/{file}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
