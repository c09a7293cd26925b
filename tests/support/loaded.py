"""Imported by tests that run pytest in this process: pytester forgets what such a run has imported, and each would begin anew."""

import sqlalchemy.dialects.sqlite  # noqa: F401

import pytest_joules.session.reporting
import pytest_joules.session.start
import pytest_joules.store  # noqa: F401
