"""Tells the world what was committed: a task for each job whose state calls for one, and the events on pub/sub."""

import logging
from collections.abc import Iterable, Sequence

from shared.domain.errors import Unavailable
from shared.domain.events import Event
from shared.messaging.pubsub import PubSub
from shared.messaging.queue import Queue, Work

log = logging.getLogger(__name__)


class Announcer:
    """Both ways of telling, neither of which may fail its caller: the truth is in the database, the sweep repeats."""

    def __init__(self, queue: Queue, pubsub: PubSub) -> None:
        self._queue = queue
        self._pubsub = pubsub

    def send(self, work: Iterable[Work]) -> bool:
        """One task a job; whether all were sent. After the first failure the rest is left to the sweep."""
        try:
            for each in work:
                self._queue.send(each)
        except Unavailable as error:
            log.warning("tasks were not sent, the sweep will send them: %s", error)
            return False
        return True

    def publish(self, events: Sequence[Event]) -> None:
        """The events on the channel. Readers who miss one fetch it by its number."""
        if not events:
            return
        try:
            self._pubsub.publish(events)
        except Unavailable as error:
            log.warning("%d events were not published: %s", len(events), error)
