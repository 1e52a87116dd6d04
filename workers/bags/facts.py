"""The facts of one recording, from its bytes. Called by the caged child only: what it reads may be hostile."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from workers.bags import limits
from workers.bags.belonging import Belonging, belonging
from workers.bags.certificate import certify
from workers.bags.comparison import compare, compare_files
from workers.bags.definitions import is_decodable
from workers.bags.files import Workspace, size_of
from workers.bags.mcap import scan_mcap
from workers.bags.metadata import Claim, read_claim
from workers.bags.problems import Code, Hostile, NotARecording, Problems
from workers.bags.rebuild import rebuild
from workers.bags.recordings import Recording, role, storage
from workers.bags.rosbag1 import scan_rosbag1
from workers.bags.rows import scan_sqlite
from workers.bags.scan import Scan, TopicScan, greatest, least
from workers.bags.shapes import Extent, Facts, File, Reason, Storage, Topic

SCANNERS = {"sqlite3": scan_sqlite, "mcap": scan_mcap, "rosbag1": scan_rosbag1}


def facts(recording: Recording, *, scratch: Path | None = None, seconds: float = 3600) -> Facts:
    """Reads every byte of the recording, within `seconds`; copies go below `scratch` and are gone afterwards.

    What is wrong with the recording is in the answer; OSError and sqlite3.Error are raised when the machine fails.
    """
    problems = Problems()
    with TemporaryDirectory(dir=scratch, prefix="simyard-bag-") as folder:
        try:
            return _gather(recording, Workspace(Path(folder), time.monotonic() + seconds), problems)
        except Hostile as error:
            problems.add(Code.HOSTILE, str(error))
        except MemoryError:
            problems.add(Code.HOSTILE, "reading it takes more memory than allowed")
    return rejected(recording, "hostile", problems)


def rejected(recording: Recording, reason: Reason, problems: Problems) -> Facts:
    """The facts of what is not to be used: its files and why."""
    return Facts(
        state="REJECTED",
        reason=reason,
        storage=_storage(list(recording.files)),
        files=_files(recording),
        topics=[],
        messages=0,
        start_ns=None,
        end_ns=None,
        duration_seconds=0.0,
        problems=problems.told(),
        certificate=None,
        rebuilt=None,
    )


def _gather(recording: Recording, workspace: Workspace, problems: Problems) -> Facts:
    if len(recording.files) > limits.MEMBERS:
        raise Hostile(f"more than {limits.MEMBERS} files")
    data = [name for name in recording.files if role(name) == "data"]
    # ROS 1 writes no metadata.yaml.
    needs_none = recording.lone or (_storage(data) == "rosbag1" and data == list(recording.files))
    claim = None if needs_none else read_claim(recording.folder, recording.files, problems)
    parts = belonging(data, claim, problems)
    scans = {name: _scan(recording.folder / name, workspace, problems) for name in data}
    counted = [scans[name] for name in parts.counted]
    found = [scan for scan in counted if scan]
    topics = _topics(found, problems)
    extent = _extent(topics, len(parts.counted))
    complete = _is_complete(parts, claim, extent, problems)
    if not found:
        return rejected(recording, "not_a_recording", problems)
    kind = _storage(list(parts.counted))
    if claim:
        compare(claim, extent, topics, kind, problems)
        compare_files(claim, {name: scan.messages for name, scan in scans.items() if scan}, problems)
    usable = {name: scan for name in parts.counted if (scan := scans[name])}
    rebuilt = None if needs_none or (claim and claim.files) else _rebuilt(usable, problems)
    damaged = not complete or len(found) < len(counted) or any(scan.damaged for scan in found)
    return Facts(
        state="DAMAGED" if damaged else "READY",
        reason=None,
        storage=kind,
        files=_files(recording),
        topics=topics,
        messages=extent.messages or 0,
        start_ns=extent.start_ns,
        end_ns=extent.end_ns,
        duration_seconds=((extent.end_ns or 0) - (extent.start_ns or 0)) / 1e9,
        problems=problems.told(),
        certificate=certify(counted, complete, topics, claim, extent) if damaged else None,
        rebuilt=rebuilt,
    )


def _scan(path: Path, workspace: Workspace, problems: Problems) -> Scan | None:
    """What one data file holds; None with a problem when it is no recording."""
    workspace.check_time()
    try:
        return SCANNERS[storage(path.name)](path, workspace, problems)
    except NotARecording as error:
        problems.add(error.code, str(error), file=path.name)
        return None
    except Hostile as error:
        raise Hostile(f"{path.name}: {error}") from error


def _rebuilt(scans: dict[str, Scan], problems: Problems) -> str | None:
    """A metadata.yaml of these files, None with a problem when there can be none."""
    kinds = {storage(name) for name in scans}
    if kinds == {"rosbag1"}:
        return None
    text = rebuild(kinds.pop(), scans) if len(kinds) == 1 else None
    if text is None:
        problems.add(Code.METADATA_NOT_REBUILT, "its files are of several storages, or it would be too long")
    return text


def _is_complete(parts: Belonging, claim: Claim | None, extent: Extent, problems: Problems) -> bool:
    """False with problems when listed files are missing; one found under another name with all its messages is not."""
    if not parts.missing:
        return True
    renamed = len(parts.unlisted) == len(parts.missing) and claim is not None and claim.messages == extent.messages
    code, fate = (Code.FILE_RENAMED, "renamed") if renamed else (Code.FILE_MISSING, "not there")
    for name in parts.missing:
        problems.add(code, f"metadata.yaml lists {name[:255]!r}, which is {fate}")
    return renamed


def _topics(scans: list[Scan], problems: Problems) -> list[Topic]:
    """Topics of all files together, by name."""
    merged: dict[str, dict[str, TopicScan]] = {}
    for scan in scans:
        for (name, type_name), part in scan.topics.items():
            whole = merged.setdefault(name, {}).setdefault(type_name, TopicScan(type_name, encoding=part.encoding))
            whole.add(part.count, part.first, part.last)
            whole.embedded |= part.embedded
    if len(merged) > limits.TOPICS:
        raise Hostile(f"more than {limits.TOPICS} topics")
    return [_topic(name, types, problems) for name, types in sorted(merged.items())]


def _topic(name: str, types: dict[str, TopicScan], problems: Problems) -> Topic:
    chief = max(types.values(), key=lambda part: (part.count, part.type))
    if len(types) > 1:
        others = ", ".join(sorted(part.type for part in types.values()))[:500]
        problems.add(Code.TYPE_CONFLICT, f"several types: {others}; told is the one with most messages", topic=name)
    whole = TopicScan(chief.type)
    for part in types.values():
        whole.add(part.count, part.first, part.last)
    span = (whole.last - whole.first) / 1e9 if whole.first is not None and whole.last is not None else 0
    frequency = (whole.count - 1) / span if span > 0 else None
    decodable = is_decodable(chief.type, chief.encoding, chief.embedded)
    return Topic(name, chief.type, whole.count, frequency, whole.first, whole.last, decodable)


def _extent(topics: list[Topic], files: int) -> Extent:
    start = end = None
    for topic in topics:
        start, end = least(start, topic.first_ns), greatest(end, topic.last_ns)
    return Extent(sum(topic.count for topic in topics), start, end, len(topics), files)


def _files(recording: Recording) -> list[File]:
    names = recording.files[: limits.MEMBERS]
    return [File(name, size_of(recording.folder / name), role(name) or "data") for name in names]


def _storage(names: list[str]) -> Storage | None:
    kinds = {storage(name) for name in names if role(name) == "data"}
    return "mixed" if len(kinds) > 1 else next(iter(kinds), None)
