"""Recordings made to harm: each is refused or read safely, in the cage, and nothing outside of it changes."""

import os
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import zstandard
from lz4 import frame as lz4  # type: ignore[import-untyped]

from tests.workers.bags.making import START, TYPE, codes, fingerprint, messages, write_db3, write_mcap, write_metadata
from tests.workers.bags.test_mcap import CHANNEL, END, HEADER, MAGIC, SCHEMA, message, record, text
from workers.bags.cage import examine

ZEROS = bytes(1 << 20)


def database(*statements: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_db3(folder / "x.db3", messages(10))
        connection = sqlite3.connect(folder / "x.db3")
        for statement in statements:
            connection.executescript(statement)
        connection.close()
        return folder

    return make


def packed_zeros(mebibytes: int, start: bytes = b"") -> bytes:
    packer = zstandard.ZstdCompressor().compressobj()
    return b"".join([packer.compress(start), *(packer.compress(ZEROS) for _ in range(mebibytes)), packer.flush()])


def chunk(compression: str, packed: bytes, claimed: int) -> bytes:
    return record(
        6, struct.pack("<QQQI", 0, 0, claimed, 0) + text(compression) + struct.pack("<Q", len(packed)) + packed
    )


def mcap(*parts: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "x.mcap").write_bytes(MAGIC + HEADER + SCHEMA + CHANNEL + message(START) + b"".join(parts) + END)
        return folder / "x.mcap"

    return make


def packed(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder

    return make


def metadata(content: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_db3(folder / "x.db3", messages(10))
        (folder / "metadata.yaml").write_text(content)
        return folder

    return make


ENDLESS = """WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n)
    SELECT x AS id, x AS topic_id, x AS timestamp, x AS data FROM n"""
TABLE = "id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL, data BLOB NOT NULL"
DISGUISE = "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = '{}' WHERE name = 'messages';"
MANY_CHANNELS = b"".join(
    record(4, struct.pack("<HH", number, 1) + text(f"/t{number}") + text("cdr") + bytes(4)) for number in range(12_000)
)

INNER = chunk("", message(1), len(message(1)))
DARK = zstandard.ZstdCompressor().compress(record(5, struct.pack("<HIQQ", 1, 0, 1, 1) + bytes(1 << 24)))

HOSTILE: dict[str, Callable[[Path], Path]] = {
    "endless view": database(f"DROP TABLE messages; CREATE VIEW messages AS {ENDLESS}"),
    "view beside": database(f"CREATE VIEW other AS {ENDLESS}"),
    "view in a table's clothes": database(DISGUISE.format(f"CREATE VIEW messages AS {ENDLESS}")),
    "trigger": database("CREATE TRIGGER t AFTER INSERT ON topics BEGIN DELETE FROM messages; END"),
    "virtual table": database("CREATE VIRTUAL TABLE v USING fts5(a)"),
    "generated column": database("ALTER TABLE messages ADD COLUMN g AS (hex(zeroblob(1000000000)))"),
    "generated timestamp": database(
        f"DROP TABLE messages; CREATE TABLE messages({TABLE.replace('INTEGER NOT NULL, data', 'AS (id * 2), data')})"
    ),
    "index of an expression": database("CREATE INDEX i ON messages (abs(timestamp))"),
    "partial index": database("CREATE INDEX i ON messages (timestamp) WHERE topic_id > 1"),
    "hundred tables": database("".join(f"CREATE TABLE t{number}(a);" for number in range(100))),
    "hundred thousand topics": database(
        "WITH RECURSIVE n(x) AS (SELECT 3 UNION ALL SELECT x + 1 FROM n WHERE x < 100000) "
        "INSERT INTO topics SELECT x, '/t' || x, 'a/msg/B', 'cdr', '' FROM n"
    ),
    "name of a megabyte": database("UPDATE topics SET name = hex(zeroblob(500000)) WHERE id = 1"),
    "packed file that declares a terabyte": packed(
        "x.mcap.zstd", b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 1 << 40) + bytes(50)
    ),
    "chunk that declares a gigabyte": mcap(chunk("zstd", zstandard.ZstdCompressor().compress(bytes(1 << 30)), 1 << 30)),
    "chunk that holds more than it claims": mcap(chunk("zstd", packed_zeros(100), 1000)),
    "lz4 chunk that holds more than it claims": mcap(
        chunk("lz4", lz4.compress(bytes(1 << 20), store_size=False), 1000)
    ),
    "chunk that claims a terabyte": mcap(chunk("zstd", packed_zeros(1), 1 << 40)),
    "twelve thousand channels": mcap(MANY_CHANNELS),
    "topic name of a megabyte": mcap(
        record(4, struct.pack("<HH", 5, 1) + text("t" * 1_000_000) + text("cdr") + bytes(4))
    ),
    "yaml alias bomb": metadata(
        "a: &a [x, x, x, x]\n"
        + "".join(f"{c}: &{c} [*{p}, *{p}, *{p}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True))
    ),
    "yaml nested deep": metadata("[" * 200_000),
}

SAFE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "yaml tag": (metadata("!!python/object/apply:os.system ['touch /tmp/harm']"), "metadata_unreadable"),
    "yaml of ten megabytes": (metadata("a" * 10_000_000), "metadata_unreadable"),
    "yaml number of a megabyte": (
        metadata("rosbag2_bagfile_information: {message_count: " + "1:" * 200_000 + "1}"),
        "",
    ),
    "check that costs": (
        database(f"DROP TABLE messages; CREATE TABLE messages({TABLE}, CHECK (length(hex(randomblob(90000000))) > 5))"),
        "",
    ),
    "chunk in a chunk": (mcap(chunk("", INNER, len(INNER))), "record_malformed"),
    "half a gigabyte of zeros": (packed("x.mcap.zstd", packed_zeros(500, MAGIC + HEADER)), "record_malformed"),
    "chunks of a dark world": (mcap(*[chunk("zstd", DARK, len(zstandard.decompress(DARK)))] * 20), ""),
    "chunk of an unknown packing": (mcap(chunk("bz2", b"abc", 10)), "chunk_unreadable"),
    "chunk of garbage": (mcap(chunk("zstd", b"garbage", 10)), "chunk_unreadable"),
    "lz4 chunk of garbage": (mcap(chunk("lz4", b"garbage", 10)), "chunk_unreadable"),
    "record of exabytes": (mcap(struct.pack("<BQ", 5, 1 << 62)), "truncated"),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_made_to_harm_is_rejected(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    found = examined(tmp_path, make)
    assert (found["state"], found["reason"], found["messages"]) == ("REJECTED", "hostile", 0), found["problems"]
    assert codes(found)[-1] == "hostile"
    assert found["files"]


@pytest.mark.parametrize(("make", "code"), SAFE.values(), ids=SAFE.keys())
def test_what_does_no_harm_is_read_all_the_same(tmp_path: Path, make: Callable[[Path], Path], code: str) -> None:
    found = examined(tmp_path, make)
    assert found["state"] in ("READY", "DAMAGED"), found["problems"]
    assert not code or code in codes(found)


def examined(folder: Path, make: Callable[[Path], Path]) -> dict[str, Any]:
    inside, scratch = folder / "recording", folder / "scratch"
    inside.mkdir()
    scratch.mkdir()
    path = make(inside)
    before = fingerprint(inside)
    found = examine(path, 30, scratch=scratch)
    assert fingerprint(inside) == before
    assert list(scratch.iterdir()) == []
    return found


def test_links_and_pipes_in_a_listed_place_are_not_followed(tmp_path: Path) -> None:
    secret = write_mcap(tmp_path / "secret.mcap", messages(10))
    bag = tmp_path / "bag"
    bag.mkdir()
    (bag / "a.mcap").symlink_to(secret)
    os.mkfifo(bag / "b.db3")
    (bag / "metadata.yaml").symlink_to(secret)
    found = examine(bag, 30)
    assert (found["state"], found["reason"], found["files"]) == ("REJECTED", "not_a_recording", [])
    (bag / "metadata.yaml").unlink()
    write_metadata(bag, ["a.mcap"], messages(10))
    assert examine(bag, 30)["state"] == "REJECTED"


def test_a_chunk_may_lie_about_its_checksum_but_not_be_counted(tmp_path: Path) -> None:
    inner = message(7)
    body = struct.pack("<QQQI", 0, 0, len(inner), crc32(inner) ^ 5) + text("") + struct.pack("<Q", len(inner)) + inner
    assert examined(tmp_path, mcap(record(6, body)))["messages"] == 1


def test_a_database_whose_tree_leads_back_into_itself_ends(tmp_path: Path) -> None:
    path = write_db3(tmp_path / "x.db3", messages(3000), size=400)
    content = bytearray(path.read_bytes())
    connection = sqlite3.connect(path)
    root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages'").fetchone()[0]
    connection.close()
    start = (root - 1) * 4096
    cells = struct.unpack_from(">H", content, start + 3)[0]
    assert content[start] == 5
    # Every child of the root becomes the root's first child.
    first = content[start + struct.unpack_from(">H", content, start + 12)[0] :][:4]
    for cell in range(cells):
        place = start + struct.unpack_from(">H", content, start + 12 + 2 * cell)[0]
        content[place : place + 4] = first
    path.write_bytes(content)
    found = examine(path, 30)
    assert found["state"] == "DAMAGED"
    assert found["messages"] <= 3000
    assert TYPE in {topic["type"] for topic in found["topics"]}
