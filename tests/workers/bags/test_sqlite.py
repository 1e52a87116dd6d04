"""Databases of any age, left by recorders that were killed, and damaged ones."""

import sqlite3
from pathlib import Path

import pytest
import zstandard

from tests.workers.bags.conftest import Reader
from tests.workers.bags.making import SCHEMA, START, codes, fingerprint, kill_writer, messages, write_db3

INT64 = 2**63


def test_rows_a_killed_recorder_left_in_its_log_count_and_the_originals_stay(tmp_path: Path, read: Reader) -> None:
    kill_writer(tmp_path / "bag" / "x.db3", committed=200, uncommitted=300, journal="WAL")
    before = fingerprint(tmp_path)
    assert (tmp_path / "bag" / "x.db3-wal").stat().st_size > 0
    found = read(tmp_path / "bag")
    assert fingerprint(tmp_path) == before
    assert (found["state"], found["messages"], found["end_ns"]) == ("READY", 200, START + 199)
    assert "wal_replayed" in codes(found)
    assert {file["name"]: file["role"] for file in found["files"]}["x.db3-wal"] == "sidecar"


def test_a_packed_log_counts_too(tmp_path: Path, read: Reader) -> None:
    kill_writer(tmp_path / "x.db3", committed=200, uncommitted=0, journal="WAL")
    for name in ("x.db3", "x.db3-wal"):
        packed = zstandard.ZstdCompressor().compress((tmp_path / name).read_bytes())
        (tmp_path / f"{name}.zstd").write_bytes(packed)
        (tmp_path / name).unlink()
    assert read(tmp_path)["messages"] == 200


def test_a_log_of_another_database_adds_nothing_it_did_not_commit_there(tmp_path: Path, read: Reader) -> None:
    kill_writer(tmp_path / "a" / "x.db3", committed=50, uncommitted=0, journal="WAL")
    write_db3(tmp_path / "b" / "x.db3", messages(10))
    (tmp_path / "b" / "x.db3-wal").write_bytes(b"\x37\x7f\x06\x82" + b"garbage" * 1000)
    assert read(tmp_path / "b")["messages"] == 10


def test_a_cut_transaction_is_undone_and_told(tmp_path: Path, read: Reader) -> None:
    kill_writer(tmp_path / "x.db3", committed=100, uncommitted=5000, journal="DELETE")
    assert (tmp_path / "x.db3-journal").stat().st_size > 512
    before = fingerprint(tmp_path)
    found = read(tmp_path)
    assert fingerprint(tmp_path) == before
    assert (found["state"], found["messages"]) == ("DAMAGED", 100)
    assert "journal_replayed" in codes(found)


def test_a_journal_that_names_another_file_deletes_nothing(tmp_path: Path, read: Reader) -> None:
    kill_writer(tmp_path / "bag" / "x.db3", committed=10, uncommitted=5000, journal="DELETE")
    victim = tmp_path / "victim"
    victim.write_bytes(b"/no/such/journal\0")
    name = str(victim).encode()
    tail = (1).to_bytes(4, "big") + name + len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big")
    with (tmp_path / "bag" / "x.db3-journal").open("ab") as journal:
        journal.write(tail + b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7")
    found = read(tmp_path / "bag")
    assert (found["state"], found["reason"]) == ("REJECTED", "hostile")
    assert victim.exists()


def test_an_empty_log_and_old_shared_memory_are_left_alone(tmp_path: Path, read: Reader) -> None:
    connection = sqlite3.connect(write_db3(tmp_path / "x.db3", messages(10)))
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    (tmp_path / "x.db3-wal").touch()
    (tmp_path / "x.db3-shm").write_bytes(bytes(32768))
    before = fingerprint(tmp_path)
    found = read(tmp_path)
    assert (found["state"], found["messages"]) == ("READY", 10)
    assert "wal_replayed" not in codes(found)
    assert fingerprint(tmp_path) == before


def test_a_read_only_folder_is_read(tmp_path: Path, read: Reader) -> None:
    kill_writer(tmp_path / "bag" / "x.db3", committed=20, uncommitted=0, journal="WAL")
    (tmp_path / "bag").chmod(0o555)
    try:
        assert read(tmp_path / "bag")["messages"] == 20
    finally:
        (tmp_path / "bag").chmod(0o755)


@pytest.mark.parametrize("name", ["x.db3?mode=rwc&z=.db3", "a%20#b&c.db3", "ünï ☃.db3", "'; DROP TABLE messages;.db3"])
def test_names_are_only_names(tmp_path: Path, read: Reader, name: str) -> None:
    write_db3(tmp_path / "plain.db3", messages(10)).rename(tmp_path / name)
    before = fingerprint(tmp_path)
    assert read(tmp_path)["messages"] == 10
    assert fingerprint(tmp_path) == before


def test_a_path_longer_than_sqlite_knows_is_read(tmp_path: Path, read: Reader) -> None:
    deep = tmp_path / "/".join(["d" * 100] * 6)
    deep.mkdir(parents=True)
    write_db3(tmp_path / "x.db3", messages(10)).rename(deep / "x.db3")
    assert read(deep)["messages"] == 10


def test_a_packed_database_is_read(tmp_path: Path, read: Reader) -> None:
    plain = write_db3(tmp_path / "x.db3", messages(10)).read_bytes()
    (tmp_path / "x.db3").unlink()
    (tmp_path / "x.db3.zstd").write_bytes(zstandard.ZstdCompressor().compress(plain))
    found = read(tmp_path)
    assert (found["state"], found["messages"], found["storage"]) == ("READY", 10, "sqlite3")


def test_the_oldest_table_of_topics_is_read(tmp_path: Path, read: Reader) -> None:
    old = "ALTER TABLE topics DROP COLUMN serialization_format; ALTER TABLE topics DROP COLUMN offered_qos_profiles;"
    found = read(write_db3(tmp_path / "x.db3", messages(10), extra=old))
    assert (found["state"], found["messages"]) == ("READY", 10)
    assert all(topic["decodable"] for topic in found["topics"])


def test_a_definition_in_the_file_makes_any_type_decodable(tmp_path: Path, read: Reader) -> None:
    change = """UPDATE topics SET type = 'our_msgs/msg/' || name;
    CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL, encoding TEXT NOT NULL,
        encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL);
    INSERT INTO message_definitions VALUES (1, 'our_msgs/msg//t0', 'ros2msg', 'uint8 x', '');
    INSERT INTO message_definitions VALUES (2, 'our_msgs/msg//t1', 'unknown', '', '');"""
    found = read(write_db3(tmp_path / "x.db3", messages(10), extra=change))
    assert [topic["decodable"] for topic in found["topics"]] == [True, False]


def test_times_at_the_edges_of_int64_are_told(tmp_path: Path, read: Reader) -> None:
    found = read(write_db3(tmp_path / "x.db3", [("/t", -INT64), ("/t", 0), ("/t", INT64 - 1)]))
    assert (found["state"], found["start_ns"], found["end_ns"]) == ("READY", -INT64, INT64 - 1)
    assert found["topics"][0]["frequency_hz"] > 0


def test_ids_at_the_edges_of_int64_are_read(tmp_path: Path, read: Reader) -> None:
    extra = f"UPDATE messages SET id = {INT64 - 1} WHERE id = 3; UPDATE messages SET id = -{INT64 - 1} WHERE id = 2"
    assert read(write_db3(tmp_path / "x.db3", messages(3), extra=extra))["messages"] == 3


def test_rows_that_are_no_messages_are_damage(tmp_path: Path, read: Reader) -> None:
    extra = """INSERT INTO messages (topic_id, timestamp, data) VALUES (1, 'noon', x'00');
    INSERT INTO messages (topic_id, timestamp, data) VALUES (x'ff', 5, x'00');
    INSERT INTO messages (topic_id, timestamp, data) VALUES (77, 5, x'00');
    INSERT INTO messages (topic_id, timestamp, data) VALUES (1, 1.5, x'00');"""
    found = read(write_db3(tmp_path / "x.db3", messages(10), extra=extra))
    assert (found["state"], found["messages"]) == ("DAMAGED", 10)
    assert {"row_malformed", "message_without_topic"} <= set(codes(found))


def test_names_that_are_no_text_are_told_as_text(tmp_path: Path, read: Reader) -> None:
    extra = "UPDATE topics SET name = CAST(x'2f00ff' AS TEXT), type = 'a' || char(0) || 'b'"
    found = read(write_db3(tmp_path / "x.db3", messages(1), extra=extra))
    assert [(topic["name"], topic["type"]) for topic in found["topics"]] == [("/\ufffd\ufffd", "a\ufffdb")]


@pytest.mark.parametrize(
    "table",
    [
        "id INTEGER PRIMARY KEY DESC, topic_id, timestamp, data)",
        "id INTEGER, topic_id, timestamp, data, PRIMARY KEY (id, topic_id))",
        "id INTEGER PRIMARY KEY, topic_id, timestamp, data) WITHOUT ROWID",
    ],
)
def test_ids_that_are_no_numbers_of_rows_are_damage_at_worst(tmp_path: Path, read: Reader, table: str) -> None:
    extra = f"DROP TABLE messages; CREATE TABLE messages({table};"
    rows = "INSERT INTO messages VALUES (5, 1, 1, x'00'), ('x', 1, 2, x'00'), (x'01', 1, 3, x'00');"
    found = read(write_db3(tmp_path / "x.db3", messages(1), extra=extra + rows))
    assert found["state"] in ("READY", "DAMAGED")


def test_a_schema_that_is_no_text_is_damage(tmp_path: Path, read: Reader) -> None:
    path = write_db3(tmp_path / "x.db3", messages(10))
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE topics(id", b"CREATE TABLE \xffopics(id"))
    found = read(path)
    assert (found["state"], codes(found)[0]) == ("DAMAGED", "database_corrupt")


def test_another_programs_database_is_no_recording(tmp_path: Path, read: Reader) -> None:
    connection = sqlite3.connect(tmp_path / "x.db3")
    connection.executescript("CREATE TABLE messages(id INTEGER PRIMARY KEY, text TEXT); CREATE TABLE people(name TEXT)")
    connection.close()
    found = read(tmp_path)
    assert (found["state"], found["reason"]) == ("REJECTED", "not_a_recording")


def test_only_a_page_of_rows_is_lost_with_a_page(tmp_path: Path, read: Reader) -> None:
    path = write_db3(tmp_path / "x.db3", messages(2000), size=400)
    with path.open("r+b") as file:
        file.seek(4096 * 60)
        file.write(b"\xff" * 4096)
    found = read(path)
    assert found["state"] == "DAMAGED"
    assert 1900 < found["messages"] < 2000
    assert found["certificate"]["clock_regressions"] == 0
    gap = found["certificate"]["gaps"][0]
    assert gap["unit"] == "row"
    assert gap["last"] - gap["first"] + 1 == 2000 - found["messages"]


def test_a_torn_payload_costs_its_message_alone(tmp_path: Path, read: Reader) -> None:
    path = tmp_path / "x.db3"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA + "INSERT INTO topics VALUES (1, '/t', 'x/msg/Y', 'cdr', '');")
    connection.executemany(
        "INSERT INTO messages VALUES (?, 1, ?, ?)", [(n, n, bytes([n]) * 20_000) for n in range(1, 9)]
    )
    connection.commit()
    connection.close()
    content = path.read_bytes()
    # An overflow page begins with the number of the next one.
    page = content.index(bytes([4]) * 4000) // 4096 + 1
    path.write_bytes(content[: page * 4096] + b"\x7f\xff\xff\xff" + content[page * 4096 + 4 :])
    found = read(path)
    assert (found["state"], found["messages"]) == ("DAMAGED", 7)
    assert found["certificate"]["gaps"] == [{"file": "x.db3", "unit": "row", "first": 4, "last": 4}]


def test_a_cut_database_gives_what_is_before_the_cut(tmp_path: Path, read: Reader) -> None:
    path = write_db3(tmp_path / "x.db3", messages(2000), size=400)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = read(path)
    assert found["state"] == "DAMAGED"
    assert 0 < found["messages"] < 2000
    assert found["certificate"]["lost"] is None
