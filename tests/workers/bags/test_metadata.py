"""Reading metadata.yaml of any age, and of ill will."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from workers.bags import limits
from workers.bags.metadata import Unreadable, load, parse_claim
from workers.bags.problems import Hostile


def test_every_scalar_stays_text() -> None:
    assert load(b"{a: 1, b: [yes, ~, 1:2:3, 0x10], c: {}, d: ''}") == {
        "a": "1",
        "b": ["yes", "~", "1:2:3", "0x10"],
        "c": {},
        "d": "",
    }


def test_the_first_layout_and_todays_are_read_alike() -> None:
    old = b"""rosbag2_bagfile_information:
  storage_identifier: sqlite3
  relative_file_paths: [bag/x.db3]
  duration: {nanoseconds: 5}
  starting_time: {nanoseconds_since_epoch: 7}
  message_count: 3
  topics_with_message_count:
    - topic_and_type: {name: /a, type: std_msgs/String}
      message_count: 3
"""
    new = old.replace(b"topic_and_type", b"topic_metadata") + b"  files: [{path: x.db3, message_count: 4}]\n"
    claim = parse_claim(old)
    assert (claim.files, claim.messages, claim.start_ns, claim.end_ns) == (("x.db3",), 3, 7, 12)
    assert claim.topics == {"/a": ("std_msgs/String", 3)}
    assert parse_claim(new).topics == claim.topics
    assert parse_claim(new).file_messages == {"x.db3": 4}


@pytest.mark.parametrize("value", ["12345678901234567890123", "9223372036854775808", "1e5", "1:30", "[1]", "-", "true"])
def test_what_is_no_int64_is_no_claim(value: str) -> None:
    assert parse_claim(f"rosbag2_bagfile_information: {{message_count: {value}}}".encode()).messages is None


def test_an_end_beyond_int64_is_cut() -> None:
    text = f"rosbag2_bagfile_information: {{message_count: 1, duration: {{nanoseconds: {limits.INT64_MAX}}},"
    text += f" starting_time: {{nanoseconds_since_epoch: {limits.INT64_MAX}}}}}"
    assert parse_claim(text.encode()).end_ns == limits.INT64_MAX


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[1, 2]",
        b"rosbag2_bagfile_information: 5",
        b"other: {}",
        b"a: &x 1\nb: *x",
        b"a: !!python/object/apply:os.system [id]",
        b"{[1]: 2}",
        b"\x00\xff\xfe",
        b"a: b: c",
        b"a: 'unended",
        b"a" * (limits.METADATA_BYTES + 1),
    ],
)
def test_what_is_no_metadata_is_unreadable(text: bytes) -> None:
    with pytest.raises(Unreadable):
        parse_claim(text)


@pytest.mark.parametrize(
    "text",
    [
        b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
        b"a: &a {k: *a}",
        b"[" * 20_000,
        b"{a: " * 20_000,
        b"- " * 5_000,
    ],
)
def test_bombs_are_hostile(text: bytes) -> None:
    with pytest.raises(Hostile):
        parse_claim(text)


@settings(max_examples=200, deadline=None)
@given(some.one_of(some.binary(max_size=200), some.text("ab:-[]{}&*!'\"|>#,? \n\t1", max_size=60).map(str.encode)))
def test_any_bytes_are_a_claim_or_refused(text: bytes) -> None:
    with suppress(Unreadable, Hostile):
        parse_claim(text)
