"""Which topics are latched, by the quality of service that recorders note: YAML with numbers or words. Used by the
indexers.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from workers.bags.metadata import Unreadable, load
from workers.bags.problems import Hostile
from workers.bags.rebuild import POLICIES

STATIC = "/tf_static"
DEPTH = 1_000
# rmw writes "never" as the largest number of seconds that int32 or int64 holds.
ENDLESS_SECONDS = (1 << 31) - 1


class Latching(NamedTuple):
    """How many messages a late subscriber hears, and how old they may be."""

    depth: int
    lifespan_ns: int | None


@lru_cache(maxsize=1024)
def latching(topic: str, profiles: str) -> Latching | None:
    """What a late subscriber hears of a topic offered like this; None when it hears nothing."""
    kept = [profile for profile in _profiles(profiles) if _policy(profile, "durability") == "transient_local"]
    if not kept:
        return Latching(1, None) if topic == STATIC else None
    depths = [_number(profile.get("depth")) for profile in kept if _policy(profile, "history") == "keep_last"]
    lifespans = [_lifespan_ns(profile.get("lifespan")) for profile in kept]
    longest = max(span or 0 for span in lifespans) if all(lifespans) else None
    return Latching(min(max([1, *depths]), DEPTH), longest)


def _profiles(text: str) -> list[dict[str, Any]]:
    try:
        found = load(text.encode())
    except (Unreadable, Hostile):
        return []
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _policy(profile: dict[str, Any], name: str) -> str:
    """The word for a policy, which may be written as its number."""
    text = str(profile.get(name)).strip().lower()
    words = POLICIES[name]
    return words[int(text)] if text.isdecimal() and len(text) < 3 and int(text) < len(words) else text


def _number(value: Any) -> int:
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 20 else 0


def _lifespan_ns(value: Any) -> int | None:
    """None for one without end, as zero is read, too."""
    if not isinstance(value, dict):
        return None
    seconds, rest = _number(value.get("sec")), _number(value.get("nsec"))
    return None if seconds >= ENDLESS_SECONDS or not seconds + rest else seconds * 10**9 + rest
