"""What the stack consists of: which command is which process of ours, in which environment, known to be ready how."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from standalone import probes
from standalone.children import Part

PYTHON = (sys.executable, "-P", "-m")
FOR_READER = frozenset({"PATH", "PYTHONPATH", "PYTHONUNBUFFERED", "HOME", "LANG", "TMPDIR", "LOG_LEVEL"})


@dataclass(frozen=True)
class Commands:
    """The commands of our processes, `{port}` and `{number}` to be filled in. Tests put programs of their own here."""

    install: Sequence[str] = (*PYTHON, "webapp.install")
    web: Sequence[str] = (
        *PYTHON, "gunicorn", "-k", "gevent", "-w", "1", "-b", "127.0.0.1:{port}", "--no-control-socket",
        "--worker-connections", "6000", "--limit-request-line", "8190", "--keep-alive", "15",
        "--graceful-timeout", "3", "webapp.wsgi:app")
    worker: Sequence[str] = (*PYTHON, "celery", "-A", "workers.app", "worker", "-n", "worker{number}@%h",
                             "--without-mingle", "--without-gossip")
    watcher: Sequence[str] = (*PYTHON, "workers.watcher")
    reader: Sequence[str] = (*PYTHON, "workers.reader")
    flower: Sequence[str] = (
        *PYTHON, "celery", "-A", "workers.app", "flower", "--address=127.0.0.1", "--port={port}",
        "--tasks-columns=name,args,state,received,started,runtime,worker,uuid")  # args is the job
    drain: Sequence[str] = (*PYTHON, "workers.drain")


COMMANDS = Commands()


@dataclass(frozen=True)
class Stack:
    """Our processes as parts: how many of each, on which ports, in which environment, started in which folder."""

    commands: Commands
    environment: Mapping[str, str]
    folder: Path
    web_port: int
    flower_port: int
    reader_port: int | None  # None: it runs elsewhere
    workers: int
    watchers: int

    def install(self, admin: Mapping[str, str]) -> Part:
        """The step before all others; the only one that is told the administrator's password."""
        secret = {"SIMYARD_ADMIN_EMAIL": admin["email"], "SIMYARD_ADMIN_PASSWORD": admin["password"]}
        return self._part("install", self.commands.install, more=secret)

    def main(self) -> list[Part]:
        """Web, the reader, the workers and the watchers."""
        broker = self.environment["REDIS_URL"]
        return [
            *self._reader(),
            self._part("web", self.commands.web, port=self.web_port,
                       ready=lambda: probes.answers(self.web_port, "/health/ready")),
            *(self._part(f"worker{number}", self.commands.worker, number=number,
                         ready=lambda: probes.workers_listen(broker, self.workers))
              for number in range(1, self.workers + 1)),
            *(self._part(f"watcher{number}", self.commands.watcher, number=number)
              for number in range(1, self.watchers + 1)),
        ]

    def _reader(self) -> list[Part]:
        """It parses what strangers recorded, so it is told nothing of ours but who may ask it."""
        port = self.reader_port
        if port is None:
            return []
        told = {name: value for name, value in self.environment.items()
                if name in FOR_READER or name.startswith("SIMYARD_READER_")}
        return [Part(name="reader", command=[word.format(port=port) for word in self.commands.reader],
                     environment=told, cwd=self.folder, ready=lambda: probes.answers(port, "/health"))]

    def flower(self) -> Part:
        """The monitor; it asks the workers once at its start, so they have to be there."""
        return self._part("flower", self.commands.flower, port=self.flower_port,
                          ready=lambda: probes.answers(self.flower_port, "/healthcheck"))

    def drain(self) -> Part:
        """The step that ends what the workers started, when the stack is stopped."""
        return self._part("drain", self.commands.drain)

    def names(self) -> list[str]:
        """Of all that run on."""
        return [part.name for part in (*self.main(), self.flower())]

    def pids(self, pids: Mapping[str, int]) -> dict[str, object]:
        """Processes by name, in the shape of `pids.json`; null for a server that is not ours."""
        return {
            "web": pids.get("web"),
            "workers": [pids[name] for name in pids if name.startswith("worker")],
            "watchers": [pids[name] for name in pids if name.startswith("watcher")],
            **{name: pids.get(name) for name in ("flower", "postgres", "redis", "s3")},
        }

    def _part(self, name: str, command: Sequence[str], *, ready: Callable[[], None] = lambda: None,
              port: int = 0, number: int = 0, more: Mapping[str, str] | None = None) -> Part:
        return Part(name=name, command=[word.format(port=port, number=number) for word in command],
                    environment={**self.environment, **(more or {})}, cwd=self.folder, ready=ready)
