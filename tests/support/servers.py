"""A PostgreSQL server of its own for tests: in a temporary folder, on loopback, stopped at the end."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PASSWORD = "s3cr3t w@rd/:%?"
QUOTED = "s3cr3t%20w%40rd%2F%3A%25%3F"


class Server:
    """A cluster; each test takes a database of its own from it."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs = programs
        self.folder = folder
        self.data = folder / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._made = 0
        # PostgreSQL refuses to run as root.
        self._as: list[str] = []
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            shutil.chown(folder, "postgres", "postgres")
        word = folder / "password"
        word.write_text(PASSWORD)
        word.chmod(0o644)
        self._run(
            "initdb", "-D", self.data, "-U", "anna", "-A", "scram-sha-256", f"--pwfile={word}", "-E", "UTF8", "--no-locale", "-N"
        )
        self.start()

    def _run(self, program: str, *args: str | Path) -> None:
        command = [*self._as, str(self.programs / program), *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd="/")
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c shared_buffers=16MB"
        self._run("pg_ctl", "start", "-w", "-t", "60", "-D", self.data, "-l", self.folder / "log", "-o", options)

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "stop", "-w", "-t", "60", "-D", self.data, "-m", mode)

    @property
    def runs(self) -> bool:
        return (self.data / "postmaster.pid").exists()

    def url(self, database: str, *, password: str = QUOTED, port: int | None = None) -> str:
        return f"postgresql+psycopg://anna:{password}@127.0.0.1:{port or self.port}/{database}"

    def connect(self, database: str = "postgres"):
        import psycopg

        place = {"host": "127.0.0.1", "port": self.port, "dbname": database, "user": "anna", "password": PASSWORD}
        return psycopg.connect(**place, autocommit=True)

    def database(self, encoding: str = "UTF8") -> str:
        """The name of a new, empty database."""
        self._made += 1
        name = f"energy{self._made}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        return name

    def ask(self, database: str, query: str) -> list:
        with self.connect(database) as connection:
            return connection.execute(query).fetchall()


def _programs() -> Path | None:
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    pytest.importorskip("psycopg", reason="no psycopg: pip install 'psycopg[binary]'")
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL on this machine (Debian: apt install postgresql)")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        import pwd

        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        if shutil.which("setpriv") is None:
            pytest.skip("PostgreSQL does not run as root, and there is no setpriv")
    # Not tmp_path: only its owner may go into it.
    folder = Path(tempfile.mkdtemp(prefix="joules-postgresql-"))
    folder.chmod(0o755)
    server = None
    try:
        try:
            server = Server(programs, folder)
        except (AssertionError, OSError) as error:
            pytest.skip(f"PostgreSQL cannot be started here: {error}")
        yield server
    finally:
        if server is not None and server.runs:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(postgresql: Server) -> Iterator[Server]:
    """The server, running; started again after a test that stopped it."""
    if not postgresql.runs:
        postgresql.start()
    yield postgresql
    if not postgresql.runs:
        postgresql.start()
