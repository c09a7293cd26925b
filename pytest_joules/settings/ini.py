"""What an ini file says, whatever its format and the version of pytest."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from pytest_joules.settings.values import NO, YES


def ini(config: pytest.Config, key: str) -> Any:  # noqa: ANN401 - whatever a file of TOML may hold
    """An ini key: TOML's own numbers, booleans and lists as they are, anything else as text; ``None`` where it is not set."""
    with warnings.catch_warnings():
        # No version of pytest has a type for all of these, and what says the value in spite of that is deprecated.
        warnings.simplefilter("ignore")
        try:
            return config.getini(key)
        except (TypeError, ValueError, pytest.UsageError):
            known = getattr(config, "inicfg", {})
            if key not in known:
                raise
            return known[key]


def flag(config: pytest.Config, key: str) -> bool:
    """An ini key that says yes or no. Raises ``pytest.UsageError`` where it says neither."""
    said = ini(config, key)
    if (text := str(said).strip().lower()) in (*YES, *NO):
        return text in YES
    raise pytest.UsageError(f"ini {key}: {said!r}: write true or false")


def says_more_than_no(config: pytest.Config, key: str) -> bool:
    """Whether an ini key is set, and not to what means no."""
    said = ini(config, key)
    return said is not None and str(said).strip().lower() not in NO
