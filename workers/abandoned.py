"""Forgets uploads that nobody completed: their parts fill the storage and no listing shows them. Called by the
watcher."""

import logging
from datetime import timedelta

from shared.persistence.bundles import abandoned, announced, give_up
from shared.storage import keys
from workers.doors import Doors

log = logging.getLogger(__name__)

PATIENCE = timedelta(hours=24)
BATCH = 20


def forget_uploads(doors: Doors) -> None:
    """Give up those that are a day old. Their parts go first: should we die between, the next time finds them again."""
    connections = doors.connections
    with connections.database.single() as tx:
        bundles = abandoned(tx, PATIENCE, BATCH)
    for bundle in bundles:
        with connections.database.single() as tx:
            files = announced(tx, bundle)
        for file in files:
            key = keys.uploaded_file(bundle, file.place)
            connections.store.abort(key, file.upload_id)
            connections.store.delete(key)
        with connections.database.transaction() as tx:
            give_up(tx, bundle, "the upload was not completed within a day")
        log.info("the upload of bundle %s was given up", bundle)
