"""MCAP files: whole, cut, broken inside, and of every packing."""

import struct
from pathlib import Path
from zlib import crc32

import pytest
import zstandard
from mcap.writer import CompressionType

from tests.workers.bags.conftest import Reader
from tests.workers.bags.making import START, codes, messages, write_mcap

MAGIC = b"\x89MCAP0\r\n"


def record(opcode: int, content: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(content)) + content


def text(value: str) -> bytes:
    return struct.pack("<I", len(value.encode())) + value.encode()


HEADER = record(1, text("ros2") + text("tests"))
SCHEMA = record(3, struct.pack("<H", 1) + text("a/msg/B") + text("ros2msg") + text("uint8 x"))
CHANNEL = record(4, struct.pack("<HH", 1, 1) + text("/t") + text("cdr") + struct.pack("<I", 0))
END = record(15, bytes(4)) + record(2, bytes(20)) + MAGIC


def message(time: int, channel: int = 1) -> bytes:
    return record(5, struct.pack("<HIQQ", channel, 0, time, time) + b"payload")


@pytest.mark.parametrize("compression", list(CompressionType))
def test_every_packing_is_read(tmp_path: Path, read: Reader, compression: CompressionType) -> None:
    found = read(write_mcap(tmp_path / "x.mcap", messages(100), compression=compression))
    assert (found["state"], found["messages"], found["problems"]) == ("READY", 100, [])
    assert (found["start_ns"], found["end_ns"]) == (START, START + 99_000_000)


def test_files_without_chunks_are_read(tmp_path: Path, read: Reader) -> None:
    found = read(write_mcap(tmp_path / "x.mcap", messages(100), use_chunking=False))
    assert (found["state"], found["messages"]) == ("READY", 100)


def test_a_packed_file_is_read_as_a_stream(tmp_path: Path, read: Reader) -> None:
    plain = write_mcap(tmp_path / "x.mcap", messages(100), size=5000).read_bytes()
    packed = tmp_path / "y.mcap.zstd"
    packed.write_bytes(zstandard.ZstdCompressor().compress(plain))
    assert (read(packed)["state"], read(packed)["messages"]) == ("READY", 100)
    packed.write_bytes(packed.read_bytes()[:-2000])
    found = read(packed)
    assert (found["state"], codes(found)) == ("DAMAGED", ["truncated", "compression_broken"])
    assert 50 < found["messages"] < 100


def test_a_writer_killed_before_the_end_leaves_what_is_whole(tmp_path: Path, read: Reader) -> None:
    content = MAGIC + HEADER + SCHEMA + CHANNEL + b"".join(message(time) for time in range(10))
    (tmp_path / "x.mcap").write_bytes(content + message(10)[:-1])
    found = read(tmp_path / "x.mcap")
    assert (found["state"], found["messages"], codes(found)) == ("DAMAGED", 10, ["truncated"])
    assert found["certificate"]["bytes_skipped"] == len(message(10)) - 1
    assert found["certificate"]["gaps"] == [
        {"file": "x.mcap", "unit": "byte", "first": len(content), "last": len(content) + len(message(10)) - 2}
    ]


def test_an_open_chunk_or_an_absurd_length_ends_what_is_whole(tmp_path: Path, read: Reader) -> None:
    for length in (2**64 - 1, 2**63, 1 << 40, 1 << 28, 5000):
        content = MAGIC + HEADER + SCHEMA + CHANNEL + message(1) + struct.pack("<BQ", 6, length) + bytes(3000)
        (tmp_path / "x.mcap").write_bytes(content)
        found = read(tmp_path / "x.mcap")
        assert (found["state"], found["messages"]) == ("DAMAGED", 1)
        assert found["certificate"]["bytes_skipped"] == 3009


def test_zeros_at_the_end_are_no_records(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "x.mcap").write_bytes(MAGIC + HEADER + SCHEMA + CHANNEL + message(1) + bytes(3_000_000))
    found = read(tmp_path / "x.mcap")
    assert (found["state"], found["messages"], codes(found)) == ("DAMAGED", 1, ["record_malformed"])
    assert found["certificate"]["bytes_skipped"] == 3_000_000


def test_a_broken_chunk_costs_itself_and_the_statistics_tell_how_much(tmp_path: Path, read: Reader) -> None:
    path = write_mcap(tmp_path / "x.mcap", messages(100), compression=CompressionType.ZSTD)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    found = read(path)
    assert found["state"] == "DAMAGED"
    assert "chunk_unreadable" in codes(found)
    certificate = found["certificate"]
    assert certificate["recovered"] + certificate["lost"] == 100
    assert 0 < certificate["lost"] < 20
    assert sum(loss["lost"] for loss in certificate["by_topic"].values()) == certificate["lost"]


def test_a_chunk_that_fails_its_checksum_does_not_count(tmp_path: Path, read: Reader) -> None:
    inner = CHANNEL + message(5)
    body = struct.pack("<QQQI", 5, 5, len(inner), crc32(inner) ^ 1) + text("") + struct.pack("<Q", len(inner)) + inner
    (tmp_path / "x.mcap").write_bytes(MAGIC + HEADER + SCHEMA + CHANNEL + message(1) + record(6, body) + END)
    found = read(tmp_path / "x.mcap")
    assert (found["state"], found["messages"], codes(found)) == ("DAMAGED", 1, ["chunk_unreadable"])


def test_checksums_of_both_sections_are_checked(tmp_path: Path, read: Reader) -> None:
    data = MAGIC + HEADER + SCHEMA + CHANNEL + message(1)
    end = record(15, struct.pack("<I", crc32(data)))
    footer = struct.pack("<BQQQ", 2, 20, 0, 0)
    content = data + end + SCHEMA + footer + struct.pack("<I", crc32(SCHEMA + footer)) + MAGIC
    (tmp_path / "x.mcap").write_bytes(content)
    assert read(tmp_path / "x.mcap")["state"] == "READY"
    for place in (len(data) - 1, len(data + end) + 20):
        broken = bytearray(content)
        broken[place] ^= 1
        (tmp_path / "x.mcap").write_bytes(broken)
        assert codes(read(tmp_path / "x.mcap")) == ["checksum_mismatch"]


def test_messages_of_unknown_channels_are_damage(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "x.mcap").write_bytes(MAGIC + HEADER + SCHEMA + CHANNEL + message(1) + message(2, channel=9) + END)
    found = read(tmp_path / "x.mcap")
    assert (found["state"], found["messages"], codes(found)) == ("DAMAGED", 1, ["message_without_topic"])


def test_times_beyond_int64_count_without_being_told(tmp_path: Path, read: Reader) -> None:
    content = MAGIC + HEADER + SCHEMA + CHANNEL + message(2**63 - 1) + message(2**63) + message(2**64 - 1) + END
    (tmp_path / "x.mcap").write_bytes(content)
    found = read(tmp_path / "x.mcap")
    assert (found["state"], found["messages"], found["end_ns"]) == ("READY", 3, 2**63 - 1)
    assert codes(found) == ["time_out_of_range"]


def test_records_of_the_future_are_passed_over(tmp_path: Path, read: Reader) -> None:
    future = record(0x42, b"what") + record(0x90, b"ours")
    (tmp_path / "x.mcap").write_bytes(MAGIC + HEADER + future + SCHEMA + CHANNEL + future + message(1) + END)
    assert (read(tmp_path / "x.mcap")["state"], read(tmp_path / "x.mcap")["messages"]) == ("READY", 1)


def test_records_whose_inside_does_not_fit_are_damage(tmp_path: Path, read: Reader) -> None:
    bad = record(4, struct.pack("<HHI", 7, 1, 2**31)) + record(5, b"short") + record(3, b"\1")
    (tmp_path / "x.mcap").write_bytes(MAGIC + HEADER + SCHEMA + CHANNEL + bad + message(1) + END)
    found = read(tmp_path / "x.mcap")
    assert (found["state"], found["messages"], codes(found)) == ("DAMAGED", 1, ["record_malformed"] * 3)


@pytest.mark.parametrize(
    ("encoding", "language", "decodable"),
    [
        ("cdr", "ros2msg", True),
        ("cdr", "ros1msg", False),
        ("ros1", "ros1msg", True),
        ("ros1", "ros2msg", False),
        ("json", "jsonschema", True),
        ("protobuf", "protobuf", False),
    ],
)
def test_a_topic_is_decodable_by_how_it_is_written_and_defined(
    tmp_path: Path, read: Reader, encoding: str, language: str, decodable: bool
) -> None:
    schema = record(3, struct.pack("<H", 1) + text("a/msg/B") + text(language) + text("uint8 x"))
    channel = record(4, struct.pack("<HH", 1, 1) + text("/t") + text(encoding) + struct.pack("<I", 0))
    (tmp_path / "x.mcap").write_bytes(MAGIC + HEADER + schema + channel + message(1) + END)
    assert read(tmp_path / "x.mcap")["topics"][0]["decodable"] is decodable


def test_bytes_after_the_end_are_told(tmp_path: Path, read: Reader) -> None:
    path = write_mcap(tmp_path / "x.mcap", messages(5))
    path.write_bytes(path.read_bytes() + b"more")
    assert (read(path)["state"], codes(read(path))) == ("READY", ["trailing_bytes"])


def test_attachments_of_any_size_are_read_past(tmp_path: Path, read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.bags.limits.RECORD_BYTES", 10_000)
    start = MAGIC + HEADER + SCHEMA + CHANNEL
    (tmp_path / "x.mcap").write_bytes(start + record(9, bytes(3_000_000)) + message(1) + END)
    assert (read(tmp_path / "x.mcap")["state"], read(tmp_path / "x.mcap")["messages"]) == ("READY", 1)
    (tmp_path / "x.mcap").write_bytes(start + record(6, bytes(3_000_000)) + message(1) + END)
    found = read(tmp_path / "x.mcap")
    assert (found["state"], found["messages"], codes(found)) == ("DAMAGED", 1, ["record_too_large"])


def test_clock_steps_are_counted_in_file_order(tmp_path: Path, read: Reader) -> None:
    content = MAGIC + HEADER + SCHEMA + CHANNEL + b"".join(message(time) for time in (5, 3, 3, 9, 1))
    (tmp_path / "x.mcap").write_bytes(content)
    assert read(tmp_path / "x.mcap")["certificate"]["clock_regressions"] == 2


def test_statistics_that_count_otherwise_are_a_problem(tmp_path: Path, read: Reader) -> None:
    statistics = record(11, struct.pack("<QHIIIIQQI", 7, 0, 0, 0, 0, 0, 0, 0, 0))
    content = MAGIC + HEADER + SCHEMA + CHANNEL + message(1) + record(15, bytes(4)) + statistics
    (tmp_path / "x.mcap").write_bytes(content + record(2, bytes(20)) + MAGIC)
    assert (read(tmp_path / "x.mcap")["state"], codes(read(tmp_path / "x.mcap"))) == ("READY", ["statistics_mismatch"])
