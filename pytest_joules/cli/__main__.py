"""``python -m pytest_joules.cli``: as ``joules``."""

from __future__ import annotations

import sys

from pytest_joules.cli import main

sys.exit(main())
