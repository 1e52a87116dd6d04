"""The door to Redis: the channel of events, and a ping."""

import json
from collections.abc import Iterable, Iterator

import redis

from shared.domain.errors import Unavailable
from shared.domain.events import Event

CHANNEL = "simyard:events"
BATCH = 1000


def connect(url: str) -> redis.Redis:
    """A client that connects at the first use and gives up on a silent server after seconds, not minutes."""
    return redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=3, health_check_interval=15,
                                decode_responses=True)


class PubSub:
    """Publishes events and listens to them."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def publish(self, events: Iterable[Event]) -> None:
        """Tell subscribers, in order. Raises Unavailable when Redis is down; nobody may rely on being told."""
        try:
            pipeline = self._redis.pipeline(transaction=False)
            for event in events:
                pipeline.publish(CHANNEL, json.dumps(event.wire()))
            pipeline.execute()
        except redis.RedisError as error:
            raise Unavailable(f"Redis did not take the events: {error}", code="redis_unavailable") from error

    def listen(self, timeout_seconds: float) -> Iterator[list[str]]:
        """The channel's messages, as many as have come, at most BATCH at a time; none of them when there were none for
        `timeout_seconds`. Raises Unavailable."""
        try:
            with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                subscription.subscribe(CHANNEL)
                yield []  # subscribed: what happens from now on will be heard
                while True:
                    found = []
                    message = subscription.get_message(timeout=timeout_seconds)
                    while message:
                        found.append(message["data"])
                        message = subscription.get_message() if len(found) < BATCH else None
                    yield found
        except redis.RedisError as error:
            raise Unavailable(f"Redis does not answer: {error}", code="redis_unavailable") from error

    def ping(self) -> None:
        """Return when Redis answers, raise Unavailable when not."""
        try:
            self._redis.ping()
        except redis.RedisError as error:
            raise Unavailable(f"Redis does not answer: {error}", code="redis_unavailable",
                              remedy="see that Redis runs and that REDIS_URL is right") from error
