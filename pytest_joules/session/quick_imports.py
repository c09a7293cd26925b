"""Imports of this plugin's own modules, from their bytecode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def quick_imports(config: pytest.Config) -> Iterator[None]:
    """Import our own modules as Python does, from their bytecode.

    pytest would rewrite the assertions of every module of a plugin, at each run anew where it may not write bytecode: 0.1 s. And
    imports make objects by the ten thousand but no garbage: without the collector they take a fifth less time.
    """
    import gc
    import sys

    finders: list[object] = sys.meta_path  # type: ignore[assignment]  # pytest's hook is typed as what it does, not as a finder
    rewriting = config.pluginmanager.rewrite_hook
    place = finders.index(rewriting) if rewriting in finders else None
    collecting = gc.isenabled()
    gc.disable()
    if place is not None:
        del finders[place]
    try:
        yield
    finally:
        if place is not None:
            finders.insert(place, rewriting)
        if collecting:
            gc.enable()
