"""The program beside a simulator: `python -m workers.recorder CONTROL`. While the simulator runs it tells its progress
and log and holds it to its memory and disk; after its end (stdin closes) it uploads what was recorded and says what it
is. Started by the shim; by salvage on what a dead recorder left (`… salvage`); or as the sidecar of a pod, where it
stays until it is told to end (`… pod GRANT`). Imports little, for every attempt starts one.
"""

import codecs
import json
import os
import select
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from workers.folders import open_folders
from workers.guards import Guard, PodGuard
from workers.uplink import Failed, Over, Refused, Uplink, grant_of

LOOK_SECONDS = 0.2
REPORT_SECONDS = 1.0
LOG_WINDOW = 64 * 1024
LARGEST_FILE = 1 << 30
MOST_FILES = 1000
LARGEST_RESULT = 1 << 20
OURS = ("progress.jsonl", "result.json")


class Stdin:
    """The end of the program beside us on one machine: stdin closes."""

    def wait(self, seconds: float) -> bool:
        """Whether it came within this time."""
        return bool(select.select([sys.stdin], [], [], seconds)[0])


class Sidecar:
    """The end of the program beside us in a pod: its first process leaves a status, or the kubelet tells us to end,
    which it does once all programs have. Until then we stay: one that exits may not be started again."""

    def __init__(self, control: Path) -> None:
        self._status = control / "status"
        self._told = False
        signal.signal(signal.SIGTERM, self._hear)
        # The kubelet's hook makes this file before it signals: what came while we were deaf is known by it.
        self._told = (control / "leave").exists()

    def _hear(self, *_: Any) -> None:
        self._told = True

    def wait(self, seconds: float) -> bool:
        """Whether it came, looked at after this time or sooner."""
        if not self._told:
            time.sleep(seconds)
        return self._told or self._status.exists()

    def stay(self) -> None:
        """Until we are told to end."""
        while not self._told:
            time.sleep(LOOK_SECONDS)


class Log:
    """The program's output as it grows. Only its last 64 KiB are told; the whole is uploaded at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._told = 0

    def size(self) -> int:
        """Its bytes so far."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def chunk(self) -> dict[str, Any] | None:
        """What was not told yet, None when there is nothing."""
        size = self.size()
        if size <= self._told:
            return None
        start = max(self._told, size - LOG_WINDOW)
        return {"offset": self._told, "skipped": start - self._told, "bytes": size - start,
                "text": self._text(start, size)}

    def told(self, end: int) -> None:
        """Web has heard all up to here."""
        self._told = end

    def tail(self) -> str:
        """The last 64 KiB."""
        size = self.size()
        return self._text(max(0, size - LOG_WINDOW), size)

    def _text(self, start: int, end: int) -> str:
        if end == start:
            return ""
        with self.path.open("rb") as file:
            file.seek(start)
            return codecs.decode(file.read(end - start), "utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def last_progress(output: Path) -> dict[str, Any] | None:
    """The last whole line of progress.jsonl that is a progress, None when there is none."""
    for line in reversed(_tail(output / "progress.jsonl", 8192).split(b"\n")[:-1]):
        said = _object(line)
        if said:
            percent, message = _number(said.get("percent")), said.get("message")
            return {"percent": percent if percent is not None and 0 <= percent <= 100 else None,
                    "sim_time": _number(said.get("sim_time")),
                    "message": _text(message, 500) if isinstance(message, str) else None}
    return None


def _tail(path: Path, size: int) -> bytes:
    """The last bytes of a plain file, nothing of what is none: a program may put a pipe or a link there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return b""
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return b""
        file.seek(max(0, status.st_size - size))
        return file.read(size)


def _number(value: Any) -> float | int | None:
    """A finite number that a database takes, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        return None
    return value


def _text(value: str, size: int) -> str:
    """Text that JSON, UTF-8 and Postgres all take."""
    return value[:size].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def result(output: Path, problems: list[str]) -> dict[str, Any]:
    """The simulator's verdict from result.json: passed and metrics, as far as they are what they should be."""
    path = output / "result.json"
    if not path.is_file() or path.is_symlink():
        return {}
    said = _object(_tail(path, LARGEST_RESULT))
    if said is None:
        problems.append("result.json is not a JSON object")
        return {}
    stated = said.get("metrics")
    metrics: dict[str, Any] = stated if isinstance(stated, dict) else {}
    numbers = {_text(name, 200): float(value) for name, value in list(metrics.items())[:1000]
               if _number(value) is not None}
    if len(numbers) != len(metrics):
        problems.append("some metrics in result.json are not finite numbers")
    return {"passed": said["passed"] if isinstance(said.get("passed"), bool) else None, "metrics": numbers}


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def watch(control: Path, uplink: Uplink, guard: Guard | PodGuard, log: Log, end: Stdin | Sidecar) -> None:
    """Stand by while the program runs."""
    told: dict[str, Any] | None = None
    next_report = time.monotonic() + REPORT_SECONDS
    while not end.wait(LOOK_SECONDS):
        guard.look()
        if time.monotonic() < next_report:
            continue
        next_report = time.monotonic() + REPORT_SECONDS
        progress, chunk = last_progress(control.parent / "output"), log.chunk()
        if progress == told and chunk is None:
            continue
        try:
            log.told(uplink.report({"progress": progress if progress != told else None, "log": chunk})["log_end"])
            told = progress
        except (Failed, Refused) as error:
            print(f"web was not told: {error}", file=sys.stderr, flush=True)


def ingested(control: Path) -> dict[str, Any]:
    """What an ingester has left, as it is to be told; nothing when it left nothing."""
    try:
        return {"ingested": json.loads((control / "ingested.json").read_text())}
    except (OSError, ValueError):
        return {}


def collect(control: Path, uplink: Uplink, guard: Guard | PodGuard, log: Log) -> dict[str, Any]:
    """Upload what was recorded and the log; the facts of it all."""
    output, problems = control.parent / "output", list[str]()
    open_folders(output)
    recordings = []
    if output.is_dir() and any(name not in OURS for name in os.listdir(output)):
        recordings = list(_recordings(output, uplink, problems))
    taken = {file["path"] for recording in recordings for file in recording["files"] if file["role"] != "rebuilt"}
    files = [_uploaded(uplink, output, path) for path in _other_files(output, taken, problems)]
    whole_log = log.size() > LOG_WINDOW
    if whole_log:
        uplink.upload("log.txt", log.path)
    return {
        "recordings": recordings, "files": files, "result": result(output, problems),
        "progress": last_progress(output), "problems": problems[:100],
        "log": {"size": log.size(), "tail": log.tail(), "uploaded": whole_log},
        "usage": {"peak_memory_bytes": float(guard.peak_bytes)},
    } | ingested(control)


def _recordings(output: Path, uplink: Uplink, problems: list[str]) -> Iterator[dict[str, Any]]:
    """Examine each recording in its cage and upload its files. One that cannot be examined is kept as plain files."""
    # Loaded only here, for most small runs record nothing.
    from workers.bags.cage import ExaminationFailed  # noqa: PLC0415
    from workers.bags.problems import Hostile  # noqa: PLC0415
    from workers.bags.recordings import discover  # noqa: PLC0415
    from workers.examination import examined  # noqa: PLC0415

    try:
        with TemporaryDirectory(prefix="scratch-", dir=output.parent) as scratch:
            for number, found in enumerate(discover(output)):
                size = sum((found.folder / name).stat().st_size for name in found.files)
                try:
                    facts = examined(found.location, size, uplink, number, Path(scratch))
                except ExaminationFailed as error:
                    problems.append(f"{found.path} could not be examined: {error}"[:500])
                    continue
                yield _with_files_uploaded(output, found.folder, found.path, facts, uplink)
    except (Hostile, OSError) as error:
        problems.append(f"its recordings were not looked for: {error}"[:500])


def _with_files_uploaded(
        output: Path, folder: Path, path: str, facts: dict[str, Any], uplink: Uplink) -> dict[str, Any]:
    files = [member if member["role"] == "rebuilt"  # which has been
             else member | _uploaded(uplink, output, (folder / member["name"]).relative_to(output).as_posix())
             for member in facts["files"]]
    return facts | {"name": "output" if path == "." else os.path.basename(path), "path": path, "files": files}


def _uploaded(uplink: Uplink, output: Path, path: str) -> dict[str, Any]:
    size, sha256 = uplink.upload(f"output/{path}", output / path)
    return {"path": path, "size": size, "sha256": sha256}


def _other_files(output: Path, taken: set[str], problems: list[str]) -> Iterator[str]:
    """Files that are no recording, at most a thousand of at most 1 GiB; no links, nothing that is not a file."""
    count = 0
    for folder, folders, names in os.walk(output):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            path = file.relative_to(output).as_posix()
            if path in taken or path in OURS or file.is_symlink() or not file.is_file():
                continue
            count += 1
            if count > MOST_FILES:
                problems.append(f"more than {MOST_FILES} other files; the rest was not kept")
                return
            if file.stat().st_size > LARGEST_FILE or not path.isprintable() or "\\" in path:
                problems.append(f"{path[:200]!r} was not kept: over 1 GiB, or not a name for a file")
                continue
            yield path


def tell(uplink: Uplink, facts: dict[str, Any]) -> None:
    """Tell what was found; without the simulator's own words when web will not have those."""
    try:
        uplink.put_facts(facts)
    except Refused as refused:
        print(f"told without the simulator's words: {refused}", file=sys.stderr, flush=True)
        uplink.put_facts(facts | {"result": {}, "progress": None, "problems": ["its verdict cannot be told"]})


def work(control: Path, uplink: Uplink, guard: Guard | PodGuard, end: Stdin | Sidecar | None) -> None:
    """Stand by until the end (None: long past), collect, tell; leave `recorded` behind when it was heard."""
    log = Log(control / "log")
    try:
        if end is not None:
            watch(control, uplink, guard, log, end)
            guard.end_session()
        tell(uplink, collect(control, uplink, guard, log))
        (control / "recorded").touch()
    except Over as over:
        print(f"nobody waits for this attempt any more: {over}", file=sys.stderr)


def main(control: Path, mode: str = "beside", grant_file: str | None = None) -> None:
    """When it salvages, the program is long gone and its session's number may be somebody else's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the program
    grant = grant_of(control, grant_file)
    uplink = Uplink(grant)
    if mode == "pod":
        sidecar = Sidecar(control)
        os.umask(0o007)  # control belongs to the program's user too
        control.mkdir(exist_ok=True)
        work(control, uplink, PodGuard(control, grant), sidecar)
        sidecar.stay()
    else:
        work(control, uplink, Guard(control, grant), Stdin() if mode == "beside" else None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:4])
