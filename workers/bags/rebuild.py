"""A metadata.yaml for a folder that has none to be used: what was read of its data files, in rosbag2's version 5, which
every ROS 2 since Galactic reads. Called by facts.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from workers.bags import limits
from workers.bags.metadata import Unreadable, load
from workers.bags.problems import Hostile
from workers.bags.recordings import Storage
from workers.bags.scan import Scan, greatest, least

# The words of Jazzy for the numbers that version 5 has, by their places.
POLICIES = {
    "history": ("system_default", "keep_last", "keep_all", "unknown"),
    "reliability": ("system_default", "reliable", "best_effort", "unknown", "best_available"),
    "durability": ("system_default", "transient_local", "volatile", "unknown", "best_available"),
    "liveliness": ("system_default", "automatic", "manual_by_node", "manual_by_topic", "unknown", "best_available"),
}
TIMES = ("deadline", "lifespan", "liveliness_lease_duration")
NUMBER = re.compile(r"[0-9]{1,20}")
SPECIAL = re.compile(r"[^ !#-\[\]-~]")


class Extent(NamedTuple):
    """Messages and their times, as metadata.yaml writes them."""

    messages: int
    start_ns: int
    duration_ns: int


class Offer(NamedTuple):
    """A topic in one type and format, with the quality of service it was offered in."""

    name: str
    type: str
    format: str
    profiles: str


def rebuild(storage: Storage, files: Mapping[str, Scan]) -> str | None:
    """The text for data files of one storage, by name in the order of their splits; None past METADATA_BYTES.

    A topic whose publishers offered it differently is listed for each offer, because readers match messages by it.
    """
    whole = _extent(list(files.values()))
    compression = _compression(files)
    lines = [
        "rosbag2_bagfile_information:",
        "  version: 5",
        f"  storage_identifier: {storage}",
        *_times(whole, "  "),
        f"  message_count: {whole.messages}",
        *_listed("topics_with_message_count", _topics(files.values())),
        f"  compression_format: {_quoted('zstd' if compression else '')}",
        f"  compression_mode: {_quoted(compression)}",
        *_listed("relative_file_paths", (f"    - {_quoted(name)}" for name in files)),
        *_listed("files", (line for name, scan in files.items() for line in _file(name, _extent([scan])))),
    ]
    text = "\n".join(lines) + "\n"
    return text if len(text) <= limits.METADATA_BYTES else None


def numbered(profiles: str) -> str:
    """Profiles of quality of service with numbers where Jazzy writes words; empty when they are no profiles."""
    try:
        found = load(profiles.encode())
        return "".join(_profile(profile) for profile in found).rstrip() if isinstance(found, list) else ""
    except (Unreadable, Hostile):
        return ""


def _topics(scans: Iterable[Scan]) -> Iterator[str]:
    """The lines of each offer; what was offered without a message only for topics that have none."""
    counts: Counter[Offer] = Counter()
    for scan in scans:
        for (name, _), topic in scan.topics.items():
            for profiles, count in topic.offered.items():
                counts[Offer(name, topic.type, topic.encoding, numbered(profiles))] += count
    heard = {offer[:3] for offer, count in counts.items() if count}
    told = set[tuple[str, ...]]()
    # Players take the first offer of a topic.
    for offer, count in sorted(counts.items(), key=lambda item: (item[0].name, -item[1], item[0])):
        if count or offer[:3] not in heard | told:
            told.add(offer[:3])
            yield from _topic(offer, count)


def _topic(offer: Offer, count: int) -> Iterator[str]:
    yield "    - topic_metadata:"
    yield f"        name: {_quoted(offer.name)}"
    yield f"        type: {_quoted(offer.type)}"
    yield f"        serialization_format: {_quoted(offer.format)}"
    yield f"        offered_qos_profiles: {_quoted(offer.profiles)}"
    yield f"      message_count: {count}"


def _file(name: str, extent: Extent) -> Iterator[str]:
    yield f"    - path: {_quoted(name)}"
    yield from _times(extent, "      ")
    yield f"      message_count: {extent.messages}"


def _times(extent: Extent, indent: str) -> Iterator[str]:
    yield f"{indent}starting_time:"
    yield f"{indent}  nanoseconds_since_epoch: {extent.start_ns}"
    yield f"{indent}duration:"
    yield f"{indent}  nanoseconds: {extent.duration_ns}"


def _listed(name: str, lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return [f"  {name}:", *found] if found else [f"  {name}: []"]


def _extent(scans: list[Scan]) -> Extent:
    """rosbag2 reads unsigned times, and writes the largest when there are no messages."""
    first = last = None
    for topic in (topic for scan in scans for topic in scan.topics.values()):
        first, last = least(first, topic.first), greatest(last, topic.last)
    messages = sum(scan.messages for scan in scans)
    if first is None or last is None:
        return Extent(messages, limits.INT64_MAX, 0)
    start = max(0, first)
    return Extent(messages, start, max(0, last - start))


def _compression(files: Mapping[str, Scan]) -> str:
    if any(name.endswith(".zstd") for name in files):
        return "FILE"
    filled = [scan for scan in files.values() if scan.messages]
    return "MESSAGE" if filled and all(scan.compressed for scan in filled) else ""


def _profile(found: Any) -> str:
    """One profile. Raises Unreadable."""
    if not isinstance(found, dict):
        raise Unreadable("no profile")
    policies = {name: _policy(words, found.get(name)) for name, words in POLICIES.items()}
    times = {name: _time(name, found.get(name)) for name in TIMES}
    plain = str(found.get("avoid_ros_namespace_conventions")).lower()
    return (
        f"- history: {policies['history']}\n  depth: {_number(found.get('depth'))}\n"
        f"  reliability: {policies['reliability']}\n  durability: {policies['durability']}\n"
        f"{times['deadline']}{times['lifespan']}  liveliness: {policies['liveliness']}\n"
        f"{times['liveliness_lease_duration']}"
        f"  avoid_ros_namespace_conventions: {'true' if plain == 'true' else 'false'}\n"
    )


def _policy(words: tuple[str, ...], value: Any) -> int:
    if isinstance(value, str) and value.lower() in words:
        return words.index(value.lower())
    return int(value) if isinstance(value, str) and NUMBER.fullmatch(value) else words.index("unknown")


def _time(name: str, value: Any) -> str:
    if not isinstance(value, dict):
        raise Unreadable(f"no {name}")
    return f"  {name}:\n    sec: {_number(value.get('sec'))}\n    nsec: {_number(value.get('nsec'))}\n"


def _number(value: Any) -> str:
    if not isinstance(value, str) or not NUMBER.fullmatch(value):
        raise Unreadable("no number")
    return value


def _quoted(text: str) -> str:
    """A double-quoted scalar of printable ASCII."""
    return '"' + SPECIAL.sub(_escape, text) + '"'


def _escape(character: re.Match[str]) -> str:
    code = ord(character[0])
    return {10: "\\n", 34: '\\"', 92: "\\\\"}.get(code) or (f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}")
