"""What holds for a PostgreSQL server only: how it is reached, locked, and how long it is waited for."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_joules.store.address import Address, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

#: Two runs must not make or migrate the tables at once: they take this advisory lock first. Any number of our own.
_LOCK = 0x6A6F756C6573

#: How a server may ask who we are: in no way that shows it the password, or what stands for it. A project's ini file names the
#: server, and the password may be the environment's or that of ``~/.pgpass``.
_METHODS = "scram-sha-256,gss,sspi,none"
#: The first libpq that knows of this.
_KNOWS_METHODS = 160000

#: libpq drivers; others have names of their own for these settings.
_LIBPQ = ("psycopg", "psycopg2")


class PostgreSQL:
    """A PostgreSQL server. ``timeout``: seconds to wait for an answer, where neither the URL nor the environment says."""

    def __init__(self, address: Address, timeout: float) -> None:
        self.address = address
        self.timeout = timeout

    def engine(self) -> Engine:
        import sqlalchemy as sa

        settings: dict[str, object] = {}
        if self.address.url.get_driver_name() in _LIBPQ:
            settings = {
                "connect_timeout": max(2, round(self.timeout)),
                # Milliseconds after which what was sent and not acknowledged ends the connection, where the system knows that.
                "tcp_user_timeout": round(2000 * self.timeout),
                "fallback_application_name": "pytest-joules",
                # Whatever the database has: what it cannot hold, it says itself.
                "client_encoding": "utf8",
            }
            if "PGCONNECT_TIMEOUT" in os.environ:
                del settings["connect_timeout"]
            settings = {name: value for name, value in settings.items() if name not in self.address.url.query}
            if "PGREQUIREAUTH" not in os.environ:
                # Whatever the URL says: that may be the project's as well.
                settings["require_auth"] = self._methods()
        return sa.create_engine(self.address.url, poolclass=sa.pool.NullPool, connect_args=settings)

    def _methods(self) -> str:
        driver: Any = self.address.url.get_dialect().import_dbapi()
        found = driver.pq.version() if hasattr(driver, "pq") else driver.extensions.libpq_version()
        if found < _KNOWS_METHODS:
            raise StoreError(
                f"the history {self.address.shown} needs libpq 16 or later, with which no password is sent in clear (this is "
                f"{found // 10000}): pip install -U 'psycopg[binary]'; or say with PGREQUIREAUTH=password that it may be"
            )
        return _METHODS

    def connect(self, engine: Engine) -> Connection:
        """Raises :class:`StoreError` where the URL asks for what the driver does not know."""
        try:
            return engine.connect()
        except (TypeError, ValueError) as error:
            # A setting that the driver does not know.
            raise StoreError(f"the history's URL {self.address.shown} is not understood ({self.address.reason(error)})") from None

    def lock(self, connection: Connection) -> None:
        """Until the end of the transaction, no other run makes or changes tables."""
        import sqlalchemy as sa

        connection.execute(sa.select(sa.func.set_config("lock_timeout", "60s", True)))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))

    @contextlib.contextmanager
    def within(self, connection: Connection, seconds: float) -> Iterator[None]:
        """End the connection where the server has not answered after so long: a run must not wait for ever.

        Neither PostgreSQL nor libpq limits how long a client waits for a server that is stopped.
        """
        driver = connection.connection.dbapi_connection
        number = driver.fileno() if driver is not None and hasattr(driver, "fileno") else None
        if number is None:
            yield
            return
        with socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM) as line:

            def cut() -> None:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)

            timer = threading.Timer(seconds, cut)
            timer.daemon = True
            timer.start()
            try:
                yield
            finally:
                timer.cancel()
                timer.join()
