"""A metadata.yaml made of what was read, proved by rosbag2's third-party reader and by our own."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
import zstandard
from rosbags.rosbag2 import Reader as ThirdPartyReader

from tests.workers.bags.conftest import Reader
from tests.workers.bags.making import START, codes, messages, write_db3, write_mcap, write_metadata
from workers.bags.rebuild import numbered, rebuild
from workers.bags.scan import Scan

SENT = messages(10)
PROFILE = """- history: {history}
  depth: 10
  reliability: {reliability}
  durability: {durability}
  deadline:
    sec: 2147483647
    nsec: 4294967295
  lifespan:
    sec: 9223372036
    nsec: 854775807
  liveliness: {liveliness}
  liveliness_lease_duration:
    sec: 0
    nsec: 0
  avoid_ros_namespace_conventions: false"""
NUMBERS = PROFILE.format(history=3, reliability=1, durability=2, liveliness=1)
WORDS = PROFILE.format(history="unknown", reliability="reliable", durability="volatile", liveliness="automatic")


def third_party_count(folder: Path, text: str | None) -> tuple[int, int]:
    """Messages that a reader promises, and those it gives, with `text` as metadata.yaml."""
    assert text is not None
    (folder / "metadata.yaml").write_text(text)
    with ThirdPartyReader(folder) as reader:
        return reader.message_count, sum(1 for _ in reader.messages())


def information(text: str | None) -> dict[str, Any]:
    assert text is not None
    found = yaml.safe_load(text)["rosbag2_bagfile_information"]
    assert isinstance(found, dict)
    return found


def offer(*profiles: str) -> str:
    return ";".join(
        f"UPDATE topics SET offered_qos_profiles = '{text}' WHERE id = {number}"
        for number, text in enumerate(profiles, start=1)
    )


def test_it_says_what_rosbag2_would_have_said(tmp_path: Path, read: Reader) -> None:
    write_db3(tmp_path / "bag_0.db3", SENT[:6], extra=offer(NUMBERS, NUMBERS))
    write_db3(tmp_path / "bag_1.db3", SENT[6:], extra=offer(NUMBERS, NUMBERS))
    topic = {
        "name": "/t0",
        "type": "std_msgs/msg/String",
        "serialization_format": "cdr",
        "offered_qos_profiles": NUMBERS,
    }
    times = {"starting_time": {"nanoseconds_since_epoch": START}, "duration": {"nanoseconds": 5_000_000}}
    later = {"starting_time": {"nanoseconds_since_epoch": START + 6_000_000}, "duration": {"nanoseconds": 3_000_000}}
    assert information(read(tmp_path)["rebuilt"]) == {
        "version": 5,
        "storage_identifier": "sqlite3",
        "starting_time": {"nanoseconds_since_epoch": START},
        "duration": {"nanoseconds": 9_000_000},
        "message_count": 10,
        "topics_with_message_count": [
            {"topic_metadata": topic, "message_count": 5},
            {"topic_metadata": topic | {"name": "/t1"}, "message_count": 5},
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": ["bag_0.db3", "bag_1.db3"],
        "files": [
            {"path": "bag_0.db3", **times, "message_count": 6},
            {"path": "bag_1.db3", **later, "message_count": 4},
        ],
    }


def test_with_it_the_folder_has_no_problem_left(tmp_path: Path, read: Reader) -> None:
    write_mcap(tmp_path / "x.mcap", SENT)
    assert third_party_count(tmp_path, read(tmp_path)["rebuilt"]) == (10, 10)
    found = read(tmp_path)
    assert (found["state"], found["problems"], found["rebuilt"]) == ("READY", [], None)


@pytest.mark.parametrize("content", ["", "[", "rosbag2_bagfile_information: {}", "\0\xff"])
def test_it_is_made_where_there_is_none_to_be_used(tmp_path: Path, read: Reader, content: str) -> None:
    write_db3(tmp_path / "x.db3", SENT)
    (tmp_path / "metadata.yaml").write_text(content)
    assert third_party_count(tmp_path, read(tmp_path)["rebuilt"]) == (10, 10)


def test_none_is_made_where_none_is_needed(tmp_path: Path, read: Reader) -> None:
    write_mcap(tmp_path / "lone.mcap", SENT)
    assert read(tmp_path / "lone.mcap")["rebuilt"] is None
    write_metadata(tmp_path, ["lone.mcap"], SENT, message_count=99)
    assert read(tmp_path)["rebuilt"] is None


def test_none_can_be_made_of_several_storages(tmp_path: Path, read: Reader) -> None:
    write_mcap(tmp_path / "x.mcap", SENT)
    write_db3(tmp_path / "y.db3", SENT)
    found = read(tmp_path)
    assert (found["rebuilt"], codes(found)) == (None, ["metadata_missing", "metadata_not_rebuilt"])


def test_one_that_would_be_too_long_is_not_made(tmp_path: Path, read: Reader) -> None:
    long = "UPDATE topics SET type = hex(zeroblob(500))"
    found = read(write_db3(tmp_path / "bag" / "x.db3", messages(2000, topics=2000), extra=long).parent)
    assert (found["messages"], found["rebuilt"], codes(found)[-1]) == (2000, None, "metadata_not_rebuilt")


def test_worthless_files_are_not_listed(tmp_path: Path, read: Reader) -> None:
    write_db3(tmp_path / "bag_0.db3", SENT)
    (tmp_path / "bag_1.db3").touch()
    found = read(tmp_path)
    assert found["state"] == "DAMAGED"
    assert third_party_count(tmp_path, found["rebuilt"]) == (10, 10)


def test_packed_files_are_listed_as_such(tmp_path: Path, read: Reader) -> None:
    for number in range(2):
        plain = write_db3(tmp_path / f"bag_{number}.db3", SENT)
        (tmp_path / f"bag_{number}.db3.zstd").write_bytes(zstandard.ZstdCompressor().compress(plain.read_bytes()))
        plain.unlink()
    text = read(tmp_path)["rebuilt"]
    assert (information(text)["compression_format"], information(text)["compression_mode"]) == ("zstd", "FILE")
    assert third_party_count(tmp_path, text) == (20, 20)


@pytest.mark.parametrize(("packed", "mode"), [(10, "MESSAGE"), (9, ""), (0, "")])
def test_packed_messages_are_known_by_their_bytes(tmp_path: Path, read: Reader, packed: int, mode: str) -> None:
    connection = sqlite3.connect(write_db3(tmp_path / "x.db3", SENT))
    payload = zstandard.ZstdCompressor().compress(b"\0\1\0\0payload")
    connection.execute("UPDATE messages SET data = ? WHERE id <= ?", (payload, packed))
    connection.commit()
    connection.close()
    text = read(tmp_path)["rebuilt"]
    assert information(text)["compression_mode"] == mode
    assert third_party_count(tmp_path, text) == (10, 10)


def test_words_become_the_numbers_that_version_5_has(tmp_path: Path, read: Reader) -> None:
    write_db3(tmp_path / "x.db3", SENT, extra=offer(WORDS, NUMBERS))
    text = read(tmp_path)["rebuilt"]
    topics = information(text)["topics_with_message_count"]
    assert {topic["topic_metadata"]["offered_qos_profiles"] for topic in topics} == {NUMBERS}
    assert third_party_count(tmp_path, text) == (10, 10)


def test_each_offer_of_a_topic_is_listed_the_commonest_first(tmp_path: Path, read: Reader) -> None:
    """Splits may begin before the first publisher is known: readers that match by it would lose their messages."""
    write_db3(tmp_path / "bag_0.db3", SENT[:2], extra=offer("", ""))
    write_db3(tmp_path / "bag_1.db3", SENT[2:9], extra=offer(NUMBERS, NUMBERS))
    write_db3(tmp_path / "bag_2.db3", SENT[9:], extra=offer(NUMBERS, NUMBERS))
    text = read(tmp_path)["rebuilt"]
    topics = [
        (topic["topic_metadata"]["name"], topic["topic_metadata"]["offered_qos_profiles"], topic["message_count"])
        for topic in information(text)["topics_with_message_count"]
    ]
    assert topics == [("/t0", NUMBERS, 4), ("/t0", "", 1), ("/t1", NUMBERS, 4), ("/t1", "", 1)]
    assert third_party_count(tmp_path, text) == (10, 10)


def test_an_empty_topic_is_listed_once(tmp_path: Path, read: Reader) -> None:
    for number, profiles in enumerate(["", NUMBERS]):
        extra = f"DELETE FROM messages; {offer(profiles)}"
        write_db3(tmp_path / f"bag_{number}.db3", messages(1), extra=extra)
    text = read(tmp_path)["rebuilt"]
    assert len(information(text)["topics_with_message_count"]) == 1
    assert information(text)["starting_time"] == {"nanoseconds_since_epoch": 2**63 - 1}
    assert third_party_count(tmp_path, text) == (0, 0)


@pytest.mark.parametrize(
    "profiles",
    ["", "[]", "history: 3", "- 5", "[", "- history: 3", NUMBERS.replace("depth: 10", "depth: x"), "- &a [*a]", "5"],
)
def test_what_is_no_profile_is_none(profiles: str) -> None:
    assert numbered(profiles) == ""


def test_profiles_keep_their_numbers() -> None:
    assert numbered(f"{NUMBERS}\n{WORDS}\n") == f"{NUMBERS}\n{NUMBERS}"
    strange = PROFILE.format(history="new", reliability="best_available", durability=7, liveliness="best_available")
    assert numbered(strange) == PROFILE.format(history=3, reliability=4, durability=7, liveliness=5)


@pytest.mark.parametrize(
    "name", ["/ü☃😀", '"\\x\n', "\x01\x7f\x85\u2028\ufeff", "- a: b # c", "\N{RIGHT-TO-LEFT OVERRIDE}x", "~", "1e5"]
)
def test_any_name_stays_what_it_is(name: str) -> None:
    scan = Scan()
    topic = scan.topic(name, name)
    topic.add(1, -5, 7)
    scan.offer(topic, "", 1)
    text = rebuild("mcap", {f"{name}.mcap": scan})
    assert text is not None
    assert text.isascii()
    found = information(text)
    listed = found["topics_with_message_count"][0]["topic_metadata"]
    assert (listed["name"], listed["type"], found["relative_file_paths"]) == (name, name, [f"{name}.mcap"])
    # rosbag2 reads unsigned numbers.
    assert (found["starting_time"]["nanoseconds_since_epoch"], found["duration"]["nanoseconds"]) == (0, 7)


def test_profiles_of_any_length_cost_no_more_than_a_metadata_file(tmp_path: Path, read: Reader) -> None:
    long = "UPDATE topics SET offered_qos_profiles = hex(zeroblob(3000000))"
    assert third_party_count(tmp_path, _with_no_profiles(read, tmp_path, long)) == (10, 10)


def _with_no_profiles(read: Reader, folder: Path, extra: str) -> str:
    """The text for a file with worthless profiles, which are then taken out of the file, too."""
    path = write_db3(folder / "x.db3", SENT, extra=extra)
    text = read(folder)["rebuilt"]
    connection = sqlite3.connect(path)
    connection.execute("UPDATE topics SET offered_qos_profiles = ''")
    connection.commit()
    connection.close()
    assert isinstance(text, str)
    return text
