"""What has been kept for long enough goes, and the rows of what was deleted. Chores of the watcher, and a command:
`python -m workers.retention [--dry-run]` does one round of all of it, or says what that would delete.
"""

import argparse
import logging
import math
import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from uuid import UUID

from shared import logs
from shared.domain.errors import Refused, Unavailable
from shared.persistence import deletion
from shared.persistence.garbage import discard
from shared.settings import WorkerSettings, read
from shared.storage import keys
from workers.abandoned import forget_uploads
from workers.doors import Doors, open_doors
from workers.garbage import delete_garbage

log = logging.getLogger(__name__)

PATIENCE = timedelta(minutes=1)  # with a deleted user: some web processes know him for half a minute more
OWNED = 1000  # rows that a transaction takes him off
BATCH = 200  # rows that a transaction deletes, with all below them
ROUND = 1000  # things that a round looks at
SECONDS = 0.2


def retire(doors: Doors, *, seconds: float = SECONDS) -> bool:
    """Delete what has been kept for its keep_days; whether that is all that can go now."""
    deadline, deleted = time.monotonic() + seconds, 0
    lifecycle = doors.connections.lifecycle
    with doors.connections.database.single() as tx:
        due: list[tuple[Callable[[UUID], None], str, UUID]] = [
            *((lifecycle.delete_simulation, "simulation", row.id) for row in deletion.due_simulations(tx, ROUND)),
            *((lifecycle.delete_bundle, "bundle", row.id) for row in deletion.due_bundles(tx, ROUND))]
    random.shuffle(due)  # so that those which are used at the moment do not stand before all others
    for delete, kind, identity in due:
        try:
            delete(identity)
            deleted += 1
            log.info("%s %s has been kept for long enough and is deleted", kind, identity)
        except Refused as refused:  # it is used at the moment, or somebody was faster
            log.info("%s %s is left for later: %s", kind, identity, refused)
        if time.monotonic() > deadline:
            return not deleted
    return True


def expire(doors: Doors, audit_days: int) -> bool:
    """Delete some rows that are of no use any more by their age alone; whether that is all."""
    with doors.connections.database.transaction() as tx:
        return max(deletion.delete_expired(tx, audit_days, BATCH).values()) < BATCH


def purge(doors: Doors) -> bool:
    """Delete some rows of what was deleted; whether none is left that can go now."""
    database = doors.connections.database
    with database.single() as tx:
        instances = deletion.hidden_instances(tx, BATCH)
        bundles = [] if instances else deletion.hidden_bundles(tx, BATCH)
    if instances:
        _remove_folders(doors, frozenset(instances))
    with database.transaction() as tx:
        purged = deletion.purge_instances(tx, instances) if instances else deletion.purge_bundles(tx, bundles)
        discard(tx, [*map(keys.job_prefix, purged.jobs), *map(keys.upload_prefix, purged.uploads)])
        if not instances:
            deletion.purge_simulations(tx)
    return not instances and not bundles


def disown(doors: Doors) -> bool:
    """Take a deleted user off some of what he owned, and in the end delete his row; whether none is left that can go
    now."""
    with doors.connections.database.transaction() as tx:
        gone = deletion.departed(tx, PATIENCE)
        if gone and not deletion.disown(tx, gone[0], OWNED):
            deletion.purge_user(tx, gone[0])
    return not gone


def _remove_folders(doors: Doors, jobs: frozenset[UUID]) -> None:
    """What lies on this machine of them, kept because it did not arrive in object storage or not tidied away yet."""
    for name in [name for name in doors.runtime.names() if name.job in jobs]:
        try:
            doors.runtime.remove(name)
        except OSError:  # its rows go all the same; the sweep puts the folder aside
            log.exception("%s cannot be removed", name)


def preview(doors: Doors, audit_days: int) -> Iterator[str]:
    """A line for each thing that a round would delete, with why and how large it is."""
    with doors.connections.database.snapshot() as tx:
        for row in deletion.due_simulations(tx, ROUND):
            below = deletion.weight(tx, row.id)
            yield (f"simulation {row.id} {row.name!r}: ended {row.updated_at:%Y-%m-%d}, kept for {row.keep_days} days; "
                   f"{row.total} instances, {below.bundles} bundles, {below.size} bytes")
        for row in deletion.due_bundles(tx, ROUND):
            yield (f"bundle {row.id} {row.name!r}: of {row.created_at:%Y-%m-%d}, kept for {row.keep_days} days; "
                   f"{row.size} bytes")
        for name, count in deletion.count_expired(tx, audit_days).items():
            if count:
                yield f"{name}: too old; {count} rows"


def finish(doors: Doors, audit_days: int) -> None:
    """A whole round: all that is due, its rows and its objects."""
    retire(doors, seconds=math.inf)
    for chore in (partial(expire, audit_days=audit_days), disown, purge, forget_uploads, purge, delete_garbage):
        while not chore(doors):
            pass


def main() -> None:
    """Print what goes, and unless it is a dry run, delete it. Exit code 1 when a part of ours does not answer."""
    parser = argparse.ArgumentParser(prog="python -m workers.retention", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="say what would be deleted, and delete nothing")
    is_dry = parser.parse_args().dry_run
    settings = read(WorkerSettings)
    logs.configure(settings.log_level)
    doors = open_doors(settings, application="retention")
    try:
        for line in preview(doors, settings.audit_keep_days):
            print(line)
        if not is_dry:
            finish(doors, settings.audit_keep_days)
    except Unavailable as error:
        sys.exit(f"{error}; what is left goes with the next round")
    finally:
        doors.connections.close()


if __name__ == "__main__":
    main()
