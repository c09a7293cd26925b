"""The history of measurements, through SQLAlchemy Core: a SQLite file by default, or a PostgreSQL server for many machines.

One row a session, one row a test, one transaction a test, so that a killed run keeps what it had measured. Each test keeps what
it executed: which functions, in which version. What only one kind of database understands is in ``sqlite.py`` and
``postgresql.py``.
"""

from pytest_joules.store.address import StoreError, Unreachable
from pytest_joules.store.history import Store
from pytest_joules.store.migrations import schema_version
from pytest_joules.store.opening import open_store
from pytest_joules.store.spool import Spooled, open_for_run

__all__ = ["Spooled", "Store", "StoreError", "Unreachable", "open_for_run", "open_store", "schema_version"]
