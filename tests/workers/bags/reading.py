"""Reads recordings by their index, and by other means that know nothing of it, for tests to compare."""

import io
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import zstandard
from mcap.exceptions import EndOfFile
from mcap.records import Channel
from mcap.records import Message as McapMessage
from mcap.stream_reader import StreamReader
from rosbags.rosbag1 import Reader as Rosbag1Reader

from workers.bags.extract import messages
from workers.bags.facts import facts
from workers.bags.files import Workspace
from workers.bags.index import Index
from workers.bags.index_codec import pack, unpack
from workers.bags.indexing import build_index
from workers.bags.readable import readable
from workers.bags.recordings import recording_at

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# Topic, time, bytes.
Read = tuple[str, int, bytes]


class Folder:
    """Ranges of the files in a folder; `asked` are (name, offset, length)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[tuple[str, int, int]] = []

    @property
    def bytes(self) -> int:
        return sum(length for _, _, length in self.asked)

    def read(self, name: str, offset: int, length: int) -> bytes:
        self.asked.append((name, offset, length))
        with (self.path / name).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def whole(self, name: str) -> BinaryIO:
        return (self.path / name).open("rb")


def folder_of(path: Path) -> Folder:
    """Ranges of a recording, a folder or a lone file."""
    return Folder(path if path.is_dir() else path.parent)


def index_of(path: Path) -> Index:
    """The index of a recording as it is kept: packed and read back."""
    recording = recording_at(path)
    with TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder), time.monotonic() + 100)
        return unpack(pack(build_index(recording, facts(recording), workspace)))


def extracted(path: Path, index: Index | None = None, **window: Any) -> list[Read]:
    """What extraction gives of a recording: everything, but for `window`."""
    window = {"start_ns": INT64_MIN, "end_ns": INT64_MAX} | window
    times = {name: value for name, value in window.items() if name != "topics"}
    with TemporaryDirectory() as scratch:
        workspace = Workspace(Path(scratch), time.monotonic() + 100)
        with readable(index or index_of(path), folder_of(path), workspace, **times) as (parted, ranges):
            found = messages(parted, ranges, **window)
            return [(parted.topics[each.topic].name, each.t_ns, each.data) for each in found]


def read_otherwise(path: Path, names: list[str]) -> list[Read]:
    """All messages of a recording's files, read by SQLite, the mcap library or rosbags, in order of time."""
    folder = path if path.is_dir() else path.parent
    found = [read for name in names for read in _read(folder / name)]
    # Sorting is stable: messages of one time stay in the order of files and of places in them.
    return sorted(found, key=lambda read: read[1])


def _read(path: Path) -> Iterator[Read]:
    plain = path.name.removesuffix(".zstd")
    if plain != path.name:
        with TemporaryDirectory() as folder:
            copy = Path(folder) / plain
            copy.write_bytes(zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()))
            yield from _read(copy)
    elif plain.endswith(".db3"):
        yield from _rows(path)
    elif plain.endswith(".mcap"):
        yield from _records(path)
    else:
        with Rosbag1Reader(path) as reader:
            for connection, t_ns, data in reader.messages():
                yield connection.topic, t_ns, bytes(data)


def _rows(path: Path) -> Iterator[Read]:
    query = "SELECT name, timestamp, data FROM messages JOIN topics ON topics.id = topic_id ORDER BY messages.id"
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        for name, t_ns, data in connection.execute(query):
            packed = data[:4] == ZSTD_MAGIC
            yield name, t_ns, zstandard.ZstdDecompressor().decompress(data) if packed else data


def _records(path: Path) -> Iterator[Read]:
    topics: dict[int, str] = {}
    with suppress(EndOfFile):
        for record in StreamReader(io.BytesIO(path.read_bytes())).records:
            if isinstance(record, Channel):
                topics[record.id] = record.topic
            elif isinstance(record, McapMessage):
                yield topics[record.channel_id], record.log_time, record.data
