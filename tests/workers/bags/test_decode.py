"""Messages as lines of JSON: what is decoded, how it is told, and that what cannot be decoded costs only itself."""

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from workers.bags import message_types
from workers.bags.decode import Decoder
from workers.bags.deserialize import Undecodable
from workers.bags.extract import Message
from workers.bags.index import Definition, Index, IndexedTopic

LE, BE = b"\x00\x01\x00\x00", b"\x00\x00\x00\x00"
SEPARATOR = "=" * 80 + "\n"
COMMON = ["sensor_msgs/PointCloud2", "tf2_msgs/TFMessage", "nav_msgs/Odometry", "std_msgs/Empty"]


def decoder(
    type_name: str, definition: str | bytes | None = None, encoding: str = "cdr", kind: str = "ros2msg"
) -> Decoder:
    data = definition.encode() if isinstance(definition, str) else definition
    topic = IndexedTopic("/t", type_name, encoding, None if data is None else 0, "", False, 1, None)
    return Decoder(Index([topic], [] if data is None else [Definition(kind, data)], []))


def told(made: Decoder, data: bytes, t_ns: int = 5) -> Any:
    """The line of a message, read back as strictly as JSON is."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    line = made.line(Message(0, t_ns, data, t_ns))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line, parse_constant=refuse)


def value(definition: str, data: bytes, **more: str) -> Any:
    found = told(decoder("our_msgs/msg/Thing", definition, **more), data)
    assert found["data"] is not None, found
    return found["data"]


def test_a_line_tells_topic_type_time_and_data() -> None:
    found = told(decoder("std_msgs/msg/String", "string data"), LE + struct.pack("<I", 3) + b"hi\0", 2**62)
    assert found == {"topic": "/t", "type": "std_msgs/msg/String", "t_ns": 2**62, "data": {"data": "hi"}}
    assert list(found) == ["topic", "type", "t_ns", "data"]


@pytest.mark.parametrize(
    ("definition", "content", "expected"),
    [
        ("bool a\nbyte b\nchar c\nint8 d\nuint8 e", b"\1\2\3\xff\xff", {"a": True, "b": 2, "c": 3, "d": -1, "e": 255}),
        ("int64 a\nuint64 b", struct.pack("<qQ", -(2**63), 2**64 - 1), {"a": -(2**63), "b": 2**64 - 1}),
        ("uint8 a\nfloat64 b", b"\1" + bytes(7) + struct.pack("<d", 0.1), {"a": 1, "b": 0.1}),
        ("float32 a", struct.pack("<f", 0.5), {"a": 0.5}),
        ("float64[3] a", struct.pack("<3d", float("nan"), float("inf"), -float("inf")),
         {"a": ["NaN", "Infinity", "-Infinity"]}),
        ("float32[] a", struct.pack("<I2f", 2, 1.5, float("nan")), {"a": [1.5, "NaN"]}),
        ("uint8[] a", struct.pack("<I", 3) + b"\0\1\xff", {"a": base64.b64encode(b"\0\1\xff").decode()}),
        ("byte[2] a\nchar[] b", b"xy\0\0" + struct.pack("<I", 1) + b"z", {"a": "eHk=", "b": "eg=="}),
        ("int8[] a", struct.pack("<I", 2) + b"\xff\1", {"a": [-1, 1]}),
        ("bool[] a", struct.pack("<I", 2) + b"\1\0", {"a": [True, False]}),
        ("float64[] a\nuint8 b", struct.pack("<I", 0) + b"\7", {"a": [], "b": 7}),
        ("string[] a", struct.pack("<II", 2, 1) + b"\0\0\0\0" + struct.pack("<I", 2) + b"x\0", {"a": ["", "x"]}),
        ("string[2] a", struct.pack("<I", 0) + struct.pack("<I", 2) + b"x\0", {"a": ["", "x"]}),
        ("string<=5 a\nint32[<=3] b", struct.pack("<I", 2) + b"x\0\0\0" + struct.pack("<Ii", 1, -1),
         {"a": "x", "b": [-1]}),
        ("string a", struct.pack("<I", 3) + b"\xff\xfe\0", {"a": "\ufffd\ufffd"}),
        ("", b"\0", {}),
        ("# only a comment\n\nint32 LIMIT=5\nstring NAME = 'a # b'\nint32 a 7 # default\nstring s \"#x\"",
         struct.pack("<iI", 9, 0), {"a": 9, "s": ""}),
        ("builtin_interfaces/Time stamp\nduration rest\n" + SEPARATOR
         + "MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec",
         struct.pack("<iIiI", -1, 2, 3, 4), {"stamp": {"sec": -1, "nanosec": 2}, "rest": {"sec": 3, "nanosec": 4}}),
        ("Part[2] parts\nPart[] more\nint8 end\n" + SEPARATOR + "MSG: our_msgs/Part\nint8 a\nint16 b",
         b"\1\0\2\0\3\0\4\0" + struct.pack("<I", 1) + b"\5\0\6\0\7",
         {"parts": [{"a": 1, "b": 2}, {"a": 3, "b": 4}], "more": [{"a": 5, "b": 6}], "end": 7}),
        ("Header header\nEmpty e\nuint8 b\r\n" + SEPARATOR + "MSG: our_msgs/msg/Empty\n",
         struct.pack("<iII", 1, 2, 2) + b"x\0" + b"\0\7",
         {"header": {"stamp": {"sec": 1, "nanosec": 2}, "frame_id": "x"}, "e": {}, "b": 7}),
    ],
)  # fmt: skip
def test_cdr_is_told_by_its_definition(definition: str, content: bytes, expected: Any) -> None:
    assert value(definition, LE + content) == expected


def test_big_endian_is_read_too() -> None:
    content = BE + struct.pack(">hxxI2d", -2, 2, 0.5, -0.5)[:8] + struct.pack(">2d", 0.5, -0.5)
    assert value("int16 a\nfloat64[] b", content) == {"a": -2, "b": [0.5, -0.5]}


def test_padding_at_the_end_is_no_data() -> None:
    assert value("uint8 a", LE + b"\1\0\0\0") == {"a": 1}


def test_idl_is_read_with_its_sections() -> None:
    idl = (
        SEPARATOR + "IDL: our_msgs/msg/Thing\nmodule our_msgs { module msg { struct Thing { our_msgs::msg::Part part;"
        " sequence<octet> blob; }; }; };\n"
        + SEPARATOR + "IDL: our_msgs/msg/Part\nmodule our_msgs { module msg {"
        " struct Part { double x; string s; }; }; };\n"
    )
    content = LE + struct.pack("<dI", 1.5, 2) + b"y\0\0\0" + struct.pack("<I", 1) + b"z"
    assert value(idl, content, kind="ros2idl") == {"part": {"x": 1.5, "s": "y"}, "blob": "eg=="}


def test_ros1_is_read_with_its_own_times_and_without_padding() -> None:
    definition = "Header header\nbyte b\nduration d\ntime[] times\nstring s\n" + SEPARATOR + (
        "MSG: std_msgs/Header\nuint32 seq\ntime stamp\nstring frame_id\n")
    content = struct.pack("<IIII1sbiiIII", 7, 2**32 - 1, 5, 1, b"f", -3, -1, -2, 1, 8, 9) + struct.pack("<I", 2) + b"hi"
    found = value(definition, content, encoding="ros1", kind="ros1msg")
    assert found == {
        "header": {"seq": 7, "stamp": {"sec": 2**32 - 1, "nanosec": 5}, "frame_id": "f"},
        "b": -3, "d": {"sec": -1, "nanosec": -2}, "times": [{"sec": 8, "nanosec": 9}], "s": "hi",
    }  # fmt: skip


def test_events_of_services_are_read_by_the_definition_of_the_service() -> None:
    made = decoder("example_interfaces/srv/AddTwoInts_Event", "int64 a\nint64 b\n---\nint64 sum\n")
    info = struct.pack("<BxxxiI", 1, 5, 6) + bytes(range(16)) + bytes(4) + struct.pack("<q", 9)
    content = LE + info + struct.pack("<Iiqq", 1, 0, 2, 3) + struct.pack("<I", 0)
    found = told(made, content)["data"]
    assert found["info"]["stamp"] == {"sec": 5, "nanosec": 6}
    assert (found["request"], found["response"]) == ([{"a": 2, "b": 3}], [])


@pytest.mark.parametrize("distribution", [Stores.ROS2_HUMBLE, Stores.ROS2_JAZZY])
def test_a_type_without_definition_is_read_as_the_newest_distribution_it_fits(distribution: Stores) -> None:
    store = get_typestore(distribution)
    header = store.types["std_msgs/msg/Header"](
        stamp=store.types["builtin_interfaces/msg/Time"](sec=1, nanosec=2), frame_id="x")
    made = store.types["sensor_msgs/msg/Range"]
    more = {"variance": 0.5} if "variance" in made.__dataclass_fields__ else {}  # type: ignore[attr-defined]
    message = made(header=header, radiation_type=0, field_of_view=1.0, min_range=0.0, max_range=2.0, range=1.5, **more)
    data = bytes(store.serialize_cdr(message, "sensor_msgs/msg/Range"))
    for spelling in ("sensor_msgs/msg/Range", "sensor_msgs/Range"):
        found = told(decoder(spelling), data)["data"]
        assert (found["range"], found.get("variance")) == (1.5, 0.5 if more else None)


def test_a_definition_that_does_not_fit_gives_way_to_what_is_known() -> None:
    made = decoder("std_msgs/msg/String", "uint8 data")
    data = LE + struct.pack("<I", 3) + b"hi\0"
    assert told(made, data)["data"] == {"data": "hi"}
    definition = made.definition(Message(0, 0, data, 0))
    assert definition is not None
    assert get_types_from_msg(definition.data.decode(), "std_msgs/msg/String")["std_msgs/msg/String"][1][0][0] == "data"


@pytest.mark.parametrize(
    ("type_name", "definition", "data"),
    [
        ("our_msgs/msg/Unknown", None, LE + b"x"),
        ("std_msgs/msg/String", None, b""),
        ("std_msgs/msg/String", None, LE),
        ("std_msgs/msg/String", None, b"\x00\x03\x00\x00" + bytes(8)),
        ("std_msgs/msg/String", None, LE + struct.pack("<I", 2**32 - 1)),
        ("std_msgs/msg/String", None, LE + struct.pack("<I", 2) + b"xx"),
        ("std_msgs/msg/String", None, LE + struct.pack("<I", 2) + b"x\0" + bytes(5)),
        ("our_msgs/msg/Bomb", "float64[] a", LE + struct.pack("<I", 2**32 - 1) + bytes(100)),
        ("our_msgs/msg/Bomb", "uint8[] a", LE + struct.pack("<I", 2**31)),
        ("our_msgs/msg/Bomb", "string[] a", LE + struct.pack("<I", 2**31) + bytes(100)),
        ("our_msgs/msg/Bomb", "uint8[999999999999999999] a", LE + bytes(100)),
        ("our_msgs/msg/Bomb", "float64[999999999999999999] a", LE + bytes(100)),
        ("our_msgs/msg/Bomb", f"Part[999999999] a\n{SEPARATOR}MSG: our_msgs/Part\nint8 x", LE + bytes(100)),
        ("our_msgs/msg/Loop", "Loop a", LE + bytes(100)),
        ("our_msgs/msg/Loop", "Loop[] a", LE + struct.pack("<I", 1) * 50),
        ("our_msgs/msg/Thing", "no definition at all", LE + bytes(4)),
        ("our_msgs/msg/Thing", "wstring a", LE + bytes(4)),
        ("our_msgs/msg/Thing", "Missing a", LE + bytes(4)),
        ("our_msgs/msg/Thing", "int32 a\n" * 30_000, LE + bytes(4)),
        ("our_msgs/msg/Thing", b"\xff" * 100, LE + bytes(4)),
    ],
)
def test_what_cannot_be_decoded_is_raw(type_name: str, definition: str | bytes | None, data: bytes) -> None:
    found = told(decoder(type_name, definition), data)
    assert found["data"] is None
    assert base64.b64decode(found["raw"]) == data


@pytest.mark.parametrize("depth", [5, 300])
def test_types_that_unfold_without_end_are_raw(depth: int) -> None:
    parts = "".join(f"{SEPARATOR}MSG: a/L{at}\nL{at + 1}[50] x\nL{at + 1} y\n" for at in range(depth))
    definition = f"L0 x\n{parts}{SEPARATOR}MSG: a/L{depth}\n"
    for encoding, kind in (("cdr", "ros2msg"), ("ros1", "ros1msg")):
        assert told(decoder("a/msg/T", definition, encoding, kind), LE + bytes(1000))["data"] is None


@pytest.mark.parametrize(
    ("encoding", "kind"),
    [("protobuf", "protobuf"), ("wrong_format", "ros2msg"), ("cdr", "omgidl"), ("ros1", "ros2msg")],
)
def test_what_is_not_known_to_be_read_is_raw(encoding: str, kind: str) -> None:
    assert told(decoder("our_msgs/msg/Thing", "uint8 a", encoding, kind), LE + b"\1")["data"] is None


def test_idl_that_is_none_is_raw() -> None:
    for text in ("module a {", "(" * 5000, "struct"):
        assert told(decoder("a/msg/B", text, kind="ros2idl"), LE + b"\1")["data"] is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"b":[1,2.5,null,"\xc3\xa9"],"a":{"n": 12345678901234567890}}',
         {"b": [1, 2.5, None, "é"], "a": {"n": 12345678901234567890}}),
        (b'{\n  "a": 1\n}', {"a": 1}),
        (b"[NaN, Infinity, -Infinity]", ["NaN", "Infinity", "-Infinity"]),
        (b'"\\ud800"', "\ud800"),
        (b"3", 3),
    ],
)  # fmt: skip
def test_json_is_told_as_it_is(text: bytes, expected: Any) -> None:
    assert told(decoder("a.B", encoding="json"), text)["data"] == expected


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 10_000])
def test_what_is_no_json_is_raw(text: bytes) -> None:
    found = told(decoder("a.B", encoding="json"), text)
    assert found["data"] is None
    assert base64.b64decode(found["raw"]) == text


def test_values_may_be_had_without_text() -> None:
    message = Message(0, 5, LE + struct.pack("<d", float("inf")), 5)
    assert decoder("a/msg/B", "float64 x").value(message) == {"x": float("inf")}
    with pytest.raises(Undecodable):
        decoder("a/msg/B", "float64 x").value(message._replace(data=LE))


def test_distributions_are_read_only_when_a_message_needs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_types, "_stores", lambda: pytest.fail("not needed"))
    assert value("uint8 a", LE + b"\1") == {"a": 1}


@settings(max_examples=300, deadline=None)
@given(
    some.sampled_from(COMMON),
    some.binary(max_size=400),
    some.booleans(),
)
def test_any_bytes_give_a_line(type_name: str, data: bytes, capsuled: bool) -> None:
    data = LE + data if capsuled else data
    found = told(decoder(type_name), data)
    assert found["data"] is not None or base64.b64decode(found["raw"]) == data


@settings(max_examples=300, deadline=None)
@given(some.text(some.sampled_from("int8[]<=3 float64stringabAB/\n#= 'MSG:-@"), max_size=200), some.binary(max_size=50))
def test_any_definition_gives_a_line(definition: str, data: bytes) -> None:
    assert "data" in told(decoder("a/msg/B", definition), LE + data)
    assert "data" in told(decoder("a/B", definition, "ros1", "ros1msg"), data)
