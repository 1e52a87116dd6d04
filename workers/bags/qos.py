"""Quality of service as recorders write it: YAML text with numbers or words. Used by the indexers and for slices."""

from functools import lru_cache
from typing import Any, NamedTuple

from workers.bags.metadata import Unreadable, load
from workers.bags.problems import Hostile

# rmw's enums, in the order of their numbers.
WORDS = {
    "history": ("system_default", "keep_last", "keep_all", "unknown"),
    "reliability": ("system_default", "reliable", "best_effort", "unknown"),
    "durability": ("system_default", "transient_local", "volatile", "unknown"),
    "liveliness": ("system_default", "automatic", "manual_by_node", "manual_by_topic", "unknown"),
}
SPANS = ("deadline", "lifespan", "liveliness_lease_duration")
DEPTH = 1_000
# rmw writes "never" as int64 or int32 seconds.
ENDLESS_SECONDS = (1 << 31) - 1
STATIC = "/tf_static"


class Latching(NamedTuple):
    """How many messages a late subscriber hears, and how old they may be."""

    depth: int
    lifespan_ns: int | None


@lru_cache(maxsize=1024)
def latching(topic: str, text: str) -> Latching | None:
    """What a late subscriber hears of a topic offered like this; None when it hears nothing."""
    kept = [profile for profile in profiles(text) if profile["durability"] == "transient_local"]
    if not kept:
        return Latching(1, None) if topic == STATIC else None
    depths = [profile["depth"] for profile in kept if profile["history"] == "keep_last"]
    lifespans = [profile["lifespan"] for profile in kept]
    longest = None if None in lifespans else max(lifespans)
    return Latching(min(max([1, *depths]), DEPTH), longest)


def profiles(text: str) -> list[dict[str, Any]]:
    """The profiles a text lists: words for enums, nanoseconds or None (never) for spans. Nothing of what is none."""
    try:
        found = load(text.encode())
    except (Unreadable, Hostile):
        return []
    return [_profile(each) for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def numbered(text: str) -> str:
    """The same profiles as YAML with numbers, as every rosbag2 before Jazzy wants them; empty when there are none."""
    lines: list[str] = []
    for profile in profiles(text):
        values = {name: words.index(profile[name]) for name, words in WORDS.items()}
        lines.append(f"- history: {values['history']}\n  depth: {profile['depth']}")
        lines += [f"  {name}: {values[name]}" for name in ("reliability", "durability")]
        lines += [_span(name, profile[name]) for name in SPANS[:2]]
        lines.append(f"  liveliness: {values['liveliness']}")
        lines.append(_span(SPANS[2], profile[SPANS[2]]))
        lines.append(f"  avoid_ros_namespace_conventions: {str(profile['plain']).lower()}")
    return "\n".join(lines)


def _span(name: str, nanoseconds: int | None) -> str:
    whole = (1 << 63) - 1 if nanoseconds is None else nanoseconds
    return f"  {name}:\n    sec: {whole // 10**9}\n    nsec: {whole % 10**9}"


def _profile(found: dict[str, Any]) -> dict[str, Any]:
    profile: dict[str, Any] = {name: _word(words, found.get(name)) for name, words in WORDS.items()}
    profile |= {name: _nanoseconds(found.get(name)) for name in SPANS}
    return profile | {
        "depth": _number(found.get("depth")),
        "plain": str(found.get("avoid_ros_namespace_conventions")).lower() == "true",
    }


def _word(words: tuple[str, ...], value: Any) -> str:
    text = str(value).strip().lower()
    if text.isdecimal() and len(text) < 3 and int(text) < len(words):
        return words[int(text)]
    return text if text in words else "unknown"


def _number(value: Any) -> int:
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 20 else 0


def _nanoseconds(value: Any) -> int | None:
    """A span; None for one without end, as both nothing and zero are read by rmw."""
    if not isinstance(value, dict):
        return None
    seconds, rest = _number(value.get("sec")), _number(value.get("nsec"))
    return None if seconds >= ENDLESS_SECONDS or not (seconds or rest) else seconds * 10**9 + rest
