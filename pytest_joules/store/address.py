"""Where a history is: its URL, its name in messages, and errors that say what to do and never what is secret."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

# SQLAlchemy takes 170 ms to import, whichever part of it is asked for: only who opens a store pays that.
if TYPE_CHECKING:
    from sqlalchemy import URL

#: What is wrong, by words of the driver's message, and the remedy.
_REMEDIES = (
    ("locked", "another process holds it: wait for that run, or name another file with --energy-store"),
    ("readonly", "make the file and its folder writable, or name another with --energy-store"),
    ("unable to open", "make its folder, and make it writable, or name another with --energy-store"),
    ("full", "make room on that disk, or name another file with --energy-store"),
    ("malformed", "move the file away: the next run begins a new one"),
    (
        "method requirement",
        "let the server ask by scram-sha-256; where you trust it with the password, set PGREQUIREAUTH=password or md5",
    ),
    ("password", "mend the user and the password in the URL, or set PGPASSWORD"),
    ("authentication", "mend the user and the password in the URL, or set PGPASSWORD"),
    ("role", "mend the user in the URL, or make it on the server"),
    ("does not exist", "make the database, or name another one with --energy-store"),
    ("encoding", "make the database with ENCODING 'UTF8'"),
    ("permission denied", "let that user make tables there and write to them"),
)

#: Words of a server that was reached and refuses for good, in what libpq says of a connection that failed.
_REFUSED = ("password", "authentication", "does not exist", "pg_hba.conf", "permission denied", "invalid ")

_SECRET = re.compile(r"pass|secret|token|key", re.IGNORECASE)


class StoreError(Exception):
    """The history cannot be opened, written or read; the message names it, the reason and what to do, never a password."""


class SetAside(Exception):
    """The history cannot be used as it is, and ``kind`` says why: ``corrupt`` or ``newer``."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Unreachable(StoreError):
    """The server does not answer; it may do so later."""


class Address:
    """A URL, or a path to a SQLite file.

    Raises:
        StoreError: it is not understood.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.text = os.fspath(url)
        """As it was given: secret."""
        self.url = _parse(self.text)
        self.lite = self.url.get_backend_name() == "sqlite"
        self.shown = self._shown()
        """For messages: no password, and no query, which may hold one."""

    @property
    def is_file(self) -> bool:
        return self.url.drivername in ("sqlite", "sqlite+pysqlite") and self.url.database not in (None, "", ":memory:")

    def _shown(self) -> str:
        if self.lite:
            return self.url.database or "in memory"
        return self.url.set(query={}).render_as_string(hide_password=True)

    def key(self) -> str:
        """The same for the same database, whoever asks for it: made of the host, the port and the name, of nothing secret."""
        facts = [self.url.get_backend_name()]
        for given, name, variable in (
            (self.url.host, "host", "PGHOST"),
            (self.url.port, "port", "PGPORT"),
            (self.url.database, "dbname", "PGDATABASE"),
            (None, "service", "PGSERVICE"),
        ):
            facts.append(str(given or self.url.query.get(name) or os.environ.get(variable, "")))
        return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]

    def scrub(self, text: str) -> str:
        """A driver's message without what is secret in the URL or the environment."""
        text = re.sub(r"(password\s*[=:]\s*)\S+", r"\1***", text, flags=re.IGNORECASE)
        secrets = [str(self.url.password or ""), os.environ.get("PGPASSWORD", "")]
        for name, value in self.url.query.items():
            if _SECRET.search(name):
                secrets += [value] if isinstance(value, str) else value
        for secret in secrets:
            for form in {secret, quote(secret, safe=""), quote_plus(secret)} - {""}:
                text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", "***", text)
        return text

    def reason(self, error: BaseException) -> str:
        """The driver's message on one line."""
        import sqlalchemy as sa

        origin = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig else error
        lines = [line.strip() for line in str(origin).splitlines() if line.strip()]
        text = lines[0] if lines else type(origin).__name__
        # libpq tries every address of a host, one line each.
        if text.startswith("connection failed") and text.endswith(":") and len(lines) > 1:
            text = f"{text} {lines[1]}"
        return self.scrub(text)

    def failure(self, error: BaseException) -> StoreError:
        """What to tell of a driver's error."""
        reason = self.reason(error)
        if not self.lite and _may_pass(error):
            return Unreachable(
                f"the history {self.shown} does not answer ({reason}): see whether the server runs and can be reached from here"
            )
        remedy = "see whether the database is there and may be written"
        remedy = next((cure for symptom, cure in _REMEDIES if symptom in reason), remedy)
        return StoreError(f"the history {self.shown} failed ({reason}): {remedy}")

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn a driver's error into a :class:`StoreError` that says what to do."""
        import sqlalchemy as sa

        try:
            yield
        except (StoreError, SetAside):
            raise
        except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
            raise self.failure(error) from None
        except UnicodeError as error:
            reason = self.scrub(str(error))
            raise StoreError(f"the history {self.shown} cannot hold a name ({reason}): make it in UTF-8") from None
        except OSError as error:
            reason = self.scrub(error.strerror or str(error))
            raise StoreError(f"the history {self.shown} failed ({reason}): name another with --energy-store") from None
        except Exception as error:
            if _is_drivers(error):
                raise self.failure(error) from error
            reason = self.scrub(f"{type(error).__name__}: {error}")
            raise StoreError(f"the history {self.shown} failed ({reason}): please report this") from error


def _is_drivers(error: BaseException) -> bool:
    """Whether a driver raised it, by the names that PEP 249 prescribes.

    SQLAlchemy wraps the classes of the driver that it imported; after a second import of the driver these are others.
    """
    return any(kind.__name__ == "Error" for kind in type(error).__mro__)


def _may_pass(error: BaseException) -> bool:
    """Whether the server was not reached, or was about to stop or start, rather than refused."""
    import sqlalchemy as sa

    origin = error
    if isinstance(error, sa.exc.DBAPIError):
        if error.connection_invalidated:
            return True
        origin = error.orig or error
    state = getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None)
    if state is None:
        # Not from the server; or from it while connecting, where libpq hands on words only.
        operational = any(kind.__name__ == "OperationalError" for kind in type(origin).__mro__)
        return operational and not any(word in str(origin) for word in _REFUSED)
    # Connection exceptions, operator intervention, too many clients, a lock not had in time (PostgreSQL, appendix A).
    return state[:2] in ("08", "57") or state in ("53300", "55P03", "40P01")


def _parse(text: str) -> URL:
    from sqlalchemy import URL
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    if "://" not in text and not re.match(r"(sqlite|postgres(ql)?)(\+\w+)?:", text):
        return URL.create("sqlite", database=text)
    try:
        url = make_url(text)
        # "a:b@c@host": what the parser takes for the host holds a part of the password.
        if url.get_backend_name() != "sqlite" and text.partition("?")[0].count("@") > 1:
            raise StoreError("the history's URL has more than one @: in a user name or a password, write %40 for it")
    except (ArgumentError, ValueError):
        raise StoreError(
            "the history's URL is not understood: it must be a path or like sqlite:///history.db or "
            "postgresql+psycopg://user@host/database"
        ) from None
    return url
