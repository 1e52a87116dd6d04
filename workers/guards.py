"""Hold a program to what it may use, on one machine and in a pod, and say which limit ended it. Used by the recorder,
which looks through one of them five times a second, and by inputs. Imports little, for every attempt loads it."""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from workers.folders import read_plain
from workers.runtimes import processes

RESERVE_BYTES = 32 << 20  # what a file system keeps free so that statuses and bags can be finished
POD_DISK_SHARE = 0.9
LIMIT_BYTES = 1023
LOOKING_SHARE = 1 / 40  # of a core, for each of what is looked at
KILL_ROUNDS = 5

T = TypeVar("T")


def tell_limit(control: Path, reason: str | None, message: str = "") -> None:
    """Leave behind what ended the program, or kept it from starting; None: nothing did."""
    said = "" if reason is None else json.dumps({"reason": reason, "message": message})
    limit = control / "limit"  # where it is there, it is written in place: there may be no room for more
    with limit.open("r+" if limit.exists() else "w") as file:
        file.write(said.ljust(LIMIT_BYTES))


class Paced(Generic[T]):
    """A look that may take long, taken so rarely that it costs no more than a fortieth of a core."""

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._next = 0.0

    def __call__(self) -> T | None:
        """What is seen, None when it is too early to look again."""
        if time.monotonic() < self._next:
            return None
        before = time.thread_time()
        seen = self._look()
        self._next = time.monotonic() + (time.thread_time() - before) / LOOKING_SHARE
        return seen


class Guard:
    """Holds a program's session to its memory and its attempt's folder to its disk, by looking five times a second or
    as often as that is cheap."""

    def __init__(self, control: Path, grant: dict[str, Any]) -> None:
        self._control = control
        self.scratch = control.parent  # where there is room for what is made of recordings
        self._memory = (grant["memory_mb"] or 0) << 20
        self._disk = (grant["disk_mb"] or 0) << 20
        self.peak_bytes = 0
        self._ended = False
        self._members = Paced(self._find_members)
        self._written = Paced(lambda: bytes_written(control.parent))

    def look(self) -> None:
        """End the session, and say why, when a limit is passed."""
        if self._ended or self.session() is None:
            return
        used = sum((self._members() or {}).values())
        self.peak_bytes = max(self.peak_bytes, used)
        if self._memory and used > self._memory:
            self._end("oom_killed", f"it used {used >> 20} MiB of memory, more than {self._memory >> 20} MiB")
        elif self._disk and (held := self._written() or 0) > self._disk:
            self._end("disk_full", f"it wrote {held >> 20} MiB, more than {self._disk >> 20} MiB")
        elif (free := _free_bytes(self._control)) < RESERVE_BYTES:
            self._end("disk_full", f"only {free >> 20} MiB are free below STORAGE_BASE_DIR")

    def session(self) -> int | None:
        """The program's session, None before it has one."""
        try:
            return int(read_plain(self._control / "main.pid", 20))
        except ValueError:
            return None

    def end_session(self) -> None:
        """Kill what the program left behind; a few times, for a process may fork while we look."""
        for _ in range(KILL_ROUNDS):
            found = self._find_members()
            if not found:
                return
            processes.kill(list(found))

    def _find_members(self) -> dict[int, int]:
        session = self.session()
        return {} if session is None else processes.in_session(session)

    def _end(self, reason: str, message: str) -> None:
        """Say so, and kill it whether or not that can be written."""
        self._ended = True
        try:
            tell_limit(self._control, reason, message)
        finally:
            self.end_session()


class PodGuard:
    """Holds a pod's program to its disk alone, for past that the kubelet evicts it and nothing of it is left."""

    peak_bytes = 0
    scratch = Path("/tmp")  # noqa: S108 - a volume of the recorder's own; in the attempt's it would count as written

    def __init__(self, control: Path, grant: dict[str, Any]) -> None:
        self._control = control
        self._disk = int((grant["disk_mb"] or 0) * (1 << 20) * POD_DISK_SHARE)
        self._ended = False
        self._written = Paced(lambda: bytes_written(control.parent))

    def look(self) -> None:
        """Have its first process end it, and say why, when nearly all is used."""
        if self._disk and not self._ended and (held := self._written() or 0) > self._disk:
            try:
                tell_limit(self._control, "disk_full", f"it wrote {held >> 20} MiB of its {self._disk >> 20} MiB")
            finally:
                (self._control / "stop").write_text("kill\n")
            self._ended = True

    def end_session(self) -> None:
        """What it left behind ends with its container."""


def bytes_written(attempt: Path) -> int:
    """What lies in the attempt's folder, however deep, less what it was given."""
    total, pending, given = 0, [str(attempt)], str(attempt / "inputs")
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as listing:  # gone meanwhile, or closed to us by the program
            for entry in listing:
                if entry.is_dir(follow_symlinks=False):
                    pending += [entry.path] if entry.path != given else []
                else:
                    total += _bytes_of(entry)
    return total


def _bytes_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks * 512
    except OSError:  # gone meanwhile
        return 0


def _free_bytes(place: Path) -> int:
    disk = os.statvfs(place)
    return disk.f_bavail * disk.f_frsize
