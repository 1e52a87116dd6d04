"""metadata.yaml: what the recorder claims, read without trusting it. Used by facts."""

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from workers.bags import limits
from workers.bags.compression import opened
from workers.bags.problems import Code, Hostile, NotARecording, Problems

INTEGER = re.compile(r"-?[0-9]{1,19}")
# libyaml's events where the wheel has it: the same events as the parser in Python, a hundred times as fast.
LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class Unreadable(Exception):
    """metadata.yaml cannot be used; the recording can. The text says why."""


@dataclass(frozen=True)
class Claim:
    """What metadata.yaml says; None for what it does not say. `files` are the last parts of the listed paths."""

    storage: str | None = None
    messages: int | None = None
    start_ns: int | None = None
    duration_ns: int | None = None
    files: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    file_messages: dict[str, int] = field(default_factory=dict)
    topics: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def end_ns(self) -> int | None:
        if not self.messages or self.start_ns is None or self.duration_ns is None:
            return None
        return min(self.start_ns + self.duration_ns, limits.INT64_MAX)


def read_claim(folder: Path, files: tuple[str, ...], problems: Problems) -> Claim | None:
    """The claim of the metadata.yaml among `files`, or None with a problem. Raises Hostile for a YAML bomb."""
    name = next((name for name in files if name.startswith("metadata.yaml")), None)
    if name is None:
        problems.add(Code.METADATA_MISSING, "no metadata.yaml: the recorder did not end well, or the file was lost")
        return None
    try:
        return parse_claim(_read(folder / name))
    except (Unreadable, NotARecording) as error:
        problems.add(Code.METADATA_UNREADABLE, str(error), file=name)
        return None


def parse_claim(text: bytes) -> Claim:
    """Reads versions 1 to 9 of rosbag2's metadata. Raises Unreadable, and Hostile for a YAML bomb."""
    information = _child(load(text), "rosbag2_bagfile_information")
    if not isinstance(information, dict):
        raise Unreadable("no rosbag2_bagfile_information in it")
    paths = [path for path in _items(information, "relative_file_paths") if isinstance(path, str)]
    counted = [(_text(item, "path"), _integer(item, "message_count")) for item in _items(information, "files")]
    return Claim(
        storage=_text(information, "storage_identifier"),
        messages=_integer(information, "message_count"),
        start_ns=_integer(information, "starting_time", "nanoseconds_since_epoch"),
        duration_ns=_integer(information, "duration", "nanoseconds"),
        files=tuple(dict.fromkeys(PurePosixPath(path).name for path in paths)),
        outside=tuple(path for path in paths if path.startswith("/") or ".." in PurePosixPath(path).parts),
        file_messages={PurePosixPath(path).name: count for path, count in counted if path and count is not None},
        topics=_topics(information),
    )


def load(text: bytes) -> Any:
    """YAML as dicts, lists and strings, nothing else. Raises Unreadable; Hostile for nested aliases and depth."""
    if len(text) > limits.METADATA_BYTES:
        raise Unreadable(f"longer than {limits.METADATA_BYTES} bytes")
    try:
        return _build(yaml.parse(text, Loader=LOADER))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Unreadable(f"no YAML: {' '.join(str(error).split())[:200]}") from error


def _build(events: Any) -> Any:
    """Builds from the parser's events, so that nothing hostile is ever composed or expanded."""
    top: list[Any] = []
    open_collections: list[tuple[Any, list[Any]]] = [(None, top)]
    anchors: list[bool] = []
    for number, event in enumerate(events):
        if number > limits.METADATA_NODES:
            raise Unreadable(f"more than {limits.METADATA_NODES} nodes")
        _refuse(event, anchors)
        if isinstance(event, yaml.ScalarEvent):
            open_collections[-1][1].append(event.value)
        elif isinstance(event, yaml.CollectionStartEvent):
            anchors.append(event.anchor is not None)
            open_collections.append((event, []))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchors.pop()
            start, values = open_collections.pop()
            mapping = isinstance(start, yaml.MappingStartEvent)
            open_collections[-1][1].append(_mapping(values) if mapping else values)
    return top[0] if top else None


def _refuse(event: Any, anchors: list[bool]) -> None:
    if isinstance(event, yaml.AliasEvent):
        if any(anchors):
            raise Hostile("metadata.yaml is a YAML bomb: aliases inside what an alias repeats")
        raise Unreadable("it uses aliases, which no recorder writes")
    if getattr(event, "tag", None) not in (None, "!"):
        raise Unreadable("it uses tags, which no recorder writes")
    if len(anchors) > limits.METADATA_DEPTH:
        raise Hostile(f"metadata.yaml nests more than {limits.METADATA_DEPTH} deep")


def _mapping(values: list[Any]) -> dict[str, Any]:
    keys = values[0::2]
    if not all(isinstance(key, str) for key in keys):
        raise Unreadable("a key that is no text")
    return dict(zip(keys, values[1::2], strict=True))


def _read(path: Path) -> bytes:
    with opened(path) as stream:
        return stream.read(limits.METADATA_BYTES + 1)


def _topics(information: Any) -> dict[str, tuple[str, int]]:
    """Name -> (type, count); a topic listed twice counts once, summed. Before version 1 it was topic_and_type."""
    found: dict[str, tuple[str, int]] = {}
    for item in _items(information, "topics_with_message_count"):
        inner = _child(item, "topic_metadata") or _child(item, "topic_and_type")
        name, type_name = _text(inner, "name"), _text(inner, "type")
        if name is not None and type_name is not None:
            count = _integer(item, "message_count") or 0
            found[name] = (type_name, found.get(name, ("", 0))[1] + count)
    return found


def _child(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _items(value: Any, key: str) -> list[Any]:
    found = _child(value, key)
    return found if isinstance(found, list) else []


def _text(value: Any, key: str) -> str | None:
    found = _child(value, key)
    return found if isinstance(found, str) else None


def _integer(value: Any, *keys: str) -> int | None:
    """An int64; None for anything else, as an absent key is."""
    for key in keys:
        value = _child(value, key)
    if not isinstance(value, str) or not INTEGER.fullmatch(value):
        return None
    number = int(value)
    return number if limits.INT64_MIN <= number <= limits.INT64_MAX else None
