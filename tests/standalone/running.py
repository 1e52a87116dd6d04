"""A stack in a process of its own, with stand-ins for our processes; and what can be seen of it from outside."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.waiting import until

ROOT = Path(__file__).parents[2]
STACK = Path(__file__).with_name("fake_stack.py")


class Running:
    """`simyard up --json` on this data folder."""

    def __init__(self, data: Path, *options: str, environment: dict[str, str] | None = None,
                 python: Sequence[str] = (sys.executable,), user: tuple[int, int] | None = None,
                 name: str = "up", log_folder: Path | None = None) -> None:
        self.data = data
        folder = log_folder or data.parent
        self._out, self._err = (folder / f"{name}.{end}" for end in ("out", "err"))
        uid, gid = user or (None, None)
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*python, str(STACK), "--data", str(data), "--json", *(options or ("--port", "0"))],
                stdout=out, stderr=err, cwd=folder, user=uid, group=gid, extra_groups=[] if user else None,
                env=bare(folder) | (environment or {}))

    def facts(self) -> dict[str, Any]:
        """The line it prints once ready."""
        until(lambda: self.said or self.process.poll() is not None)
        assert self.said, self.complaint
        return json.loads(self.said)

    @property
    def said(self) -> str:
        return self._out.read_text()

    @property
    def complaint(self) -> str:
        return self._err.read_text()

    def pids(self) -> dict[str, Any]:
        return json.loads((self.data / "pids.json").read_text())

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code after this signal."""
        self.process.send_signal(number)
        return self.process.wait(60)


def bare(home: Path) -> dict[str, str]:
    """An environment without anything of ours or of the user's."""
    site = next(path for path in sys.path if path.endswith("site-packages"))
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": f"{ROOT}:{site}"}


@contextmanager
def running(data: Path, *options: str, **more: Any) -> Iterator[Running]:
    """One that is ended, whatever happens."""
    stack = Running(data, *options, **more)
    try:
        yield stack
    finally:
        stack.end()


def flat(pids: dict[str, Any]) -> list[int]:
    """Every process id in it."""
    return [pid for value in pids.values() for pid in (value if isinstance(value, list) else [value])]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def is_deserted(data: Path) -> bool:
    """Whether no process of a stack on this folder is left: each keeps the lock's descriptor open, whatever its pid."""
    with (data / "processes.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
