"""Where a process's tests have their temporary files."""

from __future__ import annotations

from pathlib import Path

import pytest


def keep_temporary_files_in(folder: Path, config: pytest.Config) -> None:
    """Temporary folders of tests lie in ``folder`` from now on, unless one was made already. The option ``--basetemp`` was read
    when pytest was configured, so this is the only way for a fork."""
    # Where pytest's plugin is blocked there are none.
    if (factory := getattr(config, "_tmp_path_factory", None)) is not None:
        factory._given_basetemp = folder
