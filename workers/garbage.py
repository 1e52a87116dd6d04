"""Deletes the objects that nothing refers to any more, as the table of garbage names them. A chore of the watcher.

The row goes after the object, so whatever happens in between is done again, which is as good as once.
"""

import logging
import time
from collections.abc import Sequence

from shared.persistence import garbage
from workers.doors import Doors

log = logging.getLogger(__name__)

BATCH = 1000  # what S3 deletes at once
SECONDS = 0.2  # for those that are looked into one by one


def delete_garbage(doors: Doors) -> bool:
    """Delete those that have waited longest; whether that was all that can be done now."""
    with doors.connections.database.single() as tx:
        waiting = garbage.oldest(tx, BATCH)
    keys = [key for key in waiting if not key.endswith("/")]
    refused = _forget(doors, keys, _delete(doors, keys))
    deadline = time.monotonic() + SECONDS
    for prefix in (key for key in waiting if key.endswith("/")):
        refused += _forget(doors, [prefix], [prefix] if _empty(doors, prefix) else [])
        if time.monotonic() > deadline:
            return False
    if refused:
        log.warning("object storage would not delete %d objects, such as %s", len(refused), refused[0])
    return bool(refused) or len(waiting) < BATCH


def _delete(doors: Doors, keys: Sequence[str]) -> list[str]:
    """Delete the objects but those that some bundle refers to; those that storage would not delete."""
    with doors.connections.database.single() as tx:
        kept = garbage.referred_to(tx, keys)
    unkept = [key for key in keys if key not in kept]
    return doors.connections.store.delete_many(unkept) if unkept else []


def _empty(doors: Doors, prefix: str) -> list[str]:
    """The same of all that lies below; uploads that were begun are aborted."""
    store = doors.connections.store
    store.abort_all(prefix)
    keys = list(store.keys(prefix))
    return [key for start in range(0, len(keys), BATCH) for key in _delete(doors, keys[start:start + BATCH])]


def _forget(doors: Doors, keys: Sequence[str], refused: list[str]) -> list[str]:
    """Forget the keys but those refused, which wait behind all others; returns those."""
    if keys:
        with doors.connections.database.transaction() as tx:
            garbage.forget(tx, [key for key in keys if key not in refused])
            garbage.postpone(tx, refused)
    return refused
