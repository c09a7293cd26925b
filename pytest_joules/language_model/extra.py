"""What the language model needs and the plugin does not: imported here alone, and only where it is asked."""

from __future__ import annotations

import importlib
import os
import time
import warnings
from importlib.util import find_spec
from typing import Any, NamedTuple

from pytest_joules.predict.model import ModelError

_MODULES = ("torch", "transformers", "peft")


class Libraries(NamedTuple):
    """The modules; they have no types that all their versions share."""

    torch: Any
    transformers: Any
    peft: Any
    seconds: float
    """CPU time that importing them took."""


def need() -> None:
    """Raises:
    ModelError: one of them is not installed. Imports nothing.
    """
    missing = [name for name in _MODULES if find_spec(name) is None]
    if missing:
        raise ModelError(f'the language model needs {", ".join(missing)}: pip install "pytest-joules[lora]"')


def libraries() -> Libraries:
    """The modules, told to fetch nothing. Only for processes of ours: that holds for all that runs in the process.

    Raises:
        ModelError: one of them is not installed, or cannot be imported.
    """
    need()
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    begun = time.process_time()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    try:
        torch, transformers, peft = (importlib.import_module(name) for name in _MODULES)
    except (ImportError, OSError) as error:
        raise ModelError(f'the language model cannot begin ({error}): install "pytest-joules[lora]" anew') from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return Libraries(torch, transformers, peft, time.process_time() - begun)


def threads_of(jobs: int) -> int:
    """Threads to compute with; of ``jobs`` -1 half the logical processors: two threads of one core share what multiplies."""
    return jobs if jobs > 0 else max(1, (os.cpu_count() or 1) // 2)
