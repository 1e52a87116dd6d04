"""What one data file was found to hold; filled by the readers of each storage, read by facts and certificate."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from workers.bags.limits import INT64_MAX, METADATA_BYTES, NAME_CHARACTERS
from workers.bags.problems import Hostile


@dataclass
class TopicScan:
    """Messages of one topic; `embedded` says that the file itself defines the type in a way its readers know.

    `offered` counts the messages by the text of the quality of service they were offered with.
    """

    type: str
    count: int = 0
    first: int | None = None
    last: int | None = None
    encoding: str = "cdr"
    embedded: bool = False
    offered: dict[str, int] = field(default_factory=dict)

    def add(self, count: int, first: int | None, last: int | None) -> None:
        self.count += count
        self.first = least(self.first, first)
        self.last = greatest(self.last, last)


@dataclass(frozen=True)
class Gap:
    """An unreadable stretch of a file, in bytes of its unpacked content or row ids; without `last`, to the end."""

    file: str
    unit: str
    first: int
    last: int | None


@dataclass
class Scan:
    """One data file. Topics are keyed by (name, type); `claimed` is what its own statistics say, by topic name.

    `compressed` says that each message is packed by itself, as rosbag2 does in compression mode MESSAGE.
    """

    topics: dict[tuple[str, str], TopicScan] = field(default_factory=dict)
    claimed_messages: int | None = None
    claimed: Counter[str] = field(default_factory=Counter)
    damaged: bool = False
    gaps: list[Gap] = field(default_factory=list)
    clock_regressions: int = 0
    bytes_skipped: int = 0
    compressed: bool = False
    # What more of such texts is kept; longer ones would fit no metadata.yaml.
    offers_left: int = METADATA_BYTES

    def claim(self, messages: int, by_topic: Iterable[tuple[str, int]]) -> None:
        """What the file's own statistics say, in all and by the names of topics."""
        self.claimed_messages = messages
        for name, count in by_topic:
            self.claimed[label(name)] += count

    def claim_found(self) -> None:
        """It says nothing, but ended whole: what was found is all there was."""
        self.claimed_messages = self.messages
        for (name, _), topic in self.topics.items():
            self.claimed[name] += topic.count

    def offer(self, topic: TopicScan, profiles: str, count: int) -> None:
        """Messages of a topic of this file, as they were offered."""
        if profiles not in topic.offered:
            profiles = profiles if len(profiles) <= self.offers_left else ""
            self.offers_left -= len(profiles)
        topic.offered[profiles] = topic.offered.get(profiles, 0) + count

    def topic(self, name: str, type_name: str) -> TopicScan:
        key = (label(name), label(type_name))
        return self.topics.setdefault(key, TopicScan(type=key[1]))

    @property
    def messages(self) -> int:
        return sum(topic.count for topic in self.topics.values())


@dataclass
class Tally:
    """Counts messages by a file's own topic or channel number, in file order."""

    rows: dict[int, list[int]] = field(default_factory=dict)
    clock_regressions: int = 0
    previous: int = -INT64_MAX - 1

    def add_all(self, messages: Iterable[tuple[int, int]]) -> None:
        """Counts (number, time) pairs; one loop, because a recording has millions of them."""
        rows, previous = self.rows, self.previous
        for number, time in messages:
            entry = rows.get(number)
            if entry is None:
                rows[number] = [1, time, time]
            else:
                entry[0] += 1
                if time > entry[2]:
                    entry[2] = time
                elif time < entry[1]:
                    entry[1] = time
            if time < previous:
                self.clock_regressions += 1
            previous = time
        self.previous = previous


def label(text: str) -> str:
    """A name found in a file, without NUL, which no database column takes. Raises Hostile when it is absurdly long."""
    if len(text) > NAME_CHARACTERS:
        raise Hostile(f"a name of {len(text)} characters")
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def least(one: int | None, other: int | None) -> int | None:
    return min((value for value in (one, other) if value is not None), default=None)


def greatest(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)
