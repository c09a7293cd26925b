"""An environment that is made once, and an index that is a folder: nothing is fetched."""

import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest
from collecting import files_of, needed

from pytest_joules import __version__
from pytest_joules.collect import environment, requirements, run
from pytest_joules.collect.environment import Environment, Own
from pytest_joules.collect.sandbox import Sandbox


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """An environment that sees what this one has: pytest, pytest-joules and what they need."""
    folder = tmp_path_factory.mktemp("template")
    sandbox = Sandbox(folder, time.monotonic() + 120, 1 << 30, threading.Event(), folder / "log.txt", folder / "pip-cache")
    sandbox.prepare()
    made = Environment(sandbox)
    made.create(sys.executable)
    (site,) = made.folder.glob("lib/python*/site-packages")
    # Each test copies the environment, and pip looks at all that it holds: no more than links to what is needed.
    apart = site.rename(folder / "apart")
    site.mkdir()
    for entry in [*apart.iterdir(), *needed("pytest-joules")]:
        if not (site / entry.name).is_symlink():
            (site / entry.name).symlink_to(entry)
    (site / "outer.pth").write_text(f"{Path(environment.__file__).parents[2]}\n")
    return Own("pytest-joules", __version__, {"id": "c" * 40, "dirty": False}, made.folder)


@pytest.fixture
def here(tmp_path, monkeypatch, template):
    """A folder to work in, with an index of archives in ``index``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    (tmp_path / "index").mkdir()
    (tmp_path / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {tmp_path / 'index'}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setattr(run, "make_template", lambda sandbox, python: template)
    return tmp_path


@pytest.fixture
def linked(here, monkeypatch):
    """Where a package that builds is installed without pip, which takes most of the time: for what happens afterwards."""
    by_pip = Environment.install_project

    def install_project(environment, project, extras, tests, own):
        _, version, _ = requirements.metadata(project)
        if (project / "backend.py").read_text() != files_of(version=version or "1.0")["backend.py"]:
            by_pip(environment, project, extras, tests, own)
            return
        (site,) = environment.folder.glob("lib/python*/site-packages")
        (site / "thing.pth").write_text(f"{project}\n{project / 'src'}\n")
        info = site / f"thing-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: thing\nVersion: {version}\n")
        (info / "direct_url.json").write_text(json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}}))

    monkeypatch.setattr(Environment, "install_project", install_project)
    return here
