"""Reads serialized messages into JSON types by readers made of message types: CDR, and the bytes of ROS 1. Every length
is held against the bytes that are left. Used by decode.py.
"""

import base64
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from struct import Struct
from struct import error as StructError
from typing import Any, NamedTuple

from workers.bags.message_types import DUMMY, Field, Fields, Types

# What struct calls a primitive, and how many bytes it takes.
CODES = {
    "bool": ("?", 1), "byte": ("B", 1), "char": ("B", 1), "int8": ("b", 1), "uint8": ("B", 1), "int16": ("h", 2),
    "uint16": ("H", 2), "int32": ("i", 4), "uint32": ("I", 4), "int64": ("q", 8), "uint64": ("Q", 8),
    "float32": ("f", 4), "float64": ("d", 8),
}  # fmt: skip
BYTES = frozenset({"uint8", "byte", "char"})
DEPTH = 64
# Values that are read at once: of one array of types, and of one type.
FLAT_ARRAY, FLAT_TYPE = 256, 20_000
# Elements of a message that may take no bytes, as those of an empty type do in ROS 1.
FREE_ELEMENTS = 10_000

Read = Callable[[bytes, int], tuple[Any, int]]
Build = Callable[[Iterator[Any]], Any]


class Undecodable(Exception):
    """A message that is not what its type says, or a type that cannot be read. The text says why."""


class Format(NamedTuple):
    """How a serialization lays values out: byte order '<' or '>', whether they are aligned, where the first one is."""

    order: str
    aligned: bool
    origin: int


CDR = {b"\x00\x00": Format(">", True, 4), b"\x00\x01": Format("<", True, 4)}
ROS1 = Format("<", False, 0)


class Flat(NamedTuple):
    """Values of a fixed number and size: (struct code, how many, bytes of each), and what is built of them."""

    leaves: list[tuple[str, int, int]]
    build: Build
    nodes: int


class Reader:
    """Reads messages of one type. Raises Undecodable at once for a type that cannot be read."""

    def __init__(self, name: str, types: Types, layout: Format) -> None:
        self.name, self.types, self._layout = name, types, layout
        self._flats: dict[str, Flat | None] = {}
        self._least: dict[str, int] = {}
        self._readers: dict[str, Read] = {}
        self._length = Struct(f"{layout.order}I")
        self._free = 0
        self._read = self._of_type(name, 0)

    def read(self, data: bytes) -> Any:
        """The message, which must fill `data` but for padding. Raises Undecodable."""
        self._free = FREE_ELEMENTS
        try:
            value, at = self._read(data, self._layout.origin)
        except (StructError, UnicodeDecodeError) as error:
            raise Undecodable(str(error)) from error
        if not at <= len(data) <= at + (3 if self._layout.aligned else 0):
            raise Undecodable(f"{at} of {len(data)} bytes read")
        return value

    def _fields(self, name: str, depth: int) -> Fields:
        if depth > DEPTH or name not in self.types:
            raise Undecodable(f"no type {name[:100]!r}" if depth <= DEPTH else "types nest too deeply")
        fields = self.types[name]
        # Nothing takes a byte in CDR.
        return fields or ((Field(DUMMY, "uint8"),) if self._layout.aligned else ())

    def _of_type(self, name: str, depth: int) -> Read:
        """What reads a value that is no primitive."""
        if name == "string":
            return self._string
        if name not in self._readers:
            self._readers[name] = self._compile(self._fields(name, depth), depth)
        return self._readers[name]

    def _compile(self, fields: Fields, depth: int) -> Read:
        steps: list[tuple[str, Read]] = []
        run: list[tuple[str, Flat]] = []
        for field in fields:
            flat = self._flat_field(field, depth + 1)
            if flat:
                run.append((field.name, flat))
            else:
                steps += [("", self._run(run))] if run else []
                steps.append((field.name, self._variable(field, depth + 1)))
                run = []
        steps += [("", self._run(run))] if run else []

        def read(data: bytes, at: int) -> tuple[Any, int]:
            value: dict[str, Any] = {}
            for name, step in steps:
                found, at = step(data, at)
                if name:
                    value[name] = found
                else:
                    value |= found
            return value, at

        return steps[0][1] if len(steps) == 1 and not steps[0][0] else read

    def _run(self, run: list[tuple[str, Flat]]) -> Read:
        """What reads fields of fixed size that follow each other."""
        leaves = [leaf for _, flat in run for leaf in flat.leaves]
        shift, aligned = -self._layout.origin, self._layout.aligned
        structs = [self._struct(leaves, start) for start in range(8 if aligned else 1)]
        mask = len(structs) - 1
        names = [name for name, _ in run]
        plain = all(flat.build is next for _, flat in run)
        builds = [(name, flat.build) for name, flat in run if name != DUMMY]

        def read_plain(data: bytes, at: int) -> tuple[Any, int]:
            struct = structs[at + shift & mask]
            return dict(zip(names, struct.unpack_from(data, at), strict=True)), at + struct.size

        def read(data: bytes, at: int) -> tuple[Any, int]:
            struct = structs[at + shift & mask]
            values = iter(struct.unpack_from(data, at))
            return {name: build(values) for name, build in builds}, at + struct.size

        return read_plain if plain and DUMMY not in names else read

    def _struct(self, leaves: list[tuple[str, int, int]], start: int) -> Struct:
        form, at = [self._layout.order], start
        for code, count, size in leaves:
            padding = -at % size if self._layout.aligned else 0
            form.append(f"{padding}x{count}{code}")
            at += padding + count * size
        try:
            return Struct("".join(form))
        except StructError as error:
            raise Undecodable(str(error)) from error

    def _flat_field(self, field: Field, depth: int) -> Flat | None:
        """The field as flat values; None when its size is not fixed."""
        if field.length == 0:
            return None
        if field.length is None:
            return self._flat(field.type, depth)
        count = field.length
        if field.type in BYTES:
            return Flat([("s", count, 1)], lambda values: base64.b64encode(next(values)).decode(), 1)
        if field.type in CODES:
            code, size = CODES[field.type]
            return Flat([(code, count, size)], lambda values: list(islice(values, count)), 1)
        flat = self._flat(field.type, depth)
        if flat is None or count * flat.nodes > FLAT_ARRAY:
            return None
        build = flat.build
        return Flat(flat.leaves * count, lambda values: [build(values) for _ in range(count)], count * flat.nodes)

    def _flat(self, name: str, depth: int) -> Flat | None:
        if name in CODES:
            code, size = self._code(name)
            return Flat([(code, 1, size)], next, 1)
        if name == "string":
            return None
        if name not in self._flats:
            fields = self._fields(name, depth)
            flats = [(field.name, flat) for field in fields if (flat := self._flat_field(field, depth + 1))]
            self._flats[name] = _joined(flats) if len(flats) == len(fields) else None
        return self._flats[name]

    def _code(self, name: str) -> tuple[str, int]:
        # A byte of ROS 1 has a sign.
        return ("b", 1) if name == "byte" and not self._layout.aligned else CODES[name]

    def _variable(self, field: Field, depth: int) -> Read:
        if field.length is None:
            return self._of_type(field.type, depth)
        if field.length == 0 and field.type in BYTES:
            return self._bytes
        if field.length == 0 and field.type in CODES:
            return self._numbers(*CODES[field.type])
        element, least = self._of_type(field.type, depth), self._least_of(field.type, depth)
        length, fixed = self._number, field.length

        def read(data: bytes, at: int) -> tuple[Any, int]:
            count = fixed
            if not fixed:
                count, at = length(data, at)
            self._free -= 0 if least else count
            if count * least > len(data) - at or self._free < 0:
                raise Undecodable(f"{count} elements in {len(data) - at} bytes")
            values = []
            for _ in range(count):
                value, at = element(data, at)
                values.append(value)
            return values, at

        return read

    def _least_of(self, name: str, depth: int) -> int:
        """The bytes that a value takes at least."""
        if name in CODES:
            return CODES[name][1]
        if name == "string":
            return self._length.size
        if name not in self._least:
            self._least[name] = sum(
                self._length.size if field.length == 0 else self._least_of(field.type, depth + 1) * (field.length or 1)
                for field in self._fields(name, depth)
            )
        return self._least[name]

    def _number(self, data: bytes, at: int) -> tuple[int, int]:
        """A length."""
        at += -(at - self._layout.origin) & 3 if self._layout.aligned else 0
        return self._length.unpack_from(data, at)[0], at + self._length.size

    def _string(self, data: bytes, at: int) -> tuple[Any, int]:
        length, at = self._number(data, at)
        stop = at + length
        if stop > len(data):
            raise Undecodable(f"a text of {length} bytes in {len(data) - at}")
        if self._layout.aligned and length:
            if data[stop - 1]:
                raise Undecodable("a text without end")
            return data[at : stop - 1].decode("utf-8", "replace"), stop
        return data[at:stop].decode("utf-8", "replace"), stop

    def _bytes(self, data: bytes, at: int) -> tuple[Any, int]:
        length, at = self._number(data, at)
        if length > len(data) - at:
            raise Undecodable(f"{length} bytes in {len(data) - at}")
        return base64.b64encode(data[at : at + length]).decode(), at + length

    def _numbers(self, code: str, size: int) -> Read:
        """What reads a sequence of numbers."""
        layout = self._layout
        native = (layout.order == "<") == (sys.byteorder == "little")

        def read(data: bytes, at: int) -> tuple[Any, int]:
            count, at = self._number(data, at)
            if count and layout.aligned:
                at += -(at - layout.origin) & size - 1
            stop = at + count * size
            if stop > len(data):
                raise Undecodable(f"{count} numbers in {len(data) - at} bytes")
            if native:
                view: Any = memoryview(data)[at:stop]
                return view.cast(code).tolist(), stop
            return list(Struct(f"{layout.order}{count}{code}").unpack_from(data, at)), stop

        return read


def _joined(fields: list[tuple[str, Flat]]) -> Flat:
    """The fields of a type as flat values. Raises Undecodable when they are too many."""
    nodes = 1 + sum(flat.nodes for _, flat in fields)
    if nodes > FLAT_TYPE:
        raise Undecodable(f"a type of {nodes} values")
    builds = [(name, flat.build) for name, flat in fields]

    def build(values: Iterator[Any]) -> Any:
        built = {name: build(values) for name, build in builds}
        built.pop(DUMMY, None)
        return built

    return Flat([leaf for _, flat in fields for leaf in flat.leaves], build, nodes)
