"""Puts the data files of a recording together in one index: the same topic of several files becomes one. Used by
indexing.py, and by restoring.py for files that could not be indexed where they lie.
"""

from collections.abc import Mapping
from dataclasses import replace

from workers.bags.index import QOS_CHARACTERS, Definition, Index, IndexedFile, IndexedTopic, Places
from workers.bags.index_blocks import Gathered, LocalTopic
from workers.bags.qos import latching
from workers.bags.scan import greatest, least

Key = tuple[str, str, str, Definition | None, str]


class Merger:
    """Adds files one after another to the topics that are known."""

    def __init__(self, offered: Mapping[str, str], index: Index | None = None) -> None:
        """`offered` is the QoS of topics by name, for files that do not say it; `index` is where to go on from."""
        self._offered = offered
        self.topics = list(index.topics) if index else []
        self.definitions = list(index.definitions) if index else []
        self._known = {self._key_of(topic): number for number, topic in enumerate(self.topics)}
        self._defined = {definition: number for number, definition in enumerate(self.definitions)}

    def add(self, gathered: Gathered, *, counted: bool = True) -> IndexedFile:
        """The file with its topics' places in this index; `counted`: its messages are new to the index."""
        numbers = {}
        for local, topic in gathered.topics.items():
            numbers[local] = number = self._number(topic)
            if counted and local in gathered.totals:
                count, first, last = gathered.totals[local]
                known = self.topics[number]
                self.topics[number] = replace(
                    known,
                    count=known.count + count,
                    first_ns=least(known.first_ns, first),
                    last_ns=greatest(known.last_ns, last),
                )
        return replace(gathered.file, topics=numbers, places=_places(gathered, numbers))

    def _number(self, topic: LocalTopic) -> int:
        qos = topic.qos or self._offered.get(topic.name, "")
        qos = qos if len(qos) <= QOS_CHARACTERS else ""
        key = (topic.name, topic.type, topic.encoding, topic.definition, qos)
        if key not in self._known:
            self._known[key] = len(self.topics)
            self.topics.append(self._new(topic, qos))
        return self._known[key]

    def _new(self, topic: LocalTopic, qos: str) -> IndexedTopic:
        kept = latching(topic.name, qos)
        definition = None
        if topic.definition:
            definition = self._defined.setdefault(topic.definition, len(self.definitions))
            self.definitions += [topic.definition] if definition == len(self.definitions) else []
        return IndexedTopic(
            name=topic.name,
            type=topic.type,
            encoding=topic.encoding,
            definition=definition,
            qos=qos,
            latched=kept is not None,
            depth=kept.depth if kept else 1,
            lifespan_ns=kept.lifespan_ns if kept else None,
        )

    def _key_of(self, topic: IndexedTopic) -> Key:
        definition = None if topic.definition is None else self.definitions[topic.definition]
        return topic.name, topic.type, topic.encoding, definition, topic.qos


def _places(gathered: Gathered, numbers: Mapping[int, int]) -> list[Places]:
    """The places of topics all of whose messages have theirs: several of a file's own topics may be one of ours."""
    placed = {place.topic for place in gathered.file.places}
    partly = {number for local, number in numbers.items() if local in gathered.totals and local not in placed}
    moved = [replace(place, topic=numbers[place.topic]) for place in gathered.file.places]
    return [place for place in moved if place.topic not in partly]
