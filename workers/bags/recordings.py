"""Finds recordings below a folder and names their files. Called by the recorder and by the child."""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workers.bags import limits
from workers.bags.problems import Hostile

MEMBER = re.compile(
    r"(?:(?P<metadata>metadata\.yaml)|.*\.(?:(?P<data>db3|mcap|bag|bag\.active)|(?P<sidecar>db3-wal|db3-shm)))(?:\.zstd)?"
)
Role = Literal["metadata", "data", "sidecar"]
Storage = Literal["sqlite3", "mcap", "rosbag1"]
REFUSED = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]")


@dataclass(frozen=True)
class Recording:
    """`files` lie in `folder`; `path` is the posix path of that folder, or of a lone file, from where one looked."""

    folder: Path
    path: str
    files: tuple[str, ...]

    @property
    def location(self) -> Path:
        """What to examine: the file of a lone recording, else the folder."""
        return self.folder / self.files[0] if self.lone else self.folder

    @property
    def lone(self) -> bool:
        """One file that is a recording by itself, as an .mcap or a .bag may be: no metadata.yaml belongs to it."""
        return len(self.files) == 1 and self.path.rpartition("/")[2] == self.files[0]


def role(name: str) -> Role | None:
    """'metadata', 'data' or 'sidecar' by a file's name; None when it cannot be a member of a recording."""
    match = MEMBER.fullmatch(name)
    if not match or REFUSED.search(name) or len(os.fsencode(name)) > 255:
        return None
    return "metadata" if match["metadata"] else "data" if match["data"] else "sidecar"


def storage(name: str) -> Storage:
    """'sqlite3', 'mcap' or 'rosbag1' by a data file's name."""
    plain = name.removesuffix(".zstd")
    return "sqlite3" if plain.endswith(".db3") else "mcap" if plain.endswith(".mcap") else "rosbag1"


def discover(folder: Path, passed_over: Callable[[Exception], object] | None = None) -> list[Recording]:
    """Every recording below `folder`, itself included ('.'), in a stable order.

    A folder with metadata.yaml or a .db3 is one recording. Without those, .mcap files all named `<folder>_<n>.mcap` are
    the splits of one whose recorder was killed; any other .mcap stands alone, and so does a .bag of ROS 1. Links and
    special files are ignored, and what lies deeper than FOLDER_DEPTH. Past the other limits there is Hostile, for a
    folder that cannot be read OSError: `passed_over` hears of them and the rest is found; without it they are raised.
    """
    found: list[Recording] = []
    pending = [(folder, "")]
    entries_left = limits.FOLDER_ENTRIES
    while pending and entries_left >= 0:
        place, path = pending.pop()
        try:
            names, folders, entries = _listing(place)
            entries_left -= entries
            here = _recordings(place, path, names)
            _check(entries_left, len(names), len(found) + len(here))
        except (Hostile, OSError) as error:
            if passed_over is None:
                raise
            passed_over(error)
            continue
        found += here
        if path.count("/") + 1 < limits.FOLDER_DEPTH:
            pending += [(place / name, f"{path}/{printable(name)}".lstrip("/")) for name in folders]
    return sorted(found, key=lambda recording: natural(recording.path))


def recording_at(path: Path) -> Recording:
    """The recording that is `path`, a folder or a file; without files if it is a link or no member. Raises OSError."""
    path.lstat()
    if path.is_symlink():
        return Recording(path.parent, printable(path.name), ())
    if path.is_dir():
        names, _, _ = _listing(path)
        return Recording(path, printable(path.name), _ordered(names))
    return Recording(path.parent, printable(path.name), (path.name,) if role(path.name) == "data" else ())


def natural(name: str) -> tuple[object, ...]:
    """Sort key: digits by their value, so that split 10 follows split 9."""
    parts = re.split(r"([0-9]+)", name)
    return tuple(part if index % 2 == 0 else int(part) for index, part in enumerate(parts)), name


def printable(name: str) -> str:
    """A name from the file system as text that any encoding of JSON can carry."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _listing(place: Path) -> tuple[list[str], list[str], int]:
    """Names of possible members, at most one too many, and of subfolders, and how many entries there were.

    A folder that is gone is empty, and none is read further than FOLDER_ENTRIES.
    """
    members: list[str] = []
    folders: list[str] = []
    entries = 0
    try:
        with os.scandir(place) as listing:
            for entries, entry in enumerate(listing, start=1):
                if entries > limits.FOLDER_ENTRIES or len(members) > limits.MEMBERS:
                    break
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.is_file(follow_symlinks=False) and role(entry.name):
                    members.append(entry.name)
    except FileNotFoundError:
        return [], [], 0
    return members, folders, entries


def _check(entries_left: int, members: int, recordings: int) -> None:
    if entries_left < 0 or members > limits.MEMBERS:
        raise Hostile(f"more than {limits.FOLDER_ENTRIES} files, or {limits.MEMBERS} of one recording")
    if recordings > limits.RECORDINGS:
        raise Hostile(f"more than {limits.RECORDINGS} recordings")


def _recordings(place: Path, path: str, names: list[str]) -> list[Recording]:
    """What the members of one folder make: one recording of all, or one of each .mcap and .bag."""
    data = [name for name in names if role(name) == "data"]
    if any(role(name) == "metadata" for name in names) or any(storage(name) == "sqlite3" for name in data):
        return [Recording(place, path or ".", _ordered(names))]
    # rosbag2 makes the folder it records into, so files in the top folder are never its splits.
    if path and data and all(_is_split(name, place.name) for name in data):
        return [Recording(place, path, _ordered(names))]
    return [Recording(place, f"{path}/{name}".lstrip("/"), (name,)) for name in data]


def _is_split(name: str, folder: str) -> bool:
    return name.startswith(f"{folder}_") and re.fullmatch(r"[0-9]+\.mcap(\.zstd)?", name[len(folder) + 1 :]) is not None


def _ordered(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=natural))
