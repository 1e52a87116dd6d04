"""The program of a playback job: `python -m workers.player [GRANT HOST]`, started by the runtime in the attempt's
folder. Reads the bundle by its index, shows each message when its time has come, and takes orders from web on a port of
its own.

What comes too late is dropped and counted, never shown late. It ends when told to, or when nobody has looked for long.
"""

import json
import math
import queue
import resource
import signal
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from workers.audience import Foxglove, Latched, Streams
from workers.bags import limits
from workers.bags.decode import Decoder
from workers.bags.extract import Message, messages
from workers.bags.fetching import Ranges
from workers.bags.files import Workspace
from workers.bags.index import PACKED_BYTES, Index
from workers.bags.index_codec import unpack
from workers.bags.readable import readable
from workers.deck import Deck
from workers.desk import Desk
from workers.ranges import Connections, HttpRanges, Source, SourceFailed
from workers.uplink import Uplink, grant_of

IDLE_SECONDS = 600.0
LATE_SECONDS = 0.5  # of our time; what is later is not shown
AHEAD_MESSAGES, AHEAD_BYTES, AHEAD_SECONDS = 2000, 64 << 20, 2.0
AHEAD_ALWAYS = 100  # messages, however far on: the next one may be wanted at once
HORIZON_SECONDS = 0.05
KEPT_BYTES = 32 << 20  # of what was read lately
TELL_SECONDS = 1.0


class FreshRanges:
    """The bundle's files by URLs that live a quarter of an hour: when one fails, new ones are asked for, once. Each
    thread has connections of its own; what was read lately is kept, for every jump asks for the same latched messages
    again."""

    def __init__(self, uplink: Uplink) -> None:
        self._uplink = uplink
        self._mine = threading.local()
        self._kept: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._inputs = uplink.inputs()

    def index(self) -> Index:
        """The bundle's index."""
        return unpack(Connections().get_all(self._inputs["index_url"], PACKED_BYTES))

    def read(self, name: str, offset: int, length: int) -> bytes:
        """See Ranges."""
        wish = (name, offset, length)
        with self._lock:
            found = self._kept.pop(wish, None)
        if found is None:
            found = self._fetch(*wish)
        with self._lock:
            self._kept[wish] = found
            while len(self._kept) > 1 and sum(map(len, self._kept.values())) > KEPT_BYTES:
                self._kept.popitem(last=False)
        return found

    def _fetch(self, name: str, offset: int, length: int) -> bytes:
        try:
            return self._ranges().read(name, offset, length)
        except SourceFailed:
            self._inputs = self._uplink.inputs()
            return self._ranges().read(name, offset, length)

    def whole(self, name: str) -> BinaryIO:
        """See Ranges."""
        return self._ranges().whole(name)

    def _ranges(self) -> HttpRanges:
        if getattr(self._mine, "inputs", None) is not self._inputs:
            self._mine.inputs = self._inputs
            self._mine.ranges = HttpRanges({name: Source(file["url"], file["size"])
                                            for name, file in self._inputs["files"].items()}, Connections())
        found: HttpRanges = self._mine.ranges
        return found


@dataclass(frozen=True)
class Audience:
    """Everybody who looks."""

    streams: Streams
    foxglove: Foxglove

    def __len__(self) -> int:
        return len(self.streams) + len(self.foxglove)

    def show(self, message: Message) -> None:
        """Show it to all."""
        self.streams.show(message)
        self.foxglove.show(message)


class Show:
    """Shows messages when their time has come, turn by turn. Runs in a thread of its own."""

    def __init__(self, index: Index, ranges: Ranges, topics: list[str] | None, deck: Deck,
                 audience: Audience) -> None:
        self._index, self._ranges, self._topics = index, ranges, topics
        self._deck, self._audience = deck, audience
        self.failure: str | None = None

    def run(self) -> None:
        """Until the deck is closed; a failure closes it."""
        try:
            while not self._deck.closed:
                self._turn()
        except Exception as error:  # noqa: BLE001 - whatever the recording or its storage does ends it, and is said
            self.failure = f"{type(error).__name__}: {error}"
            self._deck.close()

    def _turn(self) -> None:
        stand = self._deck.stand()
        self._audience.streams.turn()
        # Both at once: what is latched lies elsewhere than what comes now, and storage takes its time for each.
        latched = self._ahead(stand.begun_ns, stand.begun_ns, latched=True)
        coming = self._ahead(stand.begun_ns, self._deck.end_ns + 1, latched=False)
        try:
            for message in latched:
                self._audience.show(message)
            for message in coming:
                self._deck.begin(stand.turn)
                if not self._deck.wait_for(message.t_ns, stand.turn):
                    return
                self._show(message)
        finally:
            latched.close()
            coming.close()
        self._deck.begin(stand.turn)  # there may have been no message at all
        self._audience.foxglove.tell()
        self._deck.wait_for_end(stand.turn)

    def _ahead(self, start_ns: int, end_ns: int, *, latched: bool) -> "Ahead":
        return Ahead(self._horizon, messages(self._index, self._ranges, start_ns=start_ns, end_ns=end_ns,
                                             topics=self._topics, latched=latched))

    def _horizon(self) -> int:
        """The time up to which it is worth to have read."""
        stand = self._deck.stand()
        return stand.position_ns + int(AHEAD_SECONDS * stand.rate * 1e9)

    def _show(self, message: Message) -> None:
        now = self._deck.stand()
        if now.playing and now.position_ns - message.t_ns > LATE_SECONDS * now.rate * 1e9:
            self._audience.streams.drop(1)
        else:
            self._audience.show(message)


class Ahead:
    """Reads ahead in a thread of its own: a few messages always, more up to the horizon, so many messages and bytes at
    most. Raises in the reader's place what was raised."""

    def __init__(self, horizon: Callable[[], int], source: Iterator[Message]) -> None:
        self._horizon, self._source = horizon, source
        self._queue: queue.Queue[Message | BaseException | None] = queue.Queue(AHEAD_MESSAGES)
        self._over = threading.Event()
        self._room = threading.Condition()
        self._bytes = 0
        threading.Thread(target=self._read, name="ahead", daemon=True).start()

    def __iter__(self) -> Iterator[Message]:
        while (found := self._queue.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            with self._room:
                self._bytes -= len(found.data)
                self._room.notify_all()
            yield found

    def close(self) -> None:
        """What comes now is not wanted any more."""
        self._over.set()
        with self._room:
            self._room.notify_all()

    def _read(self) -> None:
        try:
            for message in self._source:
                while self._queue.qsize() >= AHEAD_ALWAYS and message.t_ns > self._horizon():
                    if self._over.wait(HORIZON_SECONDS):
                        return
                with self._room:  # one message always fits
                    self._room.wait_for(lambda: self._bytes < AHEAD_BYTES or self._over.is_set())
                    self._bytes += len(message.data)
                if not self._put(message):
                    return
            self._put(None)
        except Exception as error:  # noqa: BLE001 - carried over, and raised where it is read
            self._put(error)

    def _put(self, found: Message | BaseException | None) -> bool:
        while not self._over.is_set():
            try:
                self._queue.put(found, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False


def bounds(index: Index, wanted: Mapping[str, Any]) -> tuple[int, int]:
    """First and last time to be played: as wanted, else the recording's own."""
    first = min((topic.first_ns for topic in index.topics if topic.first_ns is not None), default=0)
    last = max((topic.last_ns for topic in index.topics if topic.last_ns is not None), default=0)
    start = first if wanted["start_ns"] is None else max(first, wanted["start_ns"])
    return start, last if wanted["end_ns"] is None else min(last, wanted["end_ns"] - 1)


def play(attempt: Path, uplink: Uplink, wanted: Mapping[str, Any], host: str) -> int:
    """Play until it is over, for who comes to this address; the exit code."""
    source = FreshRanges(uplink)
    scratch = attempt / "scratch"
    scratch.mkdir(exist_ok=True)
    with readable(source.index(), source, Workspace(scratch, math.inf), start_ns=limits.INT64_MIN,
                  end_ns=limits.INT64_MAX, latched=True) as (index, ranges):
        deck = Deck(*bounds(index, wanted), rate=wanted["rate"], loop=wanted["loop"])
        latched = Latched(index)
        audience = Audience(Streams(Decoder(index).line, latched), Foxglove(index, deck, latched))
        show = Show(index, ranges, wanted["topics"], deck, audience)
        desk = Desk(deck, audience.streams, audience.foxglove, host)
        signal.signal(signal.SIGINT, lambda *_: desk.stopped.set())
        uplink.tell_address({"url": desk.url, "token": desk.token})
        showing = threading.Thread(target=show.run, name="show", daemon=True)
        showing.start()
        stand_by(attempt / "output" / "progress.jsonl", deck, desk, audience)
        deck.close()
        showing.join(2)
        audience.streams.close()
        audience.foxglove.close()
    if show.failure:
        print(f"the playback broke off: {show.failure}", file=sys.stderr)
    return 1 if show.failure else 0


def stand_by(progress: Path, deck: Deck, desk: Desk, audience: Audience) -> None:
    """Tell how far it is, until somebody stops it, it breaks, or nobody has looked for long."""
    looked, told = time.monotonic(), None
    while not desk.stopped.wait(TELL_SECONDS) and not deck.closed:
        if len(audience):
            looked = time.monotonic()
        elif time.monotonic() - looked > IDLE_SECONDS:
            print("nobody looks any more", flush=True)
            return
        line = _progress(deck)
        if line != told:
            told = line
            with progress.open("a") as file:
                print(json.dumps(line), file=file)


def _progress(deck: Deck) -> dict[str, Any]:
    stand, length = deck.stand(), deck.end_ns - deck.start_ns
    done = stand.position_ns - deck.start_ns
    return {"percent": round(100 * done / length, 1) if length else 100, "sim_time": round(done / 1e9, 3),
            "message": "playing" if stand.playing else "paused"}


def confine() -> None:
    """What a recording could make us use, and a player never needs."""
    for kind, limit in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, 8 * limits.GIB),
                        (resource.RLIMIT_FSIZE, limits.UNPACKED_BYTES), (resource.RLIMIT_NOFILE, 512)):
        hard = resource.getrlimit(kind)[1]
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (allowed, allowed))


def main() -> None:
    """Exit code 0 when it was stopped or nobody looked any more."""
    confine()
    attempt = Path.cwd()
    wanted = json.loads((attempt / "parameters.json").read_text())
    grant, host = sys.argv[1:3] or (None, "127.0.0.1")
    sys.exit(play(attempt, Uplink(grant_of(attempt / ".simyard", grant)), wanted, host))


if __name__ == "__main__":
    main()
