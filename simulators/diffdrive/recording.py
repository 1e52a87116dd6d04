"""Records messages into a rosbag2 folder: sqlite3 storage, schema version 4. Used by simulation.py.
Layout as in rosbag2_storage_sqlite3: https://github.com/ros2/rosbag2/tree/jazzy/rosbag2_storage_sqlite3

What is committed survives a SIGKILL. Messages wait in memory and go to disk in one short transaction at a time, under
SQLite's rollback journal: the .db3 alone holds all there is, with no -wal beside it to lose, and only a kill in the
milliseconds of a commit leaves a -journal, which any SQLite rolls back at the next opening. `synchronous=OFF` leaves
out waiting for the disk, which matters when the machine dies, not when the process does.
metadata.yaml is written last: where it is, the recording is whole and its counts are true; where it is missing, the
recorder was killed, which is how rosbag2 leaves a bag too and what every tool for repairing bags looks for."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

from .messages import DISTRO, TOPICS, definition
from .metadata import VERSION, Summary, describe, offered
from .yamltext import dump

BATCH = 1000  # messages
EVERY = 0.1  # s of real time, where the simulation keeps a pace
PATIENCE = 60  # s to wait while somebody reads the file

SCHEMA = """
PRAGMA journal_mode=DELETE;
PRAGMA synchronous=OFF;
BEGIN;
CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, serialization_format TEXT NOT NULL,
    offered_qos_profiles TEXT NOT NULL, type_description_hash TEXT NOT NULL);
CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL, encoding TEXT NOT NULL,
    encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL);
CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,
    data BLOB NOT NULL);
CREATE INDEX timestamp_idx ON messages (timestamp ASC);
"""


class Recording:
    """A recording in the new folder `folder`, one file named after it; `notes` go into its metadata. Commits when BATCH
    messages wait or, unless None, `every` seconds have passed: SQLite counts commits in the file, so that only without
    the clock do the same messages make the same file. Raises FileExistsError if the folder is there already."""

    def __init__(self, folder: Path, notes: Mapping[str, str], every: float | None = EVERY) -> None:
        folder.mkdir()
        self.folder, self.notes, self.every = folder, notes, every
        self.file = f"{folder.name}_0.db3"
        self.summary = Summary()
        self.waiting: list[tuple[int, int, bytes]] = []
        self.ids = {name: number for number, name in enumerate(TOPICS, start=1)}
        self.database = sqlite3.connect(folder / self.file, isolation_level=None, timeout=PATIENCE)
        self.database.executescript(SCHEMA)
        self.declare()
        self.database.execute("COMMIT")
        self.committed = monotonic()

    def declare(self) -> None:
        """Fill every table but that of the messages, so that even a killed recording explains itself."""
        run = self.database.execute
        run("INSERT INTO schema VALUES (4, ?)", (DISTRO,))
        for name, topic in TOPICS.items():
            values = (self.ids[name], name, topic.type, "cdr", dump(offered(topic)), definition(topic.type)[1])
            run("INSERT INTO topics VALUES (?, ?, ?, ?, ?, ?)", values)
        for number, kind in enumerate(sorted({topic.type for topic in TOPICS.values()}), start=1):
            text, digest = definition(kind)
            run("INSERT INTO message_definitions VALUES (?, ?, 'ros2msg', ?, ?)", (number, kind, text, digest))

    def write(self, topic: str, stamp: int, data: bytes) -> None:
        """Take one message, `data` in CDR, at `stamp` nanoseconds; stamps never go back."""
        self.waiting.append((self.ids[topic], stamp, data))
        self.summary.add(topic, stamp)

    def commit_if_due(self) -> None:
        """Commit once BATCH messages wait or `every` has passed; to be called often."""
        late = self.every is not None and monotonic() - self.committed >= self.every
        if late or len(self.waiting) >= BATCH:
            self.commit()

    def commit(self) -> None:
        """Put all that waits on disk."""
        self.database.execute("BEGIN")
        self.database.executemany("INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", self.waiting)
        self.database.execute("COMMIT")
        self.waiting.clear()
        self.committed = monotonic()

    def close(self) -> None:
        """Commit what is left and write the metadata, into the file and then, by rename, beside it."""
        facts = describe(self.summary, self.file, self.notes)
        self.commit()
        self.database.execute("INSERT INTO metadata VALUES (1, ?, ?)", (VERSION, dump(facts)))
        self.database.close()
        draft = self.folder / "metadata.yaml.tmp"
        draft.write_text(dump({"rosbag2_bagfile_information": facts}) + "\n", "utf-8")
        draft.replace(self.folder / "metadata.yaml")
