"""Builds the index of a recording and writes it down. Called by the caged child, once the facts are known."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from workers.bags import limits
from workers.bags.belonging import belonging
from workers.bags.compression import opened
from workers.bags.files import Workspace, size_of
from workers.bags.index import Blocks, Grain, Index, grain_of
from workers.bags.index_blocks import Gathered
from workers.bags.index_codec import pack
from workers.bags.index_mcap import index_mcap
from workers.bags.index_rosbag1 import index_rosbag1
from workers.bags.index_sqlite import index_sqlite
from workers.bags.merging import Merger
from workers.bags.metadata import Unreadable, read_claim
from workers.bags.offers import offers
from workers.bags.problems import Hostile, NotARecording, Problems
from workers.bags.recordings import Recording, role, storage
from workers.bags.restoring import restored, sidecars
from workers.bags.rows import scan_sqlite
from workers.bags.shapes import Facts
from workers.bags.sqlite import FAULTS, explain
from workers.bags.static_frames import StaticFrames

INDEXERS = {"sqlite3": index_sqlite, "mcap": index_mcap, "rosbag1": index_rosbag1}


def write_index(recording: Recording, facts: Facts, target: Path, workspace: Workspace) -> None:
    """Writes the index of a recording with these facts to `target`, in one step.

    Raises index_codec.TooLarge and index_blocks.TooScattered when it would be too large, Hostile, and OSError.
    """
    packed = pack(build_index(recording, facts, workspace))
    part = target.with_name(target.name + ".part")
    part.write_bytes(packed)
    part.replace(target)


def build_index(recording: Recording, facts: Facts, workspace: Workspace) -> Index:
    """The index of a recording with these facts."""
    problems = Problems()
    claim = None if recording.lone else read_claim(recording.folder, recording.files, problems)
    data = [name for name in recording.files if role(name) == "data"]
    paths = [recording.folder / name for name in belonging(data, claim, problems).counted]
    grain = grain_of(sum(size_of(path) for path in paths))
    found = {path: _gather(path, grain, workspace) for path in paths}
    if _counts(found.values()) != Counter({topic.name: topic.count for topic in facts.topics}):
        found = {path: _agreeing(path, gathered, grain, workspace) for path, gathered in found.items()}
    merger, frames = Merger(_offers(recording) if claim else {}), StaticFrames(workspace)
    files = [merger.add(frames.thinned(path, gathered)) for path, gathered in found.items() if gathered]
    return Index(merger.topics, merger.definitions, files)


def index_file(path: Path, grain: Grain, workspace: Workspace) -> Gathered:
    """The blocks of a data file that can be read in parts. Raises NotARecording, Hostile, TooScattered, OSError."""
    try:
        return INDEXERS[storage(path.name)](path, grain, workspace)
    except FAULTS as error:
        explain(error, workspace)
        raise NotARecording(f"SQLite cannot read its tables: {error}") from error


def _gather(path: Path, grain: Grain, workspace: Workspace) -> Gathered | None:
    """What a data file holds, in blocks where it can be read in parts; None for what is no recording."""
    workspace.check_time()
    try:
        if path.suffix != ".zstd" and not sidecars(path):
            return index_file(path, grain, workspace)
        return _gather_whole(path, grain, workspace, salvage=False)
    except NotARecording:
        return None


def _gather_whole(path: Path, grain: Grain, workspace: Workspace, salvage: bool) -> Gathered:
    with restored(path, workspace, salvage=salvage) as copy:
        gathered = index_file(copy, grain, workspace)
    whole = replace(
        gathered.file,
        name=path.name,
        size=size_of(path),
        whole=True,
        beside=sidecars(path),
        salvage=salvage,
        layout=None,
        topic_sets=[],
        blocks=Blocks(),
        places=[],
    )
    return replace(gathered, file=whole)


def _agreeing(path: Path, gathered: Gathered | None, grain: Grain, workspace: Workspace) -> Gathered | None:
    """The same, unless SQLite reads other rows of it than its pages hold: then it is to be read through SQLite."""
    if storage(path.name) != "sqlite3":
        return gathered
    read = Counter[str]()
    try:
        for (name, _), topic in scan_sqlite(path, workspace, Problems()).topics.items():
            read[name] += topic.count
        same = _counts([gathered]) == read
        return gathered if same else _gather_whole(path, grain, workspace, salvage=True)
    except NotARecording:
        return None


def _counts(found: Iterable[Gathered | None]) -> Counter[str]:
    """Messages by topic."""
    counts = Counter[str]()
    for gathered in found:
        for number, topic in gathered.topics.items() if gathered else ():
            counts[topic.name] += gathered.totals.get(number, [0])[0] if gathered else 0
    return counts


def _offers(recording: Recording) -> dict[str, str]:
    name = next(name for name in recording.files if name.startswith("metadata.yaml"))
    try:
        with opened(recording.folder / name) as stream:
            return offers(stream.read(limits.METADATA_BYTES + 1))
    except (Unreadable, NotARecording, Hostile):
        return {}
