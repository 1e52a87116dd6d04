"""Deletes the objects that nothing refers to any more, as the table of garbage names them. A chore of the watcher.

The row goes after the object, so whatever happens in between is done again, which is as good as once.
"""

import logging
import threading
from collections.abc import Sequence

from shared.persistence import garbage
from workers.doors import Doors

log = logging.getLogger(__name__)

BATCH = 1000  # what S3 deletes at once
PREFIXES = 50  # looked into in a step, for who leads no more is to stop soon,
PARALLEL = 4  # so many at once


def delete_garbage(doors: Doors) -> bool:
    """Delete those that have waited longest; whether that was all that can be done now."""
    with doors.connections.database.single() as tx:
        waiting = garbage.oldest(tx, BATCH)
    keys = [key for key in waiting if not key.endswith("/")]
    prefixes = [key for key in waiting if key.endswith("/")][:PREFIXES]
    refused = _delete(doors, keys) + _empty_all(doors, prefixes)
    _forget(doors, [*keys, *prefixes], refused)
    return bool(refused) or (len(waiting) < BATCH and len(keys) + len(prefixes) == len(waiting))


def _delete(doors: Doors, keys: Sequence[str]) -> list[str]:
    """Delete the objects but those that some bundle refers to; those that storage would not delete."""
    with doors.connections.database.single() as tx:
        kept = garbage.referred_to(tx, keys)
    unkept = [key for key in keys if key not in kept]
    return doors.connections.store.delete_many(unkept) if unkept else []


def _empty_all(doors: Doors, prefixes: Sequence[str]) -> list[str]:
    """Delete what lies below these, several at once; those below which something stays. The first error is raised, and
    what was not begun is left. The threads are daemons, for a process that ends does not wait for a storage that hangs.
    """
    todo, stay, errors = iter(prefixes), list[str](), list[BaseException]()

    def work() -> None:
        try:
            for prefix in todo:  # shared by all of them
                if _empty(doors, prefix):
                    stay.append(prefix)
                if errors:
                    return
        except BaseException as error:  # noqa: BLE001 raised below, in the thread that asked
            errors.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in prefixes[:PARALLEL]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return stay


def _empty(doors: Doors, prefix: str) -> list[str]:
    """The same of all that lies below; uploads that were begun are aborted."""
    store = doors.connections.store
    store.abort_all(prefix)
    keys = list(store.keys(prefix))
    return [key for start in range(0, len(keys), BATCH) for key in _delete(doors, keys[start:start + BATCH])]


def _forget(doors: Doors, keys: Sequence[str], refused: Sequence[str]) -> None:
    """Forget the keys but those refused, which wait behind all others."""
    if keys:
        with doors.connections.database.transaction() as tx:
            garbage.forget(tx, list(set(keys) - set(refused)))
            garbage.postpone(tx, refused)
    if refused:
        log.warning("object storage would not delete %d objects, such as %s", len(refused), refused[0])
