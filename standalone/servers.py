"""Postgres, Redis and S3 as one: those that are configured, and real ones started for the rest.

Used by the stack, and by the tests: `with Servers(folder, durable=False) as servers: servers.database_url`.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from standalone import postgres, seaweed, valkey
from standalone.failures import NotReady, StartFailed
from standalone.kept import Kept
from standalone.locks import hold
from standalone.postgres import Postgres
from standalone.seaweed import S3, Seaweed
from standalone.supervisor import Supervisor
from standalone.valkey import Valkey

PATIENCE_SECONDS = 15.0  # with a server that is not ours and does not answer
STOP_SECONDS = 3.0
NAMES = ("postgres", "redis", "s3")
BUCKET = "robot-sim"


class Servers:
    """The three servers of one data folder, which keeps their ports, passwords and data.

    `settings` are those of the environment: where DATABASE_URL, REDIS_URL or MINIO_ENDPOINT is set, that server is
    used and none is started. `durable=False` gives up surviving a power cut. As a context they run within the block.
    """

    def __init__(self, folder: Path, *, durable: bool = True, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder.absolute()
        self.kept = Kept(self.folder)
        self._settings = settings or {}
        self._postgres = None if self._settings.get("DATABASE_URL") else self._make_postgres(durable)
        self._valkey = None if self._settings.get("REDIS_URL") else self._make_valkey()
        self._seaweed = None if self._settings.get("MINIO_ENDPOINT") else self._make_seaweed()
        self.database_url = self._postgres.url if self._postgres else self._settings["DATABASE_URL"]
        self.redis_url = self._valkey.url if self._valkey else self._settings["REDIS_URL"]
        self.s3 = self._seaweed.s3 if self._seaweed else self._configured_s3()

    def start(self, supervisor: Supervisor) -> None:
        """Start those that are ours; return when all three let us in, or raise StartFailed."""
        self.kept.save()
        self._check_configured(supervisor.pause)
        # Postgres last: its cluster is made while the others start.
        if self._valkey:
            supervisor.start(self._valkey.part())
        if self._seaweed:
            supervisor.start(self._seaweed.part())
        if self._postgres:
            self._postgres.prepare(supervisor.run)
            supervisor.start(self._postgres.part())
        supervisor.wait_until_ready()

    def stop(self, supervisor: Supervisor, seconds: float = STOP_SECONDS) -> None:
        """End those that are ours; kill what is left after that long."""
        supervisor.stop(NAMES, seconds=seconds)
        if self._seaweed:
            self._seaweed.tidy()

    # -- on their own ------------------------------------------------------------------------------------------------

    def __enter__(self) -> "Servers":
        with ExitStack() as undo:
            keep_open = undo.enter_context(hold(self.folder))
            undo.callback(self.kept.ports.release)
            supervisor = Supervisor(self.folder / "logs", keep_open=[keep_open])
            undo.callback(self.stop, supervisor)
            self.start(supervisor)
            self.kept.ports.release()
            self.pids = supervisor.pids()
            self._undo = undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._undo.close()

    # -- making ------------------------------------------------------------------------------------------------------

    def _make_postgres(self, durable: bool) -> Postgres:
        return Postgres(self.folder / "postgres", self.kept.ports.take("postgres"), self.kept.secret("postgres"),
                        durable=durable)

    def _make_valkey(self) -> Valkey:
        return Valkey(self.folder / "redis", self.kept.ports.take("redis"), self.kept.secret("redis"))

    def _make_seaweed(self) -> Seaweed:
        return Seaweed(self.folder / "s3", seaweed.take_ports(self.kept.ports), "simyard", self.kept.secret("s3"),
                       self._settings.get("MINIO_BUCKET") or BUCKET)

    def _configured_s3(self) -> S3:
        missing = [name for name in ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY") if not self._settings.get(name)]
        if missing:
            raise StartFailed("s3", f"MINIO_ENDPOINT is set without {' and '.join(missing)}",
                              "set them too, or leave MINIO_ENDPOINT out to have a server started")
        return S3(self._settings["MINIO_ENDPOINT"], self._settings["MINIO_ACCESS_KEY"],
                  self._settings["MINIO_SECRET_KEY"], self._settings.get("MINIO_BUCKET") or BUCKET,
                  self._settings.get("MINIO_USE_SSL", "").lower() in ("true", "1", "yes", "on", "t", "y"))

    # -- asking ------------------------------------------------------------------------------------------------------

    def _check_configured(self, pause: Callable[[float], None]) -> None:
        if not self._postgres:
            _insist("postgres", lambda: postgres.check(self.database_url), "DATABASE_URL", pause)
        if not self._valkey:
            _insist("redis", lambda: valkey.check(self.redis_url), "REDIS_URL", pause)
        if not self._seaweed:
            _insist("s3", lambda: seaweed.check(self.s3), "MINIO_ENDPOINT", pause)


def _insist(name: str, probe: Callable[[], None], setting: str, pause: Callable[[float], None]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return probe()
        except NotReady as error:
            if time.monotonic() > deadline:
                raise StartFailed(name, f"{setting} leads nowhere, {error}", f"start that server, correct {setting}, "
                                  "or leave it out to have a server started") from error
        pause(0.2)
