"""What is taken of what a program left, once it has ended: recordings are examined in their cage, files are uploaded,
and what is to be told of it all is put together. Called by the recorder. What goes wrong with one file or recording is
a problem of that one alone: nothing but uplink.Over ends the harvest."""

import json
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from workers.folders import open_folders, open_plain, walk
from workers.guards import Guard, PodGuard
from workers.uplink import Changed, Over, Refused, Uplink
from workers.words import LOG_WINDOW, OURS, Log, clean, ingested, last_progress, verdict

if TYPE_CHECKING:
    from workers.bags.recordings import Recording

LARGEST_FILE = 1 << 30
LARGEST_HOLES = 1 << 30  # bytes of a file that were never written
LONGEST_PATH = 900  # bytes; object storage takes 1,024, with what stands before it
MOST_FILES = 1000  # besides recordings
MOST_RECORDINGS = 1000
MOST_UPLOADS = 10_000
MOST_PROBLEMS = 100
# Bytes of JSON up to which recordings, and then files, are told: web takes 8 MiB at once, and there is more to tell.
RECORDINGS_TOLD, FILES_TOLD = 13 << 19, 7 << 20
FILE_TOLD = 120  # without its path
NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def collect(control: Path, uplink: Uplink, guard: Guard | PodGuard, log: Log) -> dict[str, Any]:
    """Upload what was recorded and the log; the facts of it all."""
    output = control.parent / "output"
    harvest = Harvest(output, uplink, guard.scratch)
    open_folders(output)
    result, wrong = verdict(output)
    for each in wrong:
        harvest.problem(each)
    if not harvest.is_empty():
        harvest.take_recordings()
        harvest.take_files()
    size = log.size()
    whole_log = size > LOG_WINDOW and harvest.took_log(log.path)
    return {
        "recordings": harvest.recordings, "files": harvest.files, "result": result,
        "progress": last_progress(output), "problems": harvest.problems(),
        "log": {"size": size, "tail": log.tail(size), "uploaded": whole_log},
        "usage": {"peak_memory_bytes": float(guard.peak_bytes)},
    } | ingested(control)


class Unfit(Exception):
    """No such thing is kept. The text says why."""


class Harvest:
    """Takes what lies in an output folder. `recordings` and `files` have the shapes that facts.Facts checks."""

    def __init__(self, output: Path, uplink: Uplink, scratch: Path) -> None:
        self._output, self._uplink, self._scratch = output, uplink, scratch
        self._uploads: dict[str, dict[str, Any]] = {}  # by path
        self._members: set[str] = set()  # paths of what belongs to recordings
        self._told = 0  # bytes of JSON
        self._problems: list[str] = []
        self._further = 0
        self.recordings: list[dict[str, Any]] = []
        self.files: list[dict[str, Any]] = []

    def problem(self, text: str) -> None:
        """Note it; past the first hundred they are counted."""
        if len(self._problems) < MOST_PROBLEMS - 1:
            self._problems.append(clean(text, 500))
        else:
            self._further += 1

    def problems(self) -> list[str]:
        """All that was noted."""
        return self._problems + ([f"and {self._further} more problems"] if self._further else [])

    def is_empty(self) -> bool:
        """Whether there is nothing to take."""
        try:
            if self._output.is_symlink():
                raise Unfit("it is a link")
            return not any(name not in OURS for name in os.listdir(self._output))
        except FileNotFoundError:
            return True
        except (OSError, Unfit) as error:
            self.problem(f"the output folder was not kept: {error}")
            return True

    def take_recordings(self) -> None:
        """Examine each recording and upload its files. Of one that cannot be told whole the files are kept as such."""
        # Loaded only here, for most small runs record nothing.
        from workers.bags.recordings import discover  # noqa: PLC0415

        found = discover(self._output, lambda error: self.problem(f"not looked for recordings: {error}"))
        for number, recording in enumerate(found):
            members = [(recording.folder / name).relative_to(self._output).as_posix() for name in recording.files]
            self._members.update(members)
            if not self._does(f"{recording.path!r} did not become a bundle", self._record, number, recording, members):
                for path in members:
                    self._does(f"{path[:200]!r} was not kept", self._keep, path)

    def _record(self, number: int, recording: "Recording", members: list[str]) -> None:
        from tempfile import TemporaryDirectory  # noqa: PLC0415

        from workers.examination import examined  # noqa: PLC0415
        from workers.facts import Recording as Checked  # noqa: PLC0415

        if len(self.recordings) >= MOST_RECORDINGS:
            raise Unfit(f"there are more than {MOST_RECORDINGS} recordings")
        size = sum(self._size(path) for path in members)
        with TemporaryDirectory(prefix="scratch-", dir=self._scratch, ignore_cleanup_errors=True) as scratch:
            facts = examined(recording.location, size, self._uplink, number, Path(scratch))
        path = recording.path
        facts |= {"name": "output" if path == "." else os.path.basename(path), "path": path, "files": [
            member if member["role"] == "rebuilt"  # which has been uploaded
            else member | self._uploaded((recording.folder / member["name"]).relative_to(self._output).as_posix())
            for member in facts["files"]]}
        Checked.model_validate(facts)
        self._tell(_size_of(facts), RECORDINGS_TOLD)
        self.recordings.append(facts)

    def take_files(self) -> None:
        """Files that are no recording, at most a thousand of at most 1 GiB; no links, nothing that is not a file."""
        top, count = str(self._output), 0
        for entry in walk(top, lambda error: self.problem(f"not gone into: {error}"), self._is_near):
            path = entry.path[len(top) + 1:]
            if path in self._members or path in OURS or not entry.is_file(follow_symlinks=False):
                continue
            count += 1
            if count > MOST_FILES:
                self.problem(f"more than {MOST_FILES} other files; the rest was not kept")
                return
            self._does(f"{path[:200]!r} was not kept", self._keep, path, LARGEST_FILE)

    def _is_near(self, folder: str) -> bool:
        near = len(os.fsencode(folder)) - len(os.fsencode(self._output)) <= LONGEST_PATH
        if not near:
            self.problem(f"not gone into, for it lies too deep: {folder[-100:]!r}")
        return near

    def _keep(self, path: str, largest: int = sys.maxsize) -> None:
        """Keep it as a file that is no recording."""
        if self._size(path) > largest:
            raise Unfit("it has more than 1 GiB")
        if len(self.files) >= MOST_UPLOADS:
            raise Unfit(f"there are more than {MOST_UPLOADS} files")
        self._tell(len(json.dumps(path)) + FILE_TOLD, FILES_TOLD)
        self.files.append(self._uploaded(path))

    def took_log(self, log: Path) -> bool:
        """Whether the whole of it could be uploaded."""
        return self._does("its whole log was not kept", self._upload_log, log)

    def _upload_log(self, log: Path) -> None:
        with open_plain(log) as file:
            _check_holes(file)
        self._uplink.upload("log.txt", log)

    def _size(self, path: str) -> int:
        """Its bytes. Raises Unfit, or OSError, when it cannot be kept."""
        if not path.isprintable() or "\\" in path:
            raise Unfit("that is no name for a file")
        if len(path.encode()) > LONGEST_PATH:
            raise Unfit(f"its path is longer than {LONGEST_PATH} bytes")
        with open_plain(self._output / path) as file:
            _check_holes(file)
            return os.fstat(file.fileno()).st_size

    def _uploaded(self, path: str) -> dict[str, Any]:
        if path not in self._uploads:
            size, sha256 = self._uplink.upload(f"output/{path}", self._output / path)
            self._uploads[path] = {"path": path, "size": size, "sha256": sha256}
        return self._uploads[path]

    def _tell(self, size: int, most: int) -> None:
        if self._told + size > most:
            raise Unfit("there is more than can be told")
        self._told += size

    def _does(self, failing: str, deed: Callable[..., None], *of: Any) -> bool:
        """Whether it went well. If not, that is a problem, but for Over."""
        try:
            deed(*of)
        except Over:
            raise
        except (Unfit, Refused, Changed, OSError) as error:
            self.problem(f"{failing}: {error}")
        except Exception as error:  # noqa: BLE001 - whatever one file or recording does, the rest is kept
            traceback.print_exc()
            self.problem(f"{failing}: {type(error).__name__}: {error}")
        else:
            return True
        return False


def _check_holes(file: BinaryIO) -> None:
    """Unfit when too much of the file was never written: it would take for ever to read what nobody wrote."""
    status = os.fstat(file.fileno())
    if status.st_size - status.st_blocks * 512 <= LARGEST_HOLES:
        return
    holes, place = 0, 0
    while place < status.st_size and holes <= LARGEST_HOLES:
        try:
            data = os.lseek(file.fileno(), place, os.SEEK_DATA)
        except OSError:  # nothing but a hole from here on
            data = status.st_size
        holes += data - place
        place = data if data == status.st_size else os.lseek(file.fileno(), data, os.SEEK_HOLE)
    if holes > LARGEST_HOLES:
        raise Unfit("more than 1 GiB of it was never written")


def _size_of(facts: dict[str, Any]) -> int:
    """In bytes of JSON. Raises Unfit, or ValueError, when no database takes it."""
    json.dumps(facts, ensure_ascii=False).encode()
    text = json.dumps(facts)
    if NUL.search(text):
        raise Unfit("there are NUL characters in what is to be told of it")
    return len(text)
