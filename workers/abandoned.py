"""Forgets uploads that nobody completed, or that failed: their parts fill the storage and no listing shows them. Called
as a chore of the watcher."""

import time
from datetime import timedelta

from shared.persistence.bundles import failed_uploads, forget_upload, give_up_uploads
from shared.storage import keys
from workers.doors import Doors

PATIENCE = timedelta(hours=24)
BATCH = 50
SECONDS = 0.2  # in a step, for who leads no more is to stop soon


def forget_uploads(doors: Doors) -> bool:
    """Give up those that are a day old, then delete what failed and deleted bundles left in the storage: only what
    nobody can complete any more. Whether there is nothing left to do."""
    connections, deadline = doors.connections, time.monotonic() + SECONDS
    with connections.database.single() as tx:
        give_up_uploads(tx, PATIENCE, "the upload was not completed within a day")
        files = failed_uploads(tx, BATCH)
    for bundle, file in files:
        if time.monotonic() > deadline:
            return False
        key = keys.uploaded_file(bundle, file.place)
        connections.store.abort(key, file.upload_id)
        connections.store.delete(key)
        with connections.database.single() as tx:
            forget_upload(tx, bundle, file.place)
    return len(files) < BATCH
