"""A part of the stack as data, and the child process that it becomes. Parts are started by the supervisor."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from standalone.failures import one_line

LEASH = Path(__file__).with_name("leash.py")
FAILURE = re.compile(r"FATAL|[Ee]rror|^F\d{4} |wrong|cannot|failed")
LOG_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Part:
    """One process of the stack: how it is started, known to be ready, and stopped.

    `ready` returns when it is and raises NotReady while it is not. `death_signal` is what the kernel sends it when the
    supervisor dies. `user` is the (uid, gid) to become.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    cwd: Path
    ready: Callable[[], None] = field(default=lambda: None)
    ready_seconds: float = 120
    stdin: bytes = b""
    user: tuple[int, int] = (-1, -1)
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL


class Child:
    """A running part: leader of a session of its own, output to a log file.

    Made on the main thread only: the kernel takes the end of the thread that made it for the end of its parent.
    """

    def __init__(self, part: Part, logs: Path, keep_open: Sequence[int] = ()) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("children are made on the main thread")
        self.part = part
        self.log = logs / f"{part.name}.log"
        self._said_before = self.log.stat().st_size if self.log.exists() else 0
        self.started = time.monotonic()
        words = [sys.executable, "-I", "-S", LEASH, os.getpid(), int(part.death_signal), *part.user,
                 shutil.which(part.command[0], path=part.environment.get("PATH")) or part.command[0],
                 *part.command[1:]]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(word) for word in words], stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=part.cwd,
                env=dict(part.environment), start_new_session=True, pass_fds=keep_open)
        self.pid = self._process.pid
        self._feed(part.stdin)

    def _feed(self, data: bytes) -> None:
        if self._process.stdin is not None:
            with suppress(BrokenPipeError), self._process.stdin as stdin:  # it died at once, as will be seen
                stdin.write(data)

    def has_ended(self) -> bool:
        """Whether it ended; then nothing of its session is left either."""
        if self._process.returncode is None and os.waitid(
                os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            self.kill()  # the rest of its session, while its id cannot be anybody else's
            self._process.wait()
        return self._process.returncode is not None

    def send(self, number: signal.Signals) -> None:
        """Signal the process itself, if it still runs."""
        if not self.has_ended():
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it and all of its session that has not left it."""
        with suppress(ProcessLookupError):  # nothing of it is left
            os.killpg(self.pid, signal.SIGKILL)

    @property
    def is_good(self) -> bool:
        """Whether it ended as it should."""
        return self._process.returncode == 0

    @property
    def exit(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def last_words(self) -> str:
        """The last line that names a failure of those it wrote since it was started, else the last; may be empty."""
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._said_before, size - 16_384))
            lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        telling = [line for line in lines if FAILURE.search(line)] or lines
        return one_line(_message(telling[-1])) if telling else ""


def _message(line: str) -> str:
    """What a line says, when it is one of our structured logs."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return line


def rotate(logs: Path) -> None:
    """Put logs that have grown large aside, over those put aside before."""
    for log in logs.glob("*.log"):
        if log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
