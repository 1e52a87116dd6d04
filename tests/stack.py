"""A whole running stack, as `simyard up` starts it, and short words for what tests do with one over HTTP."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from tests.waiting import until

ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
MISSING = {"DATABASE_URL", "REDIS_URL", "MINIO_ENDPOINT"}


class Stack:
    """A `simyard up` of its own data folder; `ready` is the line that it printed."""

    def __init__(self, data: Path, *options: str, **environment: str) -> None:
        self.data = data
        self._options = options
        self._environment = {name: value for name, value in os.environ.items() if name not in MISSING} | {
            "XDG_CONFIG_HOME": str(data / "config"), "MAX_RUNNING_INSTANCES": "4", "WORKER_CONCURRENCY": "4",
        } | environment
        self.ready: dict[str, Any] = {}
        self.process: subprocess.Popen[str] | None = None
        self.http = httpx.Client(timeout=30)

    def start(self) -> "Stack":
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "up.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "standalone", "--port", "0", "--data", str(self.data), "--json",
                 *self._options], stdout=subprocess.PIPE, stderr=log, text=True, env=self._environment, cwd=self.data)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (self.data / "up.log").read_text()
        self.ready = json.loads(line)
        self.login()
        return self

    def login(self) -> None:
        self.http.close()
        self.http = httpx.Client(base_url=self.ready["url"] + "/api/v1", timeout=30)
        answer = self.http.post("/auth/login", json=self.ready["admin"])
        assert answer.status_code == 200, answer.text
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def stop(self) -> int:
        assert self.process is not None
        self.http.close()
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        assert self.process.stdout.read() == "", "more than one line on stdout"
        self.process.stdout.close()
        return code

    def kill(self) -> None:
        """SIGKILL the supervisor."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __enter__(self) -> "Stack":
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()

    def pids(self) -> dict[str, Any]:
        """The pids at this moment."""
        found: dict[str, Any] = json.loads((self.data / "pids.json").read_text())
        return found

    # -- the API -----------------------------------------------------------------------------------------------------

    def get(self, path: str, **params: Any) -> Any:
        """GET until the stack answers: a part of it may be down, which is 503 or no answer at all."""
        def ask() -> Any:
            try:
                answer = self.http.get(path, params=params)
            except httpx.TransportError:
                return None
            if answer.status_code == 503:
                return None
            assert answer.status_code == 200, answer.text
            return answer.json()

        return until(ask)

    def post(self, path: str, body: dict[str, Any] | None = None, *, status: int, **headers: str) -> Any:
        answer = self.http.post(path, json=body, headers=headers) if body is not None else self.http.post(path)
        assert answer.status_code == status, answer.text
        return answer.json()

    def template(self, *command: str, **fields: Any) -> str:
        """A new template that runs this command and need not record; its name."""
        name = f"t{uuid4().hex[:12]}"
        self.post("/templates", {"name": name, "command": list(command), "record": {"required": False}} | fields,
                  status=201)
        return name

    def submit(self, template: str, **fields: Any) -> str:
        """A simulation of it; its id."""
        simulation: str = self.post("/simulations", {"template": template} | fields, status=202)["id"]
        return simulation

    def run(self, *command: str, **fields: Any) -> dict[str, Any]:
        """Run one instance of a new template to its end; the instance."""
        return self.ended(self.submit(self.template(*command, **fields)))[0]

    def instances(self, simulation: str) -> list[dict[str, Any]]:
        """Every instance, by index, whole."""
        items, cursor = [], None
        while True:
            page = self.get(f"/simulations/{simulation}/instances", limit=200, **({"cursor": cursor} if cursor else {}))
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        found = [self.get(f"/instances/{item['id']}") for item in items]
        return sorted(found, key=lambda instance: instance["index"])

    def first(self, simulation: str, state: str) -> dict[str, Any]:
        """The first instance, once it is in this state."""
        return until(lambda: (found := self.instances(simulation)[0])["state"] == state and found)

    def ended(self, simulation: str, seconds: float = 120) -> list[dict[str, Any]]:
        """Every instance, once the simulation has ended."""
        until(lambda: self.get(f"/simulations/{simulation}/status")["state"] in ENDED, seconds=seconds)
        return self.instances(simulation)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process for the time of the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def in_background(deed: Any) -> threading.Thread:
    """Run it in a thread."""
    thread = threading.Thread(target=deed)
    thread.start()
    return thread
