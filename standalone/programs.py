"""Ends programs by force: the last resort of a stop whose drain step failed, or was too slow on a busy machine.

Used by up. Finds them by what the local runtime starts each with: its output folder in its environment, or, for a
recorder, its attempt's folder on its command line.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path


def end(base: Path, settle: Callable[[], object] = lambda: time.sleep(0.1)) -> int:
    """Kill all that runs for attempts kept below `base`; how many processes that were.

    Shims come last, when `settle` has let them write down how it ended.
    """
    mark = os.fsencode(base.resolve()) + b"/"
    killed = _kill(lambda process: _is_ours(process, mark) and not _is_shim(process))
    if killed:
        settle()
    return killed + _kill(lambda process: _is_ours(process, mark))


def _kill(is_meant: Callable[[Path], bool]) -> int:
    killed = 0
    for process in _processes():
        with suppress(OSError):  # it ended meanwhile, or is somebody else's
            handle = os.pidfd_open(int(process.name))  # so that no other process that gets its number is hit
            try:
                if is_meant(process):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    killed += 1
            finally:
                os.close(handle)
    return killed


def _processes() -> Iterator[Path]:
    return (process for process in Path("/proc").iterdir() if process.name.isdigit())


def _is_ours(process: Path, mark: bytes) -> bool:
    if any(word.startswith(b"SIMYARD_OUTPUT=" + mark) for word in _words(process / "environ")):
        return True
    command = _words(process / "cmdline")
    return b"workers.recorder" in command and any(word.startswith(mark) for word in command)


def _is_shim(process: Path) -> bool:
    return any(word.endswith(b"/shim.sh") for word in _words(process / "cmdline")[:2])


def _words(file: Path) -> list[bytes]:
    return file.read_bytes().split(b"\0")
