"""A slice as a tar of a rosbag2 folder: metadata.yaml and one .db3, which is made in a scratch folder first. Called by
workers.excerpt.
"""

import sqlite3
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, BinaryIO

from workers.bags.index import Index
from workers.bags.opening import Message
from workers.bags.slicing import ROS1, CannotSlice, Slice, SlicedTopic

# rosbag2's, as it is since Iron; what older ones do not know they do not look at.
SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, serialization_format TEXT NOT NULL,
    offered_qos_profiles TEXT NOT NULL, type_description_hash TEXT NOT NULL);
CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL, encoding TEXT NOT NULL,
    encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL);
CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,
    data BLOB NOT NULL);
INSERT INTO schema VALUES (4, 'simyard');
"""
METADATA_VERSION = 5
MESSAGE = "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)"
DEFINITION = """INSERT INTO message_definitions
    (topic_type, encoding, encoded_message_definition, type_description_hash) SELECT ?, ?, ?, ''
    WHERE NOT EXISTS (SELECT 1 FROM message_definitions WHERE topic_type = ?)"""
# This often the folder is told again while the database is made, so that nobody takes us for dead.
ALIVE_SECONDS = 15.0


def write_db3(
    index: Index, found: Iterator[Message], out: BinaryIO, *, name: str, start_ns: int, scratch: Path
) -> None:
    """Writes a tar of `name`/ with the messages. Raises CannotSlice, and what getting the messages raises."""
    if any(topic.encoding == ROS1 for topic in index.topics):
        raise CannotSlice("messages of ROS 1 cannot be kept in a .db3; ask for an .mcap")
    sliced = Slice(index, start_ns)
    with TemporaryDirectory(dir=scratch) as folder, _tar_to(out) as tar:
        database = Path(folder) / f"{name}_0.db3"
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.executescript(SCHEMA)
            for _ in _inserted(connection, sliced, found):
                _add_folder(tar, name)
            metadata = sliced.metadata("sqlite3", database.name)
            if metadata is None:
                raise CannotSlice("its topics fill more than a metadata.yaml may hold")
            connection.execute("INSERT INTO metadata VALUES (1, ?, ?)", (METADATA_VERSION, metadata))
            connection.execute("CREATE INDEX timestamp_idx ON messages (timestamp ASC)")
            connection.execute("COMMIT")
        _add_folder(tar, name)
        _add_file(tar, f"{name}/metadata.yaml", BytesIO(metadata.encode()), len(metadata.encode()))
        with database.open("rb") as file:
            _add_file(tar, f"{name}/{database.name}", file, database.stat().st_size)


class _Counted:
    """A stream that knows where it is, though it cannot go back."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._at = out, 0

    def write(self, data: bytes) -> int:
        self._out.write(data)
        self._at += len(data)
        return len(data)

    def flush(self) -> None:
        self._out.flush()

    def tell(self) -> int:
        return self._at


def _tar_to(out: BinaryIO) -> tarfile.TarFile:
    """A tar that is written to a stream, nothing of it held back."""
    return tarfile.TarFile(fileobj=_Counted(out), mode="w")  # type: ignore[arg-type] # all it needs of a file


def _inserted(connection: sqlite3.Connection, sliced: Slice, found: Iterator[Message]) -> Iterator[None]:
    """Inserts the messages and their topics; gives something after the first, and each ALIVE_SECONDS."""
    known: set[int] = set()
    due = 0.0
    connection.execute("BEGIN")
    for message in sliced.stored(found):
        if message.topic not in known:
            known.add(message.topic)
            _insert_topic(connection, message.topic, sliced.topics[message.topic])
        connection.execute(MESSAGE, (message.topic + 1, message.t_ns, message.data))
        if time.monotonic() >= due:
            due = time.monotonic() + ALIVE_SECONDS
            yield


def _insert_topic(connection: sqlite3.Connection, number: int, topic: SlicedTopic) -> None:
    row = (number + 1, topic.name, topic.type, topic.encoding, topic.profiles)
    connection.execute("INSERT INTO topics VALUES (?, ?, ?, ?, ?, '')", row)
    if topic.definition:
        text = topic.definition.data.decode("utf-8", "replace")
        connection.execute(DEFINITION, (topic.type, topic.definition.encoding, text, topic.type))


def _add_folder(tar: tarfile.TarFile, name: str) -> None:
    folder = tarfile.TarInfo(name)
    folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, int(time.time())
    tar.addfile(folder)


def _add_file(tar: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    file = tarfile.TarInfo(name)
    file.size, file.mode, file.mtime = size, 0o644, int(time.time())
    tar.addfile(file, content)
