"""Who has the data folder: one supervisor, and no process of one that was killed. Held by `up` and by Servers."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from standalone.failures import StartFailed

LEFTOVER_SECONDS = 10.0


@contextmanager
def hold(folder: Path) -> Iterator[int]:
    """Make the folder if need be, and hold it within the block; yields a descriptor for every child to keep open.

    Two locks: `supervisor.lock` is the supervisor's own, so that a second one is refused at once. `processes.lock` is
    shared with its children, so that after a killed supervisor the next one waits until the last of them is gone.
    """
    # Everybody may pass through, as Postgres' user must; what is private inside says so itself.
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    owner, processes = _open(folder / "supervisor.lock"), _open(folder / "processes.lock")
    try:
        if not _lock(owner):
            pid = os.pread(owner, 20, 0).decode().strip()
            raise StartFailed(str(folder), f"a stack runs on this folder already (process {pid or 'unknown'})",
                              "stop it, or choose another --data")
        os.ftruncate(owner, 0)
        os.pwrite(owner, f"{os.getpid()}\n".encode(), 0)
        _wait_for_leftovers(folder, processes)
        yield processes
    finally:
        os.close(owner)
        os.close(processes)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _wait_for_leftovers(folder: Path, processes: int) -> None:
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while not _lock(processes):
        if time.monotonic() > deadline:
            raise StartFailed(str(folder), "processes of an earlier stack that was killed still run",
                              f"end them, see {folder / 'pids.json'}")
        time.sleep(0.02)
