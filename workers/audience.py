"""Who looks at a playback: streams of decoded frames, and viewers that speak the Foxglove protocol. Used by the player.
A message is decoded only when a stream wants it."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

import foxglove
from foxglove import Channel, Context, Schema
from foxglove.websocket import (
    Capability,
    PlaybackCommand,
    PlaybackControlRequest,
    PlaybackState,
    PlaybackStatus,
    ServerListener,
    WebSocketServer,
)

from workers.bags.definitions import READABLE_MESSAGES, spelled
from workers.bags.extract import Message
from workers.bags.index import Index, IndexedTopic
from workers.bags.latched import STATIC_DEPTH
from workers.bags.message_types import known_definition, known_types
from workers.bags.qos import STATIC
from workers.deck import RATES, Deck

WAITING_FRAMES, WAITING_BYTES = 500, 16 << 20
HEARTBEAT_SECONDS = 10.0
# Encodings of definitions that the protocol knows (https://mcap.dev/spec/registry).
ENCODINGS = frozenset({"ros2msg", "ros2idl", "ros1msg", "omgidl", "jsonschema", "protobuf", "flatbuffer"})


class Stream:
    """What waits for one stream: the newest frames, and how many older ones had to go."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: deque[bytes] = deque()
        self._dropped = self._waiting = 0
        self._closed = False

    def put(self, frame: bytes) -> None:
        """One more; the oldest goes when there are too many."""
        with self._changed:
            self._waiting += len(frame)
            while self._frames and (len(self._frames) >= WAITING_FRAMES or self._waiting > WAITING_BYTES):
                self._waiting -= len(self._frames.popleft())
                self._dropped += 1
            self._frames.append(frame)
            self._changed.notify_all()

    def drop(self, count: int) -> None:
        """So many were never put, for it was too late for them."""
        with self._changed:
            self._dropped += count

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def pieces(self) -> Iterator[bytes]:
        """Server-sent events as they come, a comment when nothing does, until it is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frames or self._closed, HEARTBEAT_SECONDS)
                if self._closed and not self._frames:
                    return
                found, dropped = list(self._frames), self._dropped
                self._frames.clear()
                self._dropped = self._waiting = 0
            if dropped:
                yield b'event: dropped\ndata: {"count": %d}\n\n' % dropped
            yield b"".join(found) or b": still here\n\n"


class Latched:
    """What was shown of latched topics and is still heard by who comes late."""

    def __init__(self, index: Index) -> None:
        self._kept = {place: deque[tuple[int, Message]](
            maxlen=STATIC_DEPTH if topic.name == STATIC else min(max(1, topic.depth), STATIC_DEPTH))
            for place, topic in enumerate(index.topics) if topic.latched}
        self._counts: Counter[int] = Counter()
        self._lock = threading.Lock()

    def keep(self, message: Message) -> str | None:
        """Keep it in the place of the oldest, whose name is the answer; None when its topic is not latched."""
        kept = self._kept.get(message.topic)
        if kept is None:
            return None
        with self._lock:
            slot = self._counts[message.topic] % (kept.maxlen or 1)
            self._counts[message.topic] += 1
            kept.append((slot, message))
        return f"{message.topic}/{slot}"

    def of(self, topic: int) -> list[Message]:
        """Those of one topic."""
        with self._lock:
            return [message for _, message in self._kept.get(topic, ())]

    def all(self) -> list[tuple[str, Message]]:
        """All, with the names of their places."""
        with self._lock:
            return [(f"{topic}/{slot}", message) for topic, kept in self._kept.items() for slot, message in kept]

    def clear(self) -> None:
        """Another turn begins, which brings its own."""
        with self._lock:
            for kept in self._kept.values():
                kept.clear()


class Streams:
    """All streams of this player. A frame of a latched topic is headed by the comment `: latched PLACE`, a new turn by
    `: turn`, so that who hands frames on knows what to tell those who come late."""

    def __init__(self, line: Callable[[Message], bytes], latched: Latched) -> None:
        self._line, self._latched = line, latched
        self._lock = threading.Lock()
        self._open: set[Stream] = set()

    def __len__(self) -> int:
        return len(self._open)

    def join(self) -> Stream:
        """A stream that gets what is latched, and what is shown from now on."""
        stream = Stream()
        with self._lock:
            for place, message in self._latched.all():
                stream.put(self._frame(message, place))
            self._open.add(stream)
        return stream

    def turn(self) -> None:
        """What is shown from now on begins anew, with its own latched messages."""
        with self._lock:
            self._latched.clear()
            for stream in self._open:
                stream.put(b": turn\n\n")

    def leave(self, stream: Stream) -> None:
        """Nobody reads it any more."""
        with self._lock:
            self._open.discard(stream)

    def show(self, message: Message) -> None:
        """To everybody; decoded once, and only when somebody looks."""
        with self._lock:
            place = self._latched.keep(message)
            if self._open:
                frame = self._frame(message, place)
                for stream in self._open:
                    stream.put(frame)

    def _frame(self, message: Message, place: str | None) -> bytes:
        head = b"" if place is None else b": latched %s\n" % place.encode()
        return head + b"event: frame\ndata: " + self._line(message).rstrip(b"\n") + b"\n\n"

    def drop(self, count: int) -> None:
        """So many messages came too late to be shown."""
        with self._lock:
            for stream in self._open:
                stream.drop(count)

    def close(self) -> None:
        """End every stream."""
        with self._lock:
            for stream in self._open:
                stream.close()


class Foxglove(ServerListener):
    """The Foxglove protocol on two ports of the loopback: one with playback control, and one for who may only look. The
    messages go out as they were recorded."""

    def __init__(self, index: Index, deck: Deck, latched: Latched) -> None:
        self._deck, self._latched = deck, latched
        self._context = Context()
        self._channels = {place: _channel(index, topic, self._context) for place, topic in enumerate(index.topics)}
        self._subscribed: dict[int, int] = {}
        self._moving = self._serve((max(0, deck.start_ns), max(0, deck.end_ns)))
        self._looking = self._serve(None)
        self._told_time = 0.0

    def _serve(self, moved_within: tuple[int, int] | None) -> WebSocketServer:
        return foxglove.start_server(
            name="Simyard", host="127.0.0.1", port=0, capabilities=[Capability.Time], server_listener=self,
            supported_encodings=["cdr", "ros1", "json"], context=self._context, playback_time_range=moved_within)

    def port(self, *, may_control: bool) -> int:
        """Where viewers are served who may move the deck, or may not."""
        return self._moving.port if may_control else self._looking.port

    def __len__(self) -> int:
        return len(self._subscribed)

    def show(self, message: Message) -> None:
        """To who subscribed to its topic."""
        channel = self._channels[message.topic]
        if self._subscribed and message.t_ns >= 0:
            channel.log(message.data, log_time=message.t_ns)
            if time.monotonic() - self._told_time > 0.02:
                self._told_time = time.monotonic()
                for server in (self._moving, self._looking):
                    server.broadcast_time(message.t_ns)

    def tell(self, *, did_seek: bool = False, request: str | None = None) -> None:
        """Say how the deck stands."""
        self._moving.broadcast_playback_state(self._state(did_seek=did_seek, request=request))

    def close(self) -> None:
        """End every connection."""
        for server in (self._moving, self._looking):
            server.stop()

    def on_subscribe(self, client: Any, channel: Any) -> None:
        """Somebody looks, and is told what is latched: all are, for nobody can be spoken to alone."""
        self._subscribed[client.id] = self._subscribed.get(client.id, 0) + 1
        # In a thread of its own, for this one is the server's.
        threading.Thread(target=self._tell_latched, args=(channel.topic,), daemon=True).start()

    def _tell_latched(self, topic: str) -> None:
        for place, channel in self._channels.items():
            for message in self._latched.of(place) if channel.topic() == topic else ():
                channel.log(message.data, log_time=max(0, message.t_ns))

    def on_unsubscribe(self, client: Any, channel: Any) -> None:
        """Somebody looks no more; called too when a connection ends."""
        left = self._subscribed.get(client.id, 1) - 1
        if left > 0:
            self._subscribed[client.id] = left
        else:
            self._subscribed.pop(client.id, None)

    def on_playback_control_request(self, request: PlaybackControlRequest) -> PlaybackState:
        """A viewer moves the deck, as our own orders do."""
        plays = request.playback_command == PlaybackCommand.Play
        if not plays:  # first, so that it stands exactly where it is sent
            self._deck.pause()
        self._deck.set_rate(min(max(request.playback_speed, RATES[0]), RATES[1]))
        if request.seek_time is not None:
            self._deck.seek(request.seek_time)
        if plays:
            self._deck.play()
        return self._state(did_seek=request.seek_time is not None, request=request.request_id)

    def _state(self, *, did_seek: bool, request: str | None) -> PlaybackState:
        stand = self._deck.stand()
        status = PlaybackStatus.Playing if stand.playing else PlaybackStatus.Ended if stand.ended \
            else PlaybackStatus.Paused
        return PlaybackState(status, max(0, stand.position_ns), stand.rate, did_seek, request)


def _channel(index: Index, topic: IndexedTopic, context: Context) -> Channel:
    """A channel with the definition that the recording itself carries, or the newest that is known of its type; without
    one its bytes go out all the same."""
    found, name = None, spelled(topic.type)
    if topic.definition is not None:
        found = index.definitions[topic.definition]
    elif topic.encoding in READABLE_MESSAGES:
        newest = next((place for place, types in enumerate(known_types()) if name in types), None)
        found = None if newest is None else known_definition(name, newest)
    encoding, data = (found.encoding, found.data) if found and found.encoding in ENCODINGS else ("", b"")
    return Channel(topic.name, schema=Schema(name=name, encoding=encoding, data=data),
                   message_encoding=topic.encoding or "cdr", context=context)
