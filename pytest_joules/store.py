"""The history of measurements, through SQLAlchemy Core: a SQLite file by default, any other database by its URL.

One row a session, one row a test, one transaction a test, so that a killed run keeps what it had measured. Everything that
only SQLite understands is in :class:`_SQLite`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pytest_joules import __version__
from pytest_joules.model import Record, Report

# SQLAlchemy takes 170 ms to import, whichever part of it is asked for: only who opens a store pays that.
if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine, Row, Select

#: ``MIGRATIONS[k - 1]`` brings a database from schema version k to k + 1, inside a transaction that it must not end.
MIGRATIONS: list[Callable[[Connection], None]] = []

#: Entries of a record that have a column of their own, and all those that the facts need not repeat.
_COLUMNS = ("nodeid", "outcome", "source", "provenance", "resolution", "rounds", "iterations")
_NOT_FACTS = frozenset((*_COLUMNS, "energy", "duration", "power", "tsc", "domains", "samples"))


class StoreError(Exception):
    """The history cannot be opened, written or read; the message names it, the reason and what to do, never a password."""


class _SetAside(Exception):
    """The file cannot be used as it is, and ``kind`` says why: ``corrupt`` or ``newer``."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def schema_version() -> int:
    """The version of the schema that this plugin reads and writes."""
    return len(MIGRATIONS) + 1


@lru_cache(maxsize=1)
def _tables() -> SimpleNamespace:
    import sqlalchemy as sa

    metadata = sa.MetaData()
    meta = sa.Table("meta", metadata, sa.Column("key", sa.String(64), primary_key=True), sa.Column("value", sa.Text))
    sessions = sa.Table(
        "sessions",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("created", sa.String(64), nullable=False),
        sa.Column("machine_id", sa.Text, index=True),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("commit_id", sa.Text),
        sa.Column("commit_dirty", sa.Boolean),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("sources", sa.Text, nullable=False),
        sa.Column("plugin_version", sa.String(64), nullable=False),
    )
    measurements = sa.Table(
        "measurements",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("session_id", sa.ForeignKey("sessions.id"), nullable=False, index=True),
        sa.Column("nodeid", sa.Text, nullable=False, index=True),
        sa.Column("outcome", sa.String(64)),
        sa.Column("source", sa.Text),
        sa.Column("provenance", sa.String(64), nullable=False),
        sa.Column("resolution", sa.String(64)),
        sa.Column("rounds", sa.Integer, nullable=False),
        sa.Column("iterations", sa.Integer, nullable=False),
        # Joules and seconds per iteration; null where unavailable.
        sa.Column("energy_median", sa.Float),
        sa.Column("energy_low", sa.Float),
        sa.Column("energy_high", sa.Float),
        sa.Column("duration_median", sa.Float),
        sa.Column("samples", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
    )
    return SimpleNamespace(metadata=metadata, meta=meta, sessions=sessions, measurements=measurements)


def open_store(url: str | os.PathLike[str], *, write: bool = True, timeout: float = 5.0) -> Store:
    """Open the history at a database URL or a path (a SQLite file), make or migrate it where needed.

    A SQLite file that is corrupt, or of a newer schema, is renamed to ``NAME.corrupt-TIME`` or ``NAME.newer-TIME``, and a new
    one begun; ``notices`` of the store says so. With ``write=False`` nothing is made, changed or renamed. ``timeout`` is how
    many seconds to wait for another process that holds the file.

    Raises:
        StoreError: it cannot be opened, is no history, belongs to a newer plugin, or a migration failed.
    """
    place = _place(url)
    shown = _shown(place)
    is_file = place.drivername in ("sqlite", "sqlite+pysqlite") and place.database not in (None, "", ":memory:")
    lite = _SQLite(Path(str(place.database))) if is_file else None

    def attempt() -> Store:
        return _open(place, lite, shown, write=write, timeout=timeout)

    with _errors(shown):
        try:
            try:
                return attempt()
            except _SetAside as trouble:
                if lite is None or not write:
                    raise
                notice = lite.set_aside(trouble, shown, lambda: attempt().close())
                store = attempt()
                store.notices.append(notice)
                return store
        except _SetAside as trouble:
            raise StoreError(_refusal(shown, trouble)) from None


def _place(url: str | os.PathLike[str]) -> URL:
    from sqlalchemy import URL
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    text = os.fspath(url)
    if "://" not in text:
        return URL.create("sqlite", database=text)
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        raise StoreError(
            "the history's URL is not understood: it must be a path or like sqlite:///history.db or "
            "postgresql+psycopg://user@host/database"
        ) from None


def _shown(place: URL) -> str:
    """A URL for messages: no password, and no query, which may hold one."""
    if place.drivername.startswith("sqlite"):
        return place.database or "in memory"
    return place.set(query={}).render_as_string(hide_password=True)


def _refusal(shown: str, trouble: _SetAside) -> str:
    if trouble.kind == "newer":
        return f"the history {shown} is of a newer schema ({trouble}): upgrade pytest-joules to read it"
    return f"the history {shown} cannot be read ({trouble}): move it away, and the next run begins a new one"


def _open(place: URL, lite: _SQLite | None, shown: str, *, write: bool, timeout: float) -> Store:
    import sqlalchemy as sa

    try:
        engine = lite.engine(write, timeout) if lite else sa.create_engine(place)
    except (ImportError, sa.exc.NoSuchModuleError) as error:
        raise StoreError(
            f"the history {shown} needs a database driver that is not installed ({error}): "
            "for PostgreSQL, pip install 'psycopg[binary]' and write postgresql+psycopg://..."
        ) from None
    connection = None
    try:
        connection = engine.connect()
        _prepare(connection, lite, shown, write)
        return Store(engine, connection, shown)
    except BaseException as error:
        if connection is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                connection.close()
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            engine.dispose()
        if lite and isinstance(error, sa.exc.DBAPIError) and lite.is_corrupt(error):
            raise _SetAside("corrupt", str(error.orig)) from None
        raise


def _prepare(connection: Connection, lite: _SQLite | None, shown: str, write: bool) -> None:
    """Make sure that the schema is there and ours, migrating it where it is older."""
    import sqlalchemy as sa

    if lite:
        lite.check(connection)
    tables = _tables()
    with connection.begin():
        present = set(sa.inspect(connection).get_table_names())
        if "meta" not in present:
            if present:
                raise StoreError(f"{shown} is a database, but no history of pytest-joules: name another one")
            if not write:
                raise StoreError(f"{shown} holds no measurements yet: run pytest --energy first")
            tables.metadata.create_all(connection)
            connection.execute(tables.meta.insert(), {"key": "schema", "value": str(schema_version())})
            return
        found = connection.execute(sa.select(tables.meta.c.value).where(tables.meta.c.key == "schema")).scalar()
        if found is None or not found.isdigit() or not int(found):
            raise StoreError(f"{shown} is a database, but no history of pytest-joules: name another one")
        version = int(found)
        if version > schema_version():
            raise _SetAside("newer", f"version {version}, this plugin knows {schema_version()}")
        if version == schema_version():
            return
        if not write:
            raise StoreError(f"the history {shown} is of an older schema: run pytest --energy once to bring it up to date")
        try:
            for step in MIGRATIONS[version - 1 :]:
                step(connection)
        except Exception as error:
            raise StoreError(
                f"the history {shown} could not be brought from schema {version} to {schema_version()}, and was left as it "
                f"was ({_first_line(error)}): move it away to begin a new one, and please report this"
            ) from error
        connection.execute(tables.meta.update().where(tables.meta.c.key == "schema"), {"value": str(schema_version())})


@contextlib.contextmanager
def _errors(shown: str, store: Store | None = None) -> Iterator[None]:
    """Turn a driver's error into a :class:`StoreError` that says what to do."""
    import sqlalchemy as sa

    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        if store is not None:
            store.recover()
        reason = _first_line(error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig else error)
        remedy = "see whether the database is there and may be written"
        for symptom, cure in (
            ("locked", "another process holds it: wait for that run, or name another file with --energy-store"),
            ("readonly", "make the file and its folder writable, or name another with --energy-store"),
            ("unable to open", "make its folder, and make it writable, or name another with --energy-store"),
            ("full", "make room on that disk, or name another file with --energy-store"),
            ("malformed", "move the file away: the next run begins a new one"),
        ):
            if symptom in reason:
                remedy = cure
                break
        raise StoreError(f"the history {shown} failed ({reason}): {remedy}") from None
    except OSError as error:
        raise StoreError(f"the history {shown} failed ({error.strerror or error}): name another with --energy-store") from None


def _first_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    return re.sub(r"(password\s*[=:]\s*)\S+", r"\1***", text, flags=re.IGNORECASE)


class Store:
    """An open history. Use :func:`open_store`; for one thread.

    ``notices`` are sentences for the user about what opening it did.
    """

    def __init__(self, engine: Engine, connection: Connection, shown: str) -> None:
        self.notices: list[str] = []
        self._engine = engine
        self._connection = connection
        self._shown = shown
        self._session: int | None = None
        columns = [column.name for column in _tables().measurements.columns if not column.primary_key]
        compiled = _tables().measurements.insert().compile(dialect=engine.dialect, column_keys=columns)
        self._insert = str(compiled)
        self._order = compiled.positiontup

    def begin(self, report: Report) -> int:
        """Note what all tests of a session share; the measurements added from now on belong to it. Returns its number.

        Raises:
            StoreError: it cannot be written.
        """
        commit = report.commit or {}
        values = {
            "created": report.created,
            "machine_id": report.machine.get("id"),
            "machine": _json(report.machine),
            "commit_id": commit.get("id"),
            "commit_dirty": commit.get("dirty"),
            "settings": _json(report.settings),
            "sources": _json(report.sources),
            "plugin_version": __version__,
        }
        with _errors(self._shown, self), self._connection.begin():
            key = self._connection.execute(_tables().sessions.insert(), _storable(values)).inserted_primary_key
        assert key is not None
        self._session = int(key[0])
        return self._session

    def add(self, record: Record) -> None:
        """Keep a test's measurement, in a transaction of its own: once this returns, a killed run does not lose it.

        Raises:
            StoreError: it cannot be written. The store stays usable; what was kept before is still there.
        """
        if self._session is None:
            raise RuntimeError("begin() comes before add()")
        energy, duration = record["energy"] or {}, record["duration"] or {}
        low, high = energy.get("ci95") or (None, None)
        values = {
            "session_id": self._session,
            **{key: record[key] for key in _COLUMNS},
            "energy_median": _finite(energy.get("median")),
            "energy_low": _finite(low),
            "energy_high": _finite(high),
            "duration_median": _finite(duration.get("median")),
            "samples": _columnar(record["samples"]),
            "facts": _json({key: value for key, value in record.items() if key not in _NOT_FACTS and _says_something(value)}),
        }
        with _errors(self._shown, self), self._connection.begin():
            # Compiled once by SQLAlchemy for this database: half the time of compiling it for every test.
            self._connection.exec_driver_sql(self._insert, self._parameters(_storable(values)))

    def _parameters(self, values: dict[str, Any]) -> tuple[Any, ...] | dict[str, Any]:
        return tuple([values[name] for name in self._order]) if self._order is not None else values

    def history(self, nodeid: str, limit: int | None = None) -> list[dict[str, Any]]:
        """All measurements of a test, the newest first, at most ``limit`` of them.

        Each has ``session``, ``created``, ``machine_id``, ``machine``, ``commit`` (``{"id", "dirty"}`` or ``None``),
        ``settings``, ``sources``, ``plugin_version``; ``nodeid``, ``outcome``, ``source``, ``provenance``, ``resolution``,
        ``rounds``, ``iterations``; ``energy`` (``{"median", "ci95"}`` in joules, or ``None``), ``duration`` (``{"median"}`` in
        seconds, or ``None``); ``samples``: one list each for ``energy``, ``duration``, ``tsc``, and one a domain under
        ``domains``, to 9 digits; and what else the test's record said.

        Raises:
            StoreError: it cannot be read.
        """
        import sqlalchemy as sa

        tables = _tables()
        query = (
            sa.select(tables.measurements, *(column for column in tables.sessions.c if column.name != "id"))
            .join(tables.sessions, tables.sessions.c.id == tables.measurements.c.session_id)
            .where(tables.measurements.c.nodeid == _safe(nodeid))
            .order_by(tables.measurements.c.id.desc())
            .limit(limit)
        )
        return [_entry(row) for row in self._rows(query)]

    def nodeids(self, like: str = "") -> list[str]:
        """The node ids in the history that contain ``like``, sorted.

        Raises:
            StoreError: it cannot be read.
        """
        import sqlalchemy as sa

        column = _tables().measurements.c.nodeid
        query = sa.select(column).distinct()
        if like:
            query = query.where(column.contains(_safe(like), autoescape=True))
        # SQLite's LIKE does not tell the cases of ASCII letters apart.
        return sorted(row[0] for row in self._rows(query) if _safe(like) in row[0])

    def overview(self) -> list[dict[str, Any]]:
        """One entry a test, the most recently measured first: ``nodeid``, ``count``, and of its latest measurement
        ``created``, ``energy_median`` (joules or ``None``), ``provenance``.

        Raises:
            StoreError: it cannot be read.
        """
        import sqlalchemy as sa

        tables = _tables()
        measurements = tables.measurements
        latest = sa.select(sa.func.max(measurements.c.id).label("id"), sa.func.count().label("count"))
        groups = latest.group_by(measurements.c.nodeid).subquery()
        query = (
            sa.select(
                measurements.c.nodeid,
                groups.c.count.label("count"),
                tables.sessions.c.created,
                measurements.c.energy_median,
                measurements.c.provenance,
            )
            .join(groups, groups.c.id == measurements.c.id)
            .join(tables.sessions, tables.sessions.c.id == measurements.c.session_id)
            .order_by(measurements.c.id.desc())
        )
        return [dict(row._mapping) for row in self._rows(query)]

    def recover(self) -> None:
        """After an error: end the transaction, so that the next one can begin."""
        import sqlalchemy as sa

        with contextlib.suppress(sa.exc.SQLAlchemyError):
            self._connection.rollback()

    def close(self) -> None:
        """Close it; may be called twice, and never fails: all that was added is kept already."""
        import sqlalchemy as sa

        with contextlib.suppress(sa.exc.SQLAlchemyError):
            self._connection.close()
            self._engine.dispose()

    def _rows(self, query: Select[Any]) -> list[Row[Any]]:
        with _errors(self._shown, self), self._connection.begin():
            return list(self._connection.execute(query))


class _SQLite:
    """What holds for a SQLite file only: how it is opened, locked, checked and set aside."""

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
            connection = sqlite3.connect(self._uri(write), uri=True, timeout=timeout, isolation_level=None)
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
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
        return engine

    def _uri(self, write: bool) -> str:
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
        """Raises :class:`_SetAside` where the file's structure is damaged."""
        if self.path.stat().st_size <= self._QUICK_CHECK:
            with connection.begin():
                found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
            if found != "ok":
                raise _SetAside("corrupt", str(found).partition("\n")[0])

    def is_corrupt(self, error: BaseException) -> bool:
        return any(symptom in str(error) for symptom in self._CORRUPT)

    def set_aside(self, trouble: _SetAside, shown: str, again: Callable[[], None]) -> str:
        """Rename the file and what belongs to it. Returns the notice. ``again`` raises while the file is still unusable."""
        from filelock import FileLock, Timeout

        if self.path.suffix not in (".db", ".sqlite", ".sqlite3"):
            raise StoreError(f"{shown} is no history of pytest-joules ({trouble}), and was left alone: name another file")
        try:
            with FileLock(self._beside(".lock"), timeout=10):
                # Another run may have done it meanwhile; its new file must stay.
                try:
                    again()
                except _SetAside:
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


def _entry(row: Row[Any]) -> dict[str, Any]:
    values = dict(row._mapping)
    low, high, median = (values.pop(f"energy_{name}") for name in ("low", "high", "median"))
    duration = values.pop("duration_median")
    commit = {"id": values.pop("commit_id"), "dirty": values.pop("commit_dirty")}
    facts: dict[str, Any] = json.loads(values.pop("facts"))
    del values["id"]
    values["session"] = values.pop("session_id")
    values["commit"] = commit if commit["id"] is not None else None
    for key in ("machine", "settings", "sources", "samples"):
        values[key] = json.loads(values[key])
    values["energy"] = {"median": median, "ci95": [low, high] if low is not None else None} if median is not None else None
    values["duration"] = {"median": duration} if duration is not None else None
    return facts | values


def _columnar(samples: Iterable[Record]) -> str:
    """Samples as one JSON list a quantity: short, and quick to write and to read."""
    samples = list(samples)
    domains = dict.fromkeys(name for sample in samples for name in sample["domains"])
    parts = [f'"{key}":{_numbers(sample[key] for sample in samples)}' for key in ("energy", "duration", "tsc")]
    inner = ",".join(f"{json.dumps(name)}:{_numbers(sample['domains'].get(name) for sample in samples)}" for name in domains)
    return "{" + ",".join(parts) + ',"domains":{' + inner + "}}"


def _numbers(values: Iterable[float | None]) -> str:
    return "[" + ",".join("null" if value is None or not math.isfinite(value) else f"{value:.9g}" for value in values) + "]"


def _json(value: object) -> str:
    from pytest_joules.report.json_file import text

    return text(value)


def _says_something(value: object) -> bool:
    if isinstance(value, dict):
        return any(entry is not None for entry in value.values())
    return value is not None and value != []


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _storable(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _safe(value) if isinstance(value, str) else value for key, value in values.items()}


def _safe(text: str) -> str:
    """A text without lone surrogates and NUL, which databases refuse."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
