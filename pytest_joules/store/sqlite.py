"""What holds for a SQLite file only: how it is opened, locked, checked and set aside."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from pytest_joules.store.address import SetAside, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


#: What stands in the header of our files: "joul".
APPLICATION = 0x6A6F756C

_MAGIC = b"SQLite format 3\0"
#: Bytes of a file, and of its log, in which our tables are found where no table can be read.
_BEGINNING = 2**20
#: Of the statements that made our tables, in every version of the schema.
_OURS = (b"CREATE TABLE meta (", b"CREATE TABLE sessions (", b"CREATE TABLE measurements (")
#: Bytes of one cell; the largest that a run writes are some MB.
_MOST_BYTES = 64 * 2**20

#: Files that were ours when this process first opened them, by device and inode. They are not looked into again: to close a file
#: gives up the locks that this process has on it by SQLite's hand.
_recognised: set[tuple[int, int]] = set()


def as_text(content: bytes) -> str:
    """A cell of a damaged file need not be UTF-8: what it is of costs that row, not the whole question."""
    return content.decode("utf-8", "replace")


class SQLite:
    """A SQLite file."""

    _CORRUPT = ("file is not a database", "malformed")
    _QUICK_CHECK = 16 * 2**20
    """Bytes; a larger file is not read through at every start."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def engine(self, write: bool, timeout: float) -> Engine:
        """Raises :class:`StoreError` where it is no file of ours; that is as it was."""
        import sqlalchemy as sa

        if not write and not os.path.lexists(self.path):
            raise StoreError(f"there is no history {self.path}: run pytest --energy first")
        new = self.recognise()
        if write and new:
            self.path.parent.mkdir(parents=True, exist_ok=True)

        def connect() -> sqlite3.Connection:
            # No implicit transactions: SQLAlchemy's begin below opens them, so that a migration is one as a whole.
            connection = sqlite3.connect(self.uri(write), uri=True, timeout=timeout, isolation_level=None)
            connection.text_factory = as_text
            if hasattr(connection, "setlimit"):  # from Python 3.11 on
                connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
            if write and new:
                # Room that is made is given back in steps. Only a file without tables can be made so.
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            elif not write:
                connection.execute("PRAGMA query_only=ON")
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

    def recognise(self) -> bool:
        """Whether there is nothing yet: no file, an empty one, a database without tables. What is ours is recognised without a
        byte of it, or a file beside it, being written.

        Raises:
            StoreError: it is somebody else's.
            SetAside: it was ours.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            if self.path.is_symlink():
                raise StoreError(f"the history {self.path} is a link to what is not there: name another file") from None
            return True
        if not stat.S_ISREG(found.st_mode):
            kind = "folder" if stat.S_ISDIR(found.st_mode) else "pipe or device"
            raise StoreError(f"the history {self.path} is a {kind}: name a file")
        if (found.st_dev, found.st_ino) in _recognised:
            return False
        head = self._beginning("", 100)
        if not head and not self._beginning("-wal", 1):
            return True
        if not head.startswith(_MAGIC):
            if self._in_cache:
                raise SetAside("corrupt", "file is not a database")
            raise StoreError(f"{self.path} is no history of pytest-joules, and was left as it is: name another file")
        if int.from_bytes(head[68:72], "big") != APPLICATION and not self._has_our_tables():
            if self._has_no_tables(head):
                return True
            raise StoreError(
                f"{self.path} is a database, but no history of pytest-joules, and was left as it is: name another one"
            )
        _recognised.add((found.st_dev, found.st_ino))
        return False

    @property
    def _in_cache(self) -> bool:
        """Pytest's cache is ours to mend, nobody else's file."""
        return self.path.parent.parts[-2:] == ("d", "joules")

    def _has_our_tables(self) -> bool:
        """Of what older versions wrote; damaged, or with its first tables in the log still, it is known by the text of these."""
        others = "" if self._in_cache else " AND (SELECT count(*) FROM sessions) >= 0"
        if self._ask(f"SELECT value FROM meta WHERE key = 'schema'{others}").isdigit():
            return True
        beginning = self._beginning("", _BEGINNING) + self._beginning("-wal", _BEGINNING)
        return all(statement in beginning for statement in _OURS)

    def _has_no_tables(self, head: bytes) -> bool:
        if any(head[60:64] + head[68:72]) or self._beginning("-wal", 1):
            return False  # somebody has numbered it, or has something in the log
        return self._ask("SELECT count(*) FROM sqlite_master") == "0"

    def _ask(self, query: str) -> str:
        """A value of the file alone, without its log; empty where there is none."""
        uri = f"file:{quote(os.path.abspath(self.path))}?immutable=1"  # noqa: PTH100 - as above
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            found = connection.execute(query).fetchone()
            return str(found[0]) if found is not None else ""
        return ""

    def _beginning(self, suffix: str, size: int) -> bytes:
        """The first bytes of the file, or of one that belongs to it."""
        path = self._beside(suffix)
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(size)

    def settle(self, connection: Connection, timeout: float) -> None:
        """A file that is ours and has its tables: for writing."""
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        if driver.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
            driver.execute(f"PRAGMA application_id={APPLICATION}")
        deadline = time.monotonic() + timeout
        while True:
            try:
                if driver.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                    driver.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError as error:
                # SQLite's own waiting does not cover this switch.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        # A power cut may lose the last tests, never the file; a killed process loses nothing.
        driver.execute("PRAGMA synchronous=NORMAL")
        found = self.path.stat()
        _recognised.add((found.st_dev, found.st_ino))

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


def give_back(connection: sqlite3.Connection, goes_on: Callable[[], bool] | None) -> None:
    """Pages that nothing stands on any more, to the disk: while ``goes_on`` says so and there are many, or (``None``) all."""
    free, pages = (int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("freelist_count", "page_count"))
    if goes_on is None:
        if 10 * free > pages:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # from now on: older files do not have it
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return
    if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != 2:
        return  # the next measurements stand there
    while 4 * free > pages and goes_on():
        connection.execute("PRAGMA incremental_vacuum(200)").fetchall()
        free, pages = free - 200, pages - 200
