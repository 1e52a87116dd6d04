"""Counts the calls to storage and runtimes that failed, of all processes in one Redis hash: workers and watchers have
no port where a monitor could ask. Every process counts, web reads."""

import logging
import threading
from collections import Counter
from typing import cast

import redis

from shared.domain.errors import Unavailable

log = logging.getLogger(__name__)

KEY = "simyard:call_errors"
CLOSE_SECONDS = 1.0


class Failures:
    """Counting never fails and never waits: a thread writes. What Redis does not take goes with the next failure, and
    is lost when the process ends before."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._writing = False
        self._thread: threading.Thread | None = None

    def count(self, part: str, call: str) -> None:
        """This call to this part has failed."""
        with self._lock:
            self._counts[f"{part}.{call}"] += 1
            if self._writing:
                return
            self._writing = True
            self._thread = threading.Thread(target=self._write, name="failures", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Let what is being written get there, if that takes no more than a moment. Before the client is closed."""
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def _write(self) -> None:
        while counts := self._take():
            try:
                pipeline = self._redis.pipeline()
                for field, number in counts.items():
                    pipeline.hincrby(KEY, field, number)
                pipeline.execute()
            except Exception as error:  # noqa: BLE001 - also what the client raises when it is closed meanwhile
                log.debug("failed calls are not counted yet: %s", error)
                self._put_back(counts)
                return

    def _take(self) -> Counter[str]:
        with self._lock:
            counts, self._counts = self._counts, Counter()
            self._writing = bool(counts)
            return counts

    def _put_back(self, counts: Counter[str]) -> None:
        with self._lock:
            self._counts += counts
            self._writing = False

    def read(self) -> dict[tuple[str, str], int]:
        """(part, call) -> how often it has failed since Redis was emptied last. Raises Unavailable."""
        try:
            found = cast(dict[str, str], self._redis.hgetall(KEY))
        except redis.RedisError as error:
            raise Unavailable(f"Redis does not answer: {error}", code="redis_unavailable") from error
        parted = {field.partition("."): int(number) for field, number in found.items()}
        return {(part, call): number for (part, _, call), number in parted.items()}
