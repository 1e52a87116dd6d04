"""What a program left behind may be anything: makes it accessible to us, walks it, and opens plain files alone. Used by
recorders, by guards, and by runtimes before they remove."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

MOST_ENTRIES = 1_000_000  # of a walk


def open_folders(top: Path) -> None:
    """Give ourselves every right on every folder below `top`, itself included; links are not followed."""
    pending = [top]
    while pending:
        place = pending.pop()
        with suppress(OSError):  # gone meanwhile, or not ours: whoever looks next says so
            if place.is_symlink():
                continue
            place.chmod(0o700)
            pending += [Path(entry.path) for entry in os.scandir(place) if entry.is_dir(follow_symlinks=False)]


def walk(top: str, failed: Callable[[OSError], object],
         within: Callable[[str], bool]) -> Iterator[os.DirEntry[str]]:
    """Everything below `top` that is no folder, by name, what lies in a folder before what lies in its subfolders.

    Subfolders are gone into where their path is `within`; `failed` hears of those that cannot be. Ends after a million
    entries, whatever is written meanwhile, and goes as deep as paths can.
    """
    pending, left = [top], MOST_ENTRIES
    while pending and left > 0:
        try:
            with os.scandir(pending.pop()) as listing:
                entries = sorted(islice(listing, left), key=lambda entry: entry.name)
        except OSError as error:
            failed(error)
            continue
        left -= len(entries)
        folders = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
        pending += [folder.path for folder in reversed(folders) if within(folder.path)]
        yield from (entry for entry in entries if not entry.is_dir(follow_symlinks=False))
    if left <= 0:
        failed(OSError(errno.E2BIG, f"more than {MOST_ENTRIES} files", top))


def open_plain(path: Path) -> BinaryIO:
    """Open a plain file for reading: no link, and nothing that would keep us waiting. One that its owner, who we are,
    may not read is made readable. Raises OSError."""
    try:
        descriptor = _open(path)
    except PermissionError:
        if path.is_symlink():
            raise
        path.chmod(0o600)
        descriptor = _open(path)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return open(descriptor, "rb")  # noqa: PTH123 - a descriptor


def read_plain(path: Path, most: int, start: int | None = None) -> bytes:
    """At most so many bytes of a plain file, from `start` on or its last; none of what is no plain file."""
    try:
        with open_plain(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - most) if start is None else start)
            return file.read(most)
    except OSError:
        return b""


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
