"""Opening what a simulator left behind: regular files only, never through a link. Used by the readers."""

import errno
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from workers.bags.problems import Hostile, NotARecording


def open_regular(path: Path) -> BinaryIO:
    """Opens for reading. Raises NotARecording for links, folders, pipes and devices, OSError when it cannot be read."""
    # O_NONBLOCK: opening a pipe nobody writes to would wait for ever.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise NotARecording("not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotARecording("not a regular file")
    return os.fdopen(descriptor, "rb")


def size_of(path: Path) -> int:
    """Bytes of a regular file; 0 when there is none of that name (links, folders and names too long included)."""
    try:
        status = path.lstat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            return 0
        raise
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


@dataclass(frozen=True)
class Workspace:
    """A private folder for copies, and until when (time.monotonic) the examination may take."""

    folder: Path
    deadline: float

    def out_of_time(self) -> bool:
        return time.monotonic() > self.deadline

    def check_time(self) -> None:
        if self.out_of_time():
            raise Hostile("reading it takes longer than allowed")
