"""What holds for a SQLite file only: how it is opened, locked, checked and set aside."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pytest_joules.store.place import SetAside, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


class SQLite:
    """A SQLite file."""

    _CORRUPT = ("file is not a database", "malformed")
    _QUICK_CHECK = 16 * 2**20
    """Bytes; a larger file is not read through at every start."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def engine(self, write: bool, timeout: float) -> Engine:
        import sqlalchemy as sa

        if write:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        elif not self.path.is_file():
            raise StoreError(f"there is no history {self.path}: run pytest --energy first")
        if write and self.path.is_dir():
            raise StoreError(f"the history {self.path} is a folder: name a file")

        def connect() -> sqlite3.Connection:
            # No implicit transactions: SQLAlchemy's begin below opens them, so that a migration is one as a whole.
            connection = sqlite3.connect(self.uri(write), uri=True, timeout=timeout, isolation_level=None)
            try:
                if write:
                    self._prepare(connection, timeout)
                else:
                    connection.execute("PRAGMA query_only=ON")
            except sqlite3.Error:
                connection.close()
                raise
            return connection

        engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.StaticPool)
        # A writer takes its lock at once: a transaction that reads first could find its snapshot outdated, and fail unasked.
        begin = "BEGIN IMMEDIATE" if write else "BEGIN"
        sa.event.listen(engine, "begin", lambda connection: connection.connection.cursor().execute(begin))
        return engine

    def uri(self, write: bool) -> str:
        """To open it by."""
        uri = f"file:{quote(os.path.abspath(self.path))}"  # noqa: PTH100 - absolute() would keep ".."
        if write:
            return uri
        # Reading in WAL mode makes files beside the database (and removes them), which a read-only folder refuses.
        frozen = not os.access(self.path.parent, os.W_OK) and not self._beside("-wal").exists()
        return f"{uri}?immutable=1" if frozen else f"{uri}?mode=rw"

    @staticmethod
    def _prepare(connection: sqlite3.Connection, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                    connection.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError as error:
                # SQLite's own waiting does not cover this switch.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        # A power cut may lose the last tests, never the file; a killed process loses nothing.
        connection.execute("PRAGMA synchronous=NORMAL")

    def check(self, connection: Connection) -> None:
        """Raises :class:`SetAside` where the file's structure is damaged."""
        if self.path.stat().st_size <= self._QUICK_CHECK:
            with connection.begin():
                found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
            if found != "ok":
                raise SetAside("corrupt", str(found).partition("\n")[0])

    def is_corrupt(self, error: BaseException) -> bool:
        return any(symptom in str(error) for symptom in self._CORRUPT)

    def set_aside(self, trouble: SetAside, shown: str, again: Callable[[], None]) -> str:
        """Rename the file and what belongs to it. Returns the notice. ``again`` raises while the file is still unusable."""
        from filelock import FileLock, Timeout

        if self.path.suffix not in (".db", ".sqlite", ".sqlite3"):
            raise StoreError(f"{shown} is no history of pytest-joules ({trouble}), and was left alone: name another file")
        try:
            with FileLock(self._beside(".lock"), timeout=10):
                # Another run may have done it meanwhile; its new file must stay.
                try:
                    again()
                except SetAside:
                    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S%f")
                    aside = f".{trouble.kind}-{stamp}"
                    # The log first: a new file must never find the old one's log beside it, and take it for its own.
                    for suffix in ("-wal", "-shm", ""):
                        with contextlib.suppress(FileNotFoundError):
                            self._beside(suffix).rename(self._beside(aside + suffix))
                    what = "is of a newer schema" if trouble.kind == "newer" else "is corrupt"
                    return f"the history {shown} {what} ({trouble}): kept as {self.path.name}{aside}, a new one begun"
        except Timeout:
            raise StoreError(f"the history {shown} is being set aside by another process: try again") from None
        return f"the history {shown} was set aside by another run ({trouble})"

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)
