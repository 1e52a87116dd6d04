"""Hostile databases: schemas that compute, pages that lie, trees that lead nowhere."""

import os
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

from tests.workers.bags.corpus import Case, Maker, hostile, safe, worthless
from tests.workers.bags.making import kill_writer, messages, write_db3

PAGE = 4096
ENDLESS = """WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n)
    SELECT x AS id, x AS topic_id, x AS timestamp, x AS data FROM n"""
TABLE = "id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL, data BLOB NOT NULL"
DISGUISE = "PRAGMA writable_schema = ON; UPDATE sqlite_master SET {} WHERE name = 'messages';"
MANY_TOPICS = (
    "WITH RECURSIVE n(x) AS (SELECT 3 UNION ALL SELECT x + 1 FROM n WHERE x < {}) "
    "INSERT INTO topics SELECT x, '/t' || x, 'a/msg/B', 'cdr', '' FROM n"
)


def database(*statements: str, count: int = 10, size: int = 100) -> Maker:
    """A sound database of 10 messages, and then these statements."""

    def make(folder: Path) -> Path:
        write_db3(folder / "x.db3", messages(count), size=size)
        connection = sqlite3.connect(folder / "x.db3")
        connection.execute("PRAGMA synchronous = OFF")
        for statement in statements:
            connection.executescript(statement)
        connection.close()
        return folder

    return make


def other_messages(columns: str, rows: str = "") -> Maker:
    return database(f"DROP TABLE messages; CREATE TABLE messages({columns}; {rows}")


def patched(*changes: tuple[int, bytes]) -> Maker:
    """A sound database with other bytes at these places."""

    def change(content: bytearray, _root: int) -> None:
        for place, replacement in changes:
            content[place : place + len(replacement)] = replacement

    return rewritten(change)


def rewritten(change: Callable[[bytearray, int], None], count: int = 10, size: int = 100) -> Maker:
    """A sound database whose bytes are changed; `change` is told where the root of messages lies."""

    def make(folder: Path) -> Path:
        path = write_db3(folder / "x.db3", messages(count), size=size)
        connection = sqlite3.connect(path)
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages'").fetchone()[0]
        connection.close()
        content = bytearray(path.read_bytes())
        change(content, (root - 1) * PAGE)
        path.write_bytes(content)
        return folder

    return make


def cells(content: bytearray, page: int) -> list[int]:
    """Where the cells of the page that begins there lie."""
    first = page + (12 if content[page] == 5 else 8)
    count = struct.unpack_from(">H", content, page + 3)[0]
    return [page + struct.unpack_from(">H", content, first + 2 * cell)[0] for cell in range(count)]


def lead_back(content: bytearray, root: int) -> None:
    """Every child of the root becomes the root's first child."""
    places = cells(content, root)
    for place in places:
        content[place : place + 4] = content[places[0] : places[0] + 4]


def own_parent(content: bytearray, root: int) -> None:
    """The last child of the root is the root."""
    content[root + 8 : root + 12] = struct.pack(">I", root // PAGE + 1)


def endless_payload(content: bytearray, root: int) -> None:
    """The pages that hold a long payload lead round."""
    place = content.index(b"\0" * 4000, len(content) // 2)
    page = place // PAGE
    content[page * PAGE : page * PAGE + 4] = struct.pack(">I", page + 1)


def giant_payload(content: bytearray, root: int) -> None:
    """A payload of 20 KB says that it has 256 MB."""
    first = cells(content, root)[0]
    content[first : first + 3] = b"\xff\xff\x7f"


def thirty_floors(content: bytearray, root: int) -> None:
    """Inner pages that have one child each, deeper than SQLite goes."""
    last = len(content) // PAGE
    content[root : root + 12] = struct.pack(">BHHHBI", 5, 0, 0, PAGE, 0, last + 1)
    for floor in range(30):
        content += struct.pack(">BHHHBI", 5, 0, 0, PAGE, 0, last + floor + 2).ljust(PAGE, b"\0")


def foreign_log(folder: Path) -> Path:
    """Beside a sound database lies the log of another one, whose writer was killed."""
    write_db3(folder / "x.db3", messages(10))
    kill_writer(folder / "other" / "y.db3", committed=50, uncommitted=10, journal="WAL")
    (folder / "other" / "y.db3-wal").rename(folder / "x.db3-wal")
    for left in (folder / "other").iterdir():
        left.unlink()
    (folder / "other").rmdir()
    return folder


def endless_log(folder: Path) -> Path:
    write_db3(folder / "x.db3", messages(10))
    with (folder / "x.db3-wal").open("wb") as log:
        log.write(b"\x37\x7f\x06\x82" + os.urandom(28))
        log.truncate(1 << 40)
    return folder


CASES: dict[str, Case] = {
    "endless view": hostile(database(f"DROP TABLE messages; CREATE VIEW messages AS {ENDLESS}")),
    "endless topics": hostile(
        database(f"DROP TABLE topics; CREATE VIEW topics AS SELECT id, 'a' AS name, 'b' AS type FROM ({ENDLESS})")
    ),
    "view beside": hostile(database(f"CREATE VIEW other AS {ENDLESS}")),
    "view in a table's clothes": hostile(database(DISGUISE.format(f"sql = 'CREATE VIEW messages AS {ENDLESS}'"))),
    "table in a view's clothes": hostile(database(DISGUISE.format("type = 'view'"))),
    "view of the machine": hostile(database("CREATE VIEW v AS SELECT load_extension('/tmp/harm.so')")),
    "trigger": hostile(database("CREATE TRIGGER t AFTER INSERT ON topics BEGIN DELETE FROM messages; END")),
    "virtual table": hostile(database("CREATE VIRTUAL TABLE v USING fts5(a)")),
    "messages as a virtual table": hostile(
        database("DROP TABLE messages; CREATE VIRTUAL TABLE messages USING fts5(id, topic_id, timestamp, data)")
    ),
    "virtual table nobody knows": hostile(
        database(DISGUISE.format("sql = 'CREATE VIRTUAL TABLE messages USING harm(a)', rootpage = 0"))
    ),
    "generated column": hostile(database("ALTER TABLE messages ADD COLUMN g AS (hex(zeroblob(1000000000)))")),
    "generated timestamp": hostile(other_messages(f"{TABLE.replace('INTEGER NOT NULL, data', 'AS (id * 2), data')})")),
    "index of an expression": hostile(database("CREATE INDEX i ON messages (abs(timestamp))")),
    "partial index": hostile(database("CREATE INDEX i ON messages (timestamp) WHERE topic_id > 1")),
    "hundred tables": hostile(database("".join(f"CREATE TABLE t{number}(a);" for number in range(100)))),
    "hundred thousand topics": hostile(database(MANY_TOPICS.format(100_000))),
    "a million topics": hostile(database(MANY_TOPICS.format(1_000_000))),
    "name of a megabyte": hostile(database("UPDATE topics SET name = hex(zeroblob(500000)) WHERE id = 1")),
    "type of a megabyte": hostile(database("UPDATE topics SET type = hex(zeroblob(500000)) WHERE id = 1")),
    "format of a megabyte": hostile(
        database("UPDATE topics SET serialization_format = hex(zeroblob(500000)) WHERE id = 1")
    ),
    "quality of service of forty megabytes": safe(
        database("UPDATE topics SET offered_qos_profiles = hex(zeroblob(20000000))"), messages=10
    ),
    "profiles that are a YAML bomb": safe(
        database("UPDATE topics SET offered_qos_profiles = '- &a [x, x]' || char(10) || '- &b [*a, *a]'"), messages=10
    ),
    "answers longer than may be told": hostile(
        database(
            MANY_TOPICS.format(9_900),
            "UPDATE topics SET name = id || hex(zeroblob(500)), type = hex(zeroblob(500))",
        )
    ),
    "check that costs": safe(other_messages(f"{TABLE}, CHECK (length(hex(randomblob(90000000))) > 5))"), messages=0),
    "default that costs": safe(other_messages(f"{TABLE}, more DEFAULT (hex(zeroblob(1000000000))))"), messages=0),
    "messages without row ids": safe(
        other_messages(f"{TABLE}) WITHOUT ROWID", "INSERT INTO messages VALUES (1, 1, 5, x'00')")
    ),
    "ids of text": worthless(
        other_messages("id TEXT PRIMARY KEY, topic_id, timestamp, data)", "INSERT INTO messages VALUES ('x', 1, 1, 1)")
    ),
    "ids of topics as text": safe(
        database(
            "DROP TABLE topics; CREATE TABLE topics(id TEXT PRIMARY KEY, name, type);"
            "INSERT INTO topics VALUES ('; DROP TABLE messages', '/t', 'a/msg/B')"
        ),
        "message_without_topic",
    ),
    "rows of everything but messages": safe(
        other_messages(
            "id INTEGER PRIMARY KEY, topic_id, timestamp, data)",
            "INSERT INTO messages VALUES (1, 'a', 1, 1), (2, 1, 'noon', 1), (3, 1, 1.5, 1), (4, x'', 1, 1), "
            "(5, 1, 9e999, 1), (6, 1, 1, NULL)",
        ),
        "row_malformed",
        0,
    ),
    "times at the edges of int64": safe(
        database(
            "UPDATE messages SET timestamp = CASE id % 2 WHEN 0 THEN -9223372036854775808 ELSE 9223372036854775807 END"
        ),
        messages=10,
    ),
    "two thousand columns": safe(
        database("CREATE TABLE wide(" + ", ".join(f"c{number}" for number in range(2000)) + ")")
    ),
    "two thousand indexes": safe(
        database("BEGIN;" + "".join(f"CREATE INDEX i{number} ON topics (name);" for number in range(2_000)))
    ),
    "collation nobody knows": safe(
        database(DISGUISE.format("sql = replace(sql, 'timestamp INTEGER', 'timestamp INTEGER COLLATE harm')"))
    ),
    "statistics that lie": safe(
        database("ANALYZE; UPDATE sqlite_stat1 SET stat = '9223372036854775807 -1 unordered sz=0'"), messages=10
    ),
    "names of sixteen bits": safe(
        database("VACUUM; CREATE TABLE t(a); DROP TABLE t; PRAGMA encoding = 'UTF-16'"), messages=10
    ),
    "names that turn round and ring": safe(
        database("UPDATE topics SET name = char(8238) || '../../etc/passwd' || char(0, 7, 27, 10, 65279) || id"),
        messages=10,
    ),
    "messages rooted in the topics": safe(
        database(DISGUISE.format("rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'topics')"))
    ),
    "messages rooted in their index": safe(
        database(DISGUISE.format("rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'timestamp_idx')"))
    ),
    "messages rooted in the schema": safe(database(DISGUISE.format("rootpage = 1")), "database_corrupt"),
    "messages rooted beyond the file": safe(database(DISGUISE.format("rootpage = 999999")), "database_corrupt"),
    "messages rooted below zero": safe(database(DISGUISE.format("rootpage = -5")), "database_corrupt"),
    "schema that is garbage": safe(database(DISGUISE.format("sql = 'CREATE TABLE messages(((('")), "database_corrupt"),
    "pages of 512 bytes that have 4096": safe(patched((16, b"\x02\x00")), "database_corrupt"),
    "pages of 65536 bytes that have 4096": safe(patched((16, b"\x00\x01")), "database_corrupt"),
    "pages of three bytes": safe(patched((16, b"\x00\x03")), "database_corrupt"),
    "pages of no use": safe(patched((20, b"\xff")), "database_corrupt"),
    "sixteen terabytes of pages": safe(patched((28, b"\xff\xff\xff\xff")), "truncated"),
    "format of the future": safe(patched((18, b"\xff\xff")), "database_corrupt"),
    "schema of the future": safe(patched((44, b"\x00\x00\x00\x63")), "database_corrupt"),
    "encoding that is none": safe(patched((56, b"\x00\x00\x00\x63"))),
    "free pages that lead round": safe(
        rewritten(lambda content, _: content.__setitem__(slice(32, 40), struct.pack(">II", 2, 1 << 30)))
    ),
    "tree that leads back into itself": safe(rewritten(lead_back, count=3000, size=400), "database_corrupt"),
    "tree that is its own parent": safe(rewritten(own_parent, count=3000, size=400), "database_corrupt"),
    "tree of thirty floors": safe(rewritten(thirty_floors), "database_corrupt", 0),
    "payload that leads round": safe(rewritten(endless_payload, count=2, size=20_000), "database_corrupt"),
    "payload of 256 megabytes that is not there": safe(
        rewritten(giant_payload, count=1, size=20_000), "database_corrupt", 0
    ),
    "log of another database": safe(foreign_log, "wal_replayed"),
    "log of a terabyte": hostile(endless_log),
}
