"""Messages as lines of JSON, as the API gives them. What cannot be decoded is given raw: one bad definition or message
costs only itself. Used by the reader's excerpts and by the player.
"""

import base64
import json
import math
from collections import ChainMap
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from workers.bags.definitions import READABLE_DEFINITIONS, READABLE_MESSAGES, spelled
from workers.bags.deserialize import CDR, ROS1, Format, Reader, Undecodable
from workers.bags.index import Definition, Index, IndexedTopic
from workers.bags.message_types import (
    ROS1_TIMES,
    Fields,
    Types,
    Undefined,
    defined_types,
    known_definition,
    known_types,
)
from workers.bags.opening import Message

dumped = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
# The encapsulation before a message in CDR.
HEAD_BYTES = 4
WORDS = {True: "Infinity", False: "-Infinity"}


class Decoder:
    """Decodes the messages of one index."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._heads: dict[int, str] = {}
        self._readers: dict[tuple[int, Format], list[Reader]] = {}
        self._others: dict[tuple[int, Format], list[Reader]] = {}

    def line(self, message: Message) -> bytes:
        """`{"topic","type","t_ns","data"}` and a line break. Of what is undecodable data is null and raw its base64."""
        head = self._heads.get(message.topic)
        if head is None:
            topic = self._index.topics[message.topic]
            head = self._heads[message.topic] = f'{{"topic":{dumped(topic.name)},"type":{dumped(topic.type)},"t_ns":'
        try:
            data = _text(self.value(message))
        except Undecodable:
            data = f'null,"raw":"{base64.b64encode(message.data).decode()}"'
        return f'{head}{message.t_ns},"data":{data}}}\n'.encode()

    def value(self, message: Message) -> Any:
        """The message as JSON types, byte arrays as base64; floats may be infinite or NaN. Raises Undecodable."""
        topic = self._index.topics[message.topic]
        if topic.encoding == "json":
            return _parsed(message.data)
        layout = _layout(topic, message.data)
        for made in (self._recorded, self._known):
            for reader in made(message.topic, layout):
                with suppress(Undecodable):
                    return reader.read(message.data)
        raise Undecodable("not what any definition of its type says")

    def definition(self, message: Message) -> Definition | None:
        """What defines the message: what its recording says, unless that does not fit and what is known does."""
        topic = self._index.topics[message.topic]
        recorded = None if topic.definition is None else self._index.definitions[topic.definition]
        with suppress(Undecodable):
            layout = _layout(topic, message.data)
            if not any(_fits(reader, message.data) for reader in self._recorded(message.topic, layout)):
                for reader in self._known(message.topic, layout):
                    if _fits(reader, message.data):
                        return known_definition(reader.name, known_types().index(reader.types))
        return recorded

    def _recorded(self, number: int, layout: Format) -> list[Reader]:
        """A reader for the type as its recording defines it, if it does."""
        found = self._readers.get((number, layout))
        if found is None:
            found = self._readers[number, layout] = []
            topic = self._index.topics[number]
            for types in self._defined(topic, layout):
                with suppress(Undecodable):
                    found.append(Reader(spelled(topic.type), types, layout))
                    break
        return found

    def _known(self, number: int, layout: Format) -> list[Reader]:
        """A reader for each way in which distributions ever defined the type, the newest first.

        They are tried where the recorded definition does not fit, too: recordings were seen that hold a part of it.
        """
        found = self._others.get((number, layout))
        if found is None:
            found = self._others[number, layout] = []
            name = spelled(self._index.topics[number].type)
            stores = () if layout == ROS1 else known_types()
            ways = {_closure(name, types): types for types in reversed(stores) if name in types}
            found += [Reader(name, types, layout) for types in reversed(ways.values())]
        return found

    def _defined(self, topic: IndexedTopic, layout: Format) -> Iterator[Types]:
        """The types its recording defines; then the same with what distributions add where it lacks parts."""
        definition = None if topic.definition is None else self._index.definitions[topic.definition]
        readable = frozenset({"ros1msg"}) if layout == ROS1 else READABLE_DEFINITIONS
        if definition is None or definition.encoding not in readable:
            return
        try:
            types = defined_types(topic.type, definition)
        except Undefined:
            return
        if layout == ROS1:
            yield {**types, **ROS1_TIMES}
        else:
            yield types
            yield ChainMap(dict(types), *map(dict, known_types()))


def _fits(reader: Reader, data: bytes) -> bool:
    try:
        reader.read(data)
    except Undecodable:
        return False
    return True


def _closure(name: str, types: Types) -> frozenset[tuple[str, Fields]]:
    """A type and all that it is made of."""
    found: dict[str, Fields] = {}
    pending = [name]
    while pending:
        one = pending.pop()
        if one in types and one not in found:
            found[one] = types[one]
            pending += [field.type for field in types[one]]
    return frozenset(found.items())


def _layout(topic: IndexedTopic, data: bytes) -> Format:
    if topic.encoding == "ros1":
        return ROS1
    layout = CDR.get(data[:2]) if topic.encoding in READABLE_MESSAGES and len(data) >= HEAD_BYTES else None
    if layout is None:
        raise Undecodable(f"no CDR: encoding {topic.encoding[:20]!r}, {len(data)} bytes")
    return layout


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"no JSON: {str(error)[:200]}") from error


def _text(value: Any) -> str:
    try:
        return dumped(value)
    except ValueError:
        return dumped(_finite(value))
    except RecursionError as error:
        raise Undecodable("JSON that nests too deeply") from error


def _finite(value: Any) -> Any:
    """The same with words for what JSON has no numbers for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else "NaN" if math.isnan(value) else WORDS[value > 0]
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list) else value
