"""The children that make excerpts (excerpt.py): some wait warm, each answers one request, and none outlives its use or
this process. Used by the reader; safe for several threads.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
COMPLAINT_BYTES = 4_000
END_SECONDS = 10.0


class Failure(NamedTuple):
    """Why an excerpt is not whole."""

    code: str
    message: str


class Excerpter:
    """One child. It ends when its stdin is closed, so also when this process is gone."""

    def __init__(self) -> None:
        self._complaints = TemporaryFile()  # noqa: SIM115 closed by end()
        # -P: no folder of ours or theirs is a place to import from.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "workers.excerpt"],
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            start_new_session=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101 they are pipes
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: dict[str, object]) -> None:
        """Tells it what to do. What a dead child does not hear is found out by failure()."""
        with suppress(BrokenPipeError):
            self._stdin.write(json.dumps(request).encode() + b"\n")
            self._stdin.flush()

    def fileno(self) -> int:
        """Where its answer comes from; readable also at its end."""
        return self._stdout.fileno()

    def read(self, most: int) -> bytes:
        """What there is of its answer, waiting for some; nothing at its end."""
        return os.read(self._stdout.fileno(), most)

    def failure(self) -> Failure | None:
        """Why the answer that has ended is not whole; None when it is."""
        try:
            status = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return Failure("failed", "it does not end")
        if status == 0:
            return None
        self._complaints.seek(max(0, self._complaints.seek(0, os.SEEK_END) - COMPLAINT_BYTES))
        words = self._complaints.read().decode("utf-8", "replace").splitlines()
        try:
            said = json.loads(words[-1])
            return Failure(str(said["code"]), str(said["message"]))
        except (IndexError, ValueError, KeyError, TypeError):
            ended = signal.Signals(-status).name if -status in set(signal.Signals) else f"exit code {status}"
            return Failure("failed", f"reading it ended by {ended}: {' '.join(words[-1:])[:500]}")

    def end(self) -> None:
        """It is not wanted any more."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with suppress(BrokenPipeError):
            self._stdin.close()
        self._stdout.close()
        self._complaints.close()


class Excerpters:
    """Hands out children, `warm` of them started ahead."""

    def __init__(self, warm: int) -> None:
        self._warm = warm
        self._waiting: list[Excerpter] = []
        self._lock = threading.Lock()
        self._closed = False
        self.refill()

    def take(self) -> Excerpter:
        """One that waits for a request."""
        with self._lock:
            while self._waiting:
                excerpter = self._waiting.pop(0)
                if excerpter.alive:
                    return excerpter
                excerpter.end()
        return Excerpter()

    def refill(self) -> None:
        """Starts as many as are to wait."""
        with self._lock:
            while not self._closed and len(self._waiting) < self._warm:
                self._waiting.append(Excerpter())

    def close(self) -> None:
        """Ends those that wait."""
        with self._lock:
            self._closed = True
            while self._waiting:
                self._waiting.pop().end()
