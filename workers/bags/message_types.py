"""Message types out of their definitions: .msg text of ROS 1 and 2, IDL, and what ROS 2 distributions bring along. The
text comes out of recordings, so it is taken apart and never run. Used by decode.py.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from workers.bags import limits
from workers.bags.definitions import spelled
from workers.bags.index import Definition

TEXT_BYTES = limits.MIB
FIELDS = 20_000
SEPARATOR = re.compile(r"^={20,}[ \t]*\r?\n", re.MULTILINE)
HEADING = re.compile(r"[ \t]*(?:MSG|IDL):[ \t]*([A-Za-z0-9_/]+)[ \t]*(?:\r?\n|$)")
# A type, its bounds, a name; what follows is a comment, a default value, or the value of a constant.
FIELD = re.compile(
    r"[ \t]*(?P<type>[A-Za-z][A-Za-z0-9_/]*)(?:<=[0-9]{1,18})?"
    r"(?:\[(?P<bound><=)?(?P<length>[0-9]{0,18})\](?P<array>))?"
    r"[ \t]+(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*(?P<rest>.?)"
)
PRIMITIVES = frozenset(
    {"bool", "byte", "char", "string", "wstring", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)
TIMES = {"time": "builtin_interfaces/msg/Time", "duration": "builtin_interfaces/msg/Duration"}
HEADER = "std_msgs/msg/Header"
# IDL knows no type without members, and ROS 2 makes all of its types by IDL.
DUMMY = "structure_needs_at_least_one_member"
EVENT = "_Event"


class Field(NamedTuple):
    """A member: of a primitive or of another type. `length` is None, 0 for a sequence, or that of a fixed array."""

    name: str
    type: str
    length: int | None = None


Fields = tuple[Field, ...]
Types = Mapping[str, Fields]
ROS1_TIMES: Types = {
    TIMES["time"]: (Field("sec", "uint32"), Field("nanosec", "uint32")),
    TIMES["duration"]: (Field("sec", "int32"), Field("nanosec", "int32")),
}


class Undefined(Exception):
    """A definition that cannot be read. The text says why."""


def defined_types(type_name: str, definition: Definition) -> Types:
    """The types in a definition, that of `type_name` among them. Raises Undefined."""
    if len(definition.data) > TEXT_BYTES:
        raise Undefined(f"a definition of {len(definition.data)} bytes")
    text = definition.data.decode("utf-8", "replace")
    found = _from_idl(text) if definition.encoding == "ros2idl" else _from_msg(spelled(type_name), text)
    if sum(map(len, found.values())) > FIELDS:
        raise Undefined(f"more than {FIELDS} fields")
    return found


@cache
def known_types() -> tuple[Types, ...]:
    """The types of each ROS 2 distribution, the newest first."""
    return tuple(_converted(store.fielddefs) for store in _stores())


def known_definition(name: str, distribution: int) -> Definition:
    """How a distribution, by its place in known_types, defines a type that it knows."""
    text, _ = _stores()[distribution].generate_msgdef(name, ros_version=2)
    return Definition("ros2msg", text.encode())


@cache
def _stores() -> tuple[Any, ...]:
    from rosbags.typesys import Stores, get_typestore  # noqa: PLC0415 slow, and for types without definition only

    return tuple(get_typestore(store) for store in reversed(Stores) if store.name.startswith("ROS2"))


def _from_msg(name: str, text: str) -> dict[str, Fields]:
    sections = SEPARATOR.split(text)
    found: dict[str, Fields] = {}
    for section in sections[1:]:
        heading = HEADING.match(section)
        if heading:
            found.setdefault(spelled(heading[1]), _fields(spelled(heading[1]), section[heading.end() :]))
    request, dashes, response = sections[0].partition("\n---")
    if sections[0].startswith("---"):
        request, dashes, response = "", "---", sections[0][3:]
    if dashes and name.endswith(EVENT):
        return found | _event(name, request, response)
    return found | {name: _fields(name, sections[0])}


def _event(name: str, request: str, response: str) -> dict[str, Fields]:
    """What a service says of itself when it is introspected: its definition is that of the service."""
    service = name.removesuffix(EVENT)
    return {
        f"{service}_Request": _fields(name, request),
        f"{service}_Response": _fields(name, response),
        name: (
            Field("info", "service_msgs/msg/ServiceEventInfo"),
            Field("request", f"{service}_Request", 0),
            Field("response", f"{service}_Response", 0),
        ),
    }


def _fields(owner: str, text: str) -> Fields:
    found = []
    for line in text.splitlines():
        match = FIELD.match(line)
        if match and match["rest"] != "=":
            length = None if match["array"] is None else 0 if match["bound"] else int(match["length"] or 0)
            found.append(Field(match["name"], _full_name(owner, match["type"]), length))
        elif not match and (words := line.split("#")[0].strip()) and not words.startswith(("@", "-")):
            raise Undefined(f"a line {line[:100]!r}")
    return tuple(found)


def _full_name(owner: str, name: str) -> str:
    if name in PRIMITIVES:
        return name
    if "/" in name:
        return spelled(name)
    if name in TIMES:
        return TIMES[name]
    return HEADER if name == "Header" else f"{owner.partition('/')[0]}/msg/{name}"


def _from_idl(text: str) -> dict[str, Fields]:
    from rosbags.typesys import get_types_from_idl  # noqa: PLC0415 for few recordings only

    found: dict[str, Fields] = {}
    for section in _idl_sections(text):
        try:
            found |= _converted(get_types_from_idl(section))
        except Exception as error:  # a parser that meets hostile text may raise anything
            raise Undefined(f"no IDL: {type(error).__name__}") from error
    return found


def _idl_sections(text: str) -> Iterator[str]:
    sections = SEPARATOR.split(text)
    for section in sections:
        heading = HEADING.match(section)
        body = section[heading.end() :] if heading else section
        if body.strip():
            yield body


def _converted(found: Mapping[str, Any]) -> dict[str, Fields]:
    """The library's parse tree of types as ours."""
    return {name: tuple(_field(*field) for field in fields) for name, (_, fields) in found.items()}


def _field(name: str, tree: Any) -> Field:
    kind, inner = tree
    if kind.name in ("BASE", "NAME"):
        return Field(name, _type(kind, inner))
    element, length = inner
    return Field(name, _type(*element), length if kind.name == "ARRAY" else 0)


def _type(kind: Any, inner: Any) -> str:
    return inner[0] if kind.name == "BASE" else inner  # type: ignore[no-any-return]
