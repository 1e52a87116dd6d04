"""Runs the first processes of containers by way of supervisor.py. No process of a container outlives its Process object
being closed, nor this process."""

import atexit
import contextlib
import json
import socket
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any, TextIO


class StartFailed(Exception):
    """There was nothing that could be executed."""


class Process:
    """All processes of one container. `wait` gives the first one's exit code once all are gone."""

    def __init__(self, link: socket.socket, order: dict[str, Any]) -> None:
        self._link = link
        self._lines: TextIO = link.makefile("r")
        self._send(order)
        answer = self._read()
        if "failed" in answer:
            self._lines.close()
            self._link.close()
            raise StartFailed(answer["failed"])
        self.pid: int = answer.get("pid", 0)

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it has ended
            self._link.sendall(json.dumps(message).encode() + b"\n")

    def _read(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except OSError:
            line = ""
        answer: dict[str, Any] = json.loads(line) if line else {}
        return answer

    def wait(self) -> int | None:
        """None when it was closed before its end."""
        code = self._read().get("exit")
        self._lines.close()
        self._link.close()
        return code

    def signal(self, number: int) -> None:
        """As the kubelet sends it: a first process that does not listen to it ignores it, but for SIGKILL."""
        self._send({"signal": number})

    def kill_biggest_child(self) -> None:
        self._send({"kill": "biggest child"})

    def close(self) -> None:
        """Kill everything that is left; whoever waits comes back when it is gone."""
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_WR)


@cache
def open_spawner() -> "Spawner":
    """The one of this process, until its end: nothing of a container is in it, and its start takes a while."""
    spawner = Spawner()
    atexit.register(spawner.close)
    return spawner


class Spawner:
    """Starts containers. They do not hang on it: their Process objects end them."""

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(__file__).with_name("supervisor.py")), str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)

    def start(self, argv: list[str], env: dict[str, str], cwd: Path, log: Path) -> Process:
        """StartFailed when there is no such program; its output is added to `log`."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            socket.send_fds(self._orders, [b"."], [theirs.fileno()])
        return Process(ours, {"argv": argv, "env": env, "cwd": str(cwd), "log": str(log)})

    def close(self) -> None:
        self._orders.close()
        self._process.kill()
        self._process.wait()
