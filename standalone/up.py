"""`simyard up`: from nothing to a running stack, and back to nothing. Called by `python -m standalone`."""

import json
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from standalone import admin, environment, files, programs
from standalone.failures import StartFailed
from standalone.locks import hold
from standalone.ports import HOST
from standalone.servers import Servers
from standalone.signals import Signals, StopRequested
from standalone.stack import COMMANDS, Commands, Stack
from standalone.supervisor import Supervisor

log = logging.getLogger(__name__)

WEB_PORT, FLOWER_PORT = 8000, 5555
INSTALL_SECONDS = 120.0
STOP_SECONDS = 9.2  # for everything to end by itself, for all is to be over within 10
DRAIN_SECONDS = 8.2  # of these for our processes: drain gives programs 5 s, and needs some to begin
FREE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Options:
    """What `simyard up` is told. `port` None is 8000 or the next free one; 0 is any."""

    data: Path = Path(".simyard")
    port: int | None = None
    workers: int = 1
    watchers: int = 1
    json: bool = False


def up(options: Options, commands: Commands = COMMANDS) -> None:
    """Run the stack until SIGINT or SIGTERM; raises StartFailed, with nothing left running, when it does not start."""
    begun = time.monotonic()
    signals = Signals()
    folder = options.data.absolute()
    with signals.installed(), hold(folder) as keep_open, _log_file(folder):
        run = Run(options, commands, folder, keep_open, signals)
        try:
            run.start()
            log.info("ready in %.1f s", time.monotonic() - begun)
            run.tell()
            run.supervisor.watch()
        except StopRequested:
            log.info("stopping")
        finally:
            took = run.stop()
        log.info("stopped in %.1f s", took)


class Run:
    """One run of the stack on its data folder."""

    def __init__(self, options: Options, commands: Commands, folder: Path, keep_open: int, signals: Signals) -> None:
        _has_room(folder)
        self._options = options
        self._folder = folder
        self._settings = environment.read()
        self._servers = Servers(folder, settings=self._settings)
        self._ports = self._servers.kept.ports
        self._admin = admin.keep(folder, self._settings)
        self._stack = self._make_stack(commands)
        self._has_programs = False
        self.supervisor = Supervisor(folder / "logs", pause=signals.pause, keep_open=[keep_open],
                                     changed=self._write_pids)

    def start(self) -> None:
        """Start everything, each as soon as what it needs is ready."""
        self._servers.start(self.supervisor)
        self.supervisor.run(self._stack.install(self._admin), INSTALL_SECONDS)
        files.replace_json(self._folder / "endpoints.json", {"web": self._url})
        self._has_programs = True
        self.supervisor.start(*self._stack.main())
        self.supervisor.wait_until_ready()
        self.supervisor.start(self._stack.flower())
        self.supervisor.wait_until_ready()
        self._ports.release()
        self._write_pids()

    def tell(self) -> None:
        """Say where everything is: to the command line, and to whoever reads our output."""
        admin.write_profile(self._url, self._folder, self._settings)
        log.info("Simyard  %s", self._url)
        log.info("Flower   %s", self._flower_url)
        log.info("sign in  %s, password in %s", self._admin["email"], self._folder / "admin.json")
        if self._options.json:
            print(json.dumps(self._facts()), flush=True)

    def stop(self) -> float:
        """Leave nothing running: our processes and their programs first, then the servers. The seconds it took."""
        begun = time.monotonic()
        drain = self._stack.drain() if self._has_programs else None
        # S3 among the first: it is the slowest to end, and drain needs the other two alone.
        if not self.supervisor.stop([*self._stack.names(), "s3"], last_act=drain, seconds=DRAIN_SECONDS):
            log.warning("%d processes of programs were killed, for drain did not do it", programs.end(self._base))
        self._servers.stop(self.supervisor, begun + STOP_SECONDS - time.monotonic())
        self._ports.release()
        (self._folder / "pids.json").unlink(missing_ok=True)
        return time.monotonic() - begun

    def _make_stack(self, commands: Commands) -> Stack:
        port = self._options.port
        if port:
            self._ports.forget("web")
        wanted = self._ports.known.get("web", WEB_PORT if port is None else port)
        web, flower = self._ports.take("web", wanted or None), self._ports.take("flower", FLOWER_PORT)
        if wanted not in (0, web):
            log.warning("port %d is taken, so web has %d", wanted, web)
        self._url, self._flower_url = f"http://{HOST}:{web}", f"http://{HOST}:{flower}"
        secret_key = self._servers.kept.secret("secret_key")
        variables = environment.for_processes(self._settings, self._servers, secret_key, self._reader())
        self._base = Path(variables["STORAGE_BASE_DIR"])
        self._base.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Stack(commands, variables, self._folder, web, flower, self._reader_port, self._options.workers,
                     self._options.watchers)

    def _reader(self) -> dict[str, str]:
        """The reader's settings: those of the user, when it runs elsewhere, or of our own."""
        self._reader_port = None if "SIMYARD_READER_URL" in self._settings else self._ports.take("reader")
        if self._reader_port is None:
            return {}
        listen = f"{HOST}:{self._reader_port}"
        return {"SIMYARD_READER_URL": f"http://{listen}", "SIMYARD_READER_LISTEN": listen,
                "SIMYARD_READER_TOKEN": self._servers.kept.secret("reader_token")}

    def _write_pids(self) -> None:
        try:
            files.replace_json(self._folder / "pids.json", self._stack.pids(self.supervisor.pids()))
        except OSError as error:  # a full disk is no reason to stop what runs
            log.error("pids.json is not up to date: %s", error)

    def _facts(self) -> dict[str, Any]:
        s3 = self._servers.s3
        return {
            "url": self._url,
            "flower": self._flower_url,
            "database_url": self._servers.database_url,
            "redis_url": self._servers.redis_url,
            "s3": {"endpoint": s3.endpoint, "access_key": s3.access_key, "secret_key": s3.secret_key,
                   "bucket": s3.bucket},
            "admin": self._admin,
            "pids": self._stack.pids(self.supervisor.pids()),
        }


def _has_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        raise StartFailed("disk", f"only {free // 1024**2} MiB are free at {folder}",
                          f"make room for {FREE_BYTES // 1024**2} MiB, or choose another --data")


@contextmanager
def _log_file(folder: Path) -> Iterator[None]:
    """Keep what the supervisor says with the other logs too."""
    logs = folder / "logs"
    logs.mkdir(mode=0o700, exist_ok=True)
    handler = logging.FileHandler(logs / "supervisor.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    with ExitStack() as undo:
        undo.callback(handler.close)
        logging.getLogger("standalone").addHandler(handler)
        undo.callback(logging.getLogger("standalone").removeHandler, handler)
        yield
