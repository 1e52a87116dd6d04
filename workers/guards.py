"""Hold a program to what it may use, on one machine and in a pod, and say which limit ended it. Used by the recorder,
which looks through one of them five times a second, and by inputs. Imports little, for every attempt loads it."""

import json
import os
from pathlib import Path
from typing import Any

from workers.runtimes import processes

RESERVE_BYTES = 32 << 20  # what a file system keeps free so that statuses and bags can be finished
POD_DISK_SHARE = 0.9
LIMIT_BYTES = 1023


def tell_limit(control: Path, reason: str | None, message: str = "") -> None:
    """Leave behind what ended the program, or kept it from starting; None: nothing did."""
    said = "" if reason is None else json.dumps({"reason": reason, "message": message})
    limit = control / "limit"  # where it is there, it is written in place: there may be no room for more
    with limit.open("r+" if limit.exists() else "w") as file:
        file.write(said.ljust(LIMIT_BYTES))


class Guard:
    """Holds a program's session to its memory and its attempt's folder to its disk, by looking five times a second."""

    def __init__(self, control: Path, grant: dict[str, Any]) -> None:
        self._control = control
        self._memory = (grant["memory_mb"] or 0) << 20
        self._disk = (grant["disk_mb"] or 0) << 20
        self.peak_bytes = 0
        self._ended = False

    def look(self) -> None:
        """End the session, and say why, when a limit is passed."""
        session = self.session()
        if session is None or self._ended:
            return
        members = processes.in_session(session)
        used = sum(members.values())
        self.peak_bytes = max(self.peak_bytes, used)
        if self._memory and used > self._memory:
            self._end(members, "oom_killed", f"it used {used >> 20} MiB of memory, more than {self._memory >> 20} MiB")
        elif self._disk and (held := _bytes_written(self._control.parent)) > self._disk:
            self._end(members, "disk_full", f"it wrote {held >> 20} MiB, more than {self._disk >> 20} MiB")
        elif (free := _free_bytes(self._control)) < RESERVE_BYTES:
            self._end(members, "disk_full", f"only {free >> 20} MiB are free below STORAGE_BASE_DIR")

    def session(self) -> int | None:
        """The program's session, None before it has one."""
        try:
            return int((self._control / "main.pid").read_text())
        except (OSError, ValueError):
            return None

    def end_session(self) -> None:
        """Kill what the program left behind."""
        session = self.session()
        if session is not None:
            processes.kill(list(processes.in_session(session)))

    def _end(self, members: dict[int, int], reason: str, message: str) -> None:
        self._ended = True
        tell_limit(self._control, reason, message)
        processes.kill(list(members))


class PodGuard:
    """Holds a pod's program to its disk alone, for past that the kubelet evicts it and nothing of it is left."""

    peak_bytes = 0

    def __init__(self, control: Path, grant: dict[str, Any]) -> None:
        self._control = control
        self._disk = int((grant["disk_mb"] or 0) * (1 << 20) * POD_DISK_SHARE)
        self._ended = False

    def look(self) -> None:
        """Have its first process end it, and say why, when nearly all is used."""
        if self._disk and not self._ended and (held := _bytes_written(self._control.parent)) > self._disk:
            self._ended = True
            tell_limit(self._control, "disk_full", f"it wrote {held >> 20} MiB of its {self._disk >> 20} MiB")
            (self._control / "stop").write_text("kill\n")

    def end_session(self) -> None:
        """What it left behind ends with its container."""


def _bytes_written(attempt: Path) -> int:
    """What lies in the attempt's folder, less what it was given."""
    total = 0
    for place, folders, names in os.walk(attempt):
        if place == str(attempt) and "inputs" in folders:
            folders.remove("inputs")
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except OSError:  # gone meanwhile, or closed to us by the program
                continue
    return total


def _free_bytes(place: Path) -> int:
    disk = os.statvfs(place)
    return disk.f_bavail * disk.f_frsize
