"""Sources that read a tree of zones."""

from __future__ import annotations

from pathlib import Path

import pytest
from powercap import make_tree

from pytest_joules.sources.rapl import Rapl

LAPTOP = {"package-0": ["core", "uncore", "dram"], "psys": []}


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "powercap", {"package-0": ["core", "dram"]})


@pytest.fixture
def source(tree):
    source = Rapl(tree.root)
    source.open()
    yield source
    source.close()


def opened(root: Path) -> Rapl:
    source = Rapl(root)
    source.open()
    return source


def names(source: Rapl) -> list[str]:
    return [domain.name for domain in source.domains]


def total(source: Rapl) -> list[str]:
    return [domain.name for domain in source.domains if domain.counts]
