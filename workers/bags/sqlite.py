"""Opens a .db3 so that it can neither be changed nor do anything but be read. Used by rows.py."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from workers.bags import limits
from workers.bags.compression import opened, read_magic, unpack
from workers.bags.files import Workspace, open_regular, size_of
from workers.bags.problems import Code, Hostile, Problems

MAGIC = b"SQLite format 3\0"
JOURNAL_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
# SQLite knows no longer path (MAX_PATHNAME of its unix layer, less the suffixes it adds).
LONGEST_PATH = 480

TABLES = frozenset({"topics", "messages", "message_definitions", "sqlite_master"})
FUNCTIONS = frozenset({"typeof", "length"})
PRAGMAS = frozenset({"quick_check", "table_list", "table_xinfo", "index_list", "index_xinfo"})
SETUP = (
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "ignore_check_constraints = ON",
    "mmap_size = 0",
    "query_only = ON",
    "temp_store = MEMORY",
    "hard_heap_limit = 536870912",
)
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: limits.RECORD_BYTES,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 25_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
}
COMPUTED = frozenset({"VIEW", "TRIGGER", "VIRTUAL"})
DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG})


# Python's module fails to decode what SQLite says of a schema that is no text.
FAULTS = (sqlite3.DatabaseError, UnicodeDecodeError)


@dataclass(frozen=True)
class Source:
    """A database ready to be opened: where, in which mode, and whether getting there showed damage."""

    path: Path
    mode: str
    damaged: bool


@contextmanager
def prepared(path: Path, workspace: Workspace, problems: Problems) -> Iterator[Source]:
    """The database itself, or a private copy when it is packed or SQLite would write to a log beside it."""
    with TemporaryDirectory(dir=workspace.folder) as private:
        with opened(path) as stream:
            read_magic(stream, MAGIC, "SQLite database")
        copy, fault, logs = Path(private) / "data.db3", None, _logs(path)
        if logs or path.suffix == ".zstd" or len(os.fsencode(path.absolute())) > LONGEST_PATH:
            fault = unpack(path, copy, workspace)
            _place(path, logs, copy, workspace, problems)
        if fault:
            problems.add(Code.COMPRESSION_BROKEN, fault, file=path.name)
        # Only a rollback writes to the file itself; a write-ahead log is read beside it.
        mode = "rw" if "-journal" in logs else "ro" if logs else "ro&immutable=1"
        yield Source(copy if copy.exists() else path.absolute(), mode, damaged=bool(fault) or "-journal" in logs)


@contextmanager
def connected(source: Source, workspace: Workspace, salvage: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection that can only read a bag's tables; `salvage` opens files shorter than their header says."""
    connection = sqlite3.connect(f"{source.path.as_uri()}?mode={source.mode}", uri=True, isolation_level=None)
    with closing(connection):
        for category, limit in LIMITS.items():
            connection.setlimit(category, limit)
        for pragma in SETUP + (("writable_schema = ON",) if salvage else ()):
            connection.execute(f"PRAGMA {pragma}")
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        connection.set_progress_handler(workspace.out_of_time, 100_000)
        connection.set_authorizer(_authorize)
        yield connection


def explain(error: Exception, workspace: Workspace) -> str:
    """What is damaged, of FAULTS. Raises Hostile for what the file tried or took, the error when the machine failed."""
    workspace.check_time()
    if isinstance(error, UnicodeDecodeError):
        return "database is malformed; SQLite's words for it are no text"
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR) & 0xFF
    if code in (sqlite3.SQLITE_AUTH, sqlite3.SQLITE_PERM):
        raise Hostile(f"its schema reaches for more than its tables: {error}") from error
    if code not in DAMAGE:
        raise error
    return " ".join(str(error).split())[:200]


def refuse_hostile_schema(connection: sqlite3.Connection) -> None:
    """Raises Hostile for what computes: views, triggers, virtual tables, generated columns, indexes of expressions."""
    # What the rows say may be false; table_list says what SQLite made of them. It does not list triggers.
    for kind, sql in connection.execute("SELECT type, sql FROM sqlite_master"):
        if not {str(kind).upper(), *str(sql).upper().split(None, 3)[:3]}.isdisjoint(COMPUTED):
            raise Hostile("the database holds a view, trigger or virtual table")
    tables = [row for row in connection.execute("PRAGMA table_list") if row[0] == "main"]
    if len(tables) > limits.TABLES:
        raise Hostile(f"the database holds {len(tables)} tables")
    for _, name, kind, *_ in tables:
        if kind != "table":
            raise Hostile(f"the database holds a {kind} {name[:60]!r}")
        _refuse_computed(connection, name)


def missing_bytes(path: Path) -> int:
    """How much shorter a database is than its header says; within the last page SQLite itself takes that for zeros."""
    with open_regular(path) as file:
        head = file.read(100).ljust(100, b"\0")
        size = file.seek(0, os.SEEK_END)
    page, changed, pages, valid_for = (
        int.from_bytes(head[at:end]) for at, end in ((16, 18), (24, 28), (28, 32), (92, 96))
    )
    page = 65536 if page == 1 else page
    # Writers before SQLite 3.7 left the number of pages as it was.
    whole = pages * page if changed == valid_for else -(-size // page) * page if page else 0
    return max(0, whole - size)


def columns(connection: sqlite3.Connection, table: str) -> dict[str, tuple[str, int]]:
    """Name -> (declared type, position in the primary key) of a table's columns; empty when there is no such table."""
    rows = connection.execute(f"PRAGMA table_xinfo({_quoted(table)})")
    return {name: (kind.upper(), key) for _, name, kind, _, _, key, _ in rows}


def _refuse_computed(connection: sqlite3.Connection, table: str) -> None:
    if any(hidden for *_, hidden in connection.execute(f"PRAGMA table_xinfo({_quoted(table)})")):
        raise Hostile(f"table {table[:60]!r} has a generated column")
    for _, index, _, _, partial in connection.execute(f"PRAGMA index_list({_quoted(table)})").fetchall():
        parts = connection.execute(f"PRAGMA index_xinfo({_quoted(index)})").fetchall()
        if partial or any(column == -2 for _, column, *_ in parts):
            raise Hostile(f"index {index[:60]!r} computes an expression")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _authorize(action: int, first: str | None, second: str | None, _database: str | None, inside: str | None) -> int:
    allowed = (
        action == sqlite3.SQLITE_SELECT
        or (action == sqlite3.SQLITE_READ and first in TABLES)
        or (action == sqlite3.SQLITE_FUNCTION and second in FUNCTIONS)
        or (action == sqlite3.SQLITE_PRAGMA and first in PRAGMAS)
    )
    # `inside` names the view or trigger that asks.
    return sqlite3.SQLITE_OK if allowed and inside is None else sqlite3.SQLITE_DENY


def _logs(path: Path) -> list[str]:
    """Suffixes of the logs beside a database that may hold committed rows, or undo uncommitted ones."""
    plain = path.name.removesuffix(".zstd")
    found = [suffix for suffix in ("-wal", "-wal.zstd") if size_of(path.with_name(plain + suffix))][:1]
    journal = path.with_name(plain + "-journal")
    if size_of(journal):
        with open_regular(journal) as file:
            # A journal whose head is zeroed was committed.
            found += ["-journal"] if file.read(8) == JOURNAL_MAGIC else []
    return found


def _place(path: Path, logs: list[str], copy: Path, workspace: Workspace, problems: Problems) -> None:
    """Puts the logs beside the private copy."""
    for suffix in logs:
        log = path.with_name(path.name.removesuffix(".zstd") + suffix)
        target = copy.with_name(copy.name + suffix.removesuffix(".zstd"))
        if suffix == "-journal":
            _refuse_other_files(log)
            problems.add(Code.JOURNAL_REPLAYED, "a cut transaction was undone by its journal", file=path.name)
        else:
            problems.add(Code.WAL_REPLAYED, "it was not closed: rows of its write-ahead log count too", file=path.name)
        if fault := unpack(log, target, workspace):
            problems.add(Code.COMPRESSION_BROKEN, fault, file=log.name)


def _refuse_other_files(journal: Path) -> None:
    """SQLite deletes the file that the end of a journal names, if that file looks like a stale super-journal."""
    with open_regular(journal) as file:
        file.seek(max(0, journal.stat().st_size - 8))
        if file.read(8) == JOURNAL_MAGIC:
            raise Hostile("its journal names another file")
