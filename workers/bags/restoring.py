"""Makes of a data file that cannot be read in parts one that can: unpacked, with the rows of its log, without what is
torn. Used by indexing.py, and by whoever reads messages of files that were fetched whole.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from workers.bags.compression import unpack
from workers.bags.files import Workspace, size_of
from workers.bags.index_sqlite import CLEAN
from workers.bags.problems import Problems
from workers.bags.recordings import storage
from workers.bags.rows import RowReader
from workers.bags.sqlite import FAULTS, columns, connected, explain, prepared, refuse_hostile_schema

TABLES = {
    "topics": "id INTEGER PRIMARY KEY, name, type, serialization_format, offered_qos_profiles",
    "message_definitions": "topic_type, encoding, encoded_message_definition",
    "messages": "id INTEGER PRIMARY KEY, topic_id, timestamp, data",
}
# The payload as bytes also where it is text.
ROWS = "SELECT id, topic_id, timestamp, CAST(data AS BLOB) FROM messages NOT INDEXED WHERE id >= ? ORDER BY id"
INSERT = "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)"
BATCH = 100


def sidecars(path: Path) -> tuple[str, ...]:
    """Names of the files beside a database that hold rows of it."""
    plain = path.name.removesuffix(".zstd")
    names = (f"{plain}-wal", f"{plain}-wal.zstd") if storage(path.name) == "sqlite3" else ()
    return tuple(name for name in names if size_of(path.with_name(name)))[:1]


@contextmanager
def restored(path: Path, workspace: Workspace, *, salvage: bool = False) -> Iterator[Path]:
    """A file with all that can be read of the one at `path`; gone afterwards. `salvage`: the database is damaged.

    Raises NotARecording, Hostile, and OSError or sqlite3.Error when the machine fails.
    """
    with TemporaryDirectory(dir=workspace.folder) as folder:
        copy = Path(folder) / path.name.removesuffix(".zstd")
        if storage(path.name) == "sqlite3":
            _restore_rows(path, copy, workspace, salvage)
        else:
            unpack(path, copy, workspace)
        yield copy


def _restore_rows(path: Path, copy: Path, workspace: Workspace, salvage: bool) -> None:
    with prepared(path, workspace, Problems()) as source:
        if source.mode == CLEAN and not salvage:
            source.path.rename(copy)
            return
        with connected(source, workspace, salvage=salvage) as connection, closing(sqlite3.connect(copy)) as clean:
            refuse_hostile_schema(connection)
            clean.execute("PRAGMA journal_mode = OFF")
            clean.execute("PRAGMA synchronous = OFF")
            for table, declared in TABLES.items():
                clean.execute(f"CREATE TABLE {table} ({declared})")
            _copy_names(connection, clean)
            _copy_messages(connection, clean, _Salvager(path.name, workspace, Problems()))
            clean.commit()


def _copy_names(connection: sqlite3.Connection, clean: sqlite3.Connection) -> None:
    """Topics and definitions, columns that the database lacks as nulls."""
    for table, declared in list(TABLES.items())[:2]:
        names = [column.split()[0] for column in declared.split(", ")]
        there = columns(connection, table)
        if there:
            chosen = ", ".join(name if name in there else "NULL" for name in names)
            rows = connection.execute(f"SELECT {chosen} FROM {table}")  # noqa: S608 names of ours
            places = ", ".join("?" * len(names))
            clean.executemany(f"INSERT INTO {table} VALUES ({places})", rows)  # noqa: S608 names of ours


def _copy_messages(connection: sqlite3.Connection, clean: sqlite3.Connection, reader: RowReader) -> None:
    """The rows that the reader of facts can read, in its order, whose ids may be anything in a damaged file."""
    try:
        for rows in reader.batches(connection):
            clean.executemany(INSERT, (row[1:] for row in rows))
    except FAULTS as error:
        explain(error, reader.workspace)


class _Salvager(RowReader):
    """Reads rows as its base does, with their data in place of a word on it."""

    question, batch = ROWS, BATCH
