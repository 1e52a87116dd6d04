"""Objects that are to go: written down by the transaction that stops referring to them, deleted afterwards by
workers.garbage. Written by bundles and by whoever purges rows.

A key is referred to by its own attempt's or upload's rows alone, or as a blob, under the blob's lock. So one that is
garbage is never referred to again, and no lock has to be held while objects are deleted.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, select, text, union_all, update

from shared.persistence.models import NOW, blobs, bundles, garbage


def discard(tx: Connection, keys: Iterable[str]) -> None:
    """Once this is committed, nothing refers to these. A key that ends with / is all that lies below it."""
    # In one order, for two that discard the same keys in different orders deadlock.
    tx.execute(text("INSERT INTO garbage (key) SELECT unnest(CAST(:keys AS text[])) ON CONFLICT DO NOTHING"),
               {"keys": sorted(set(keys))})


def release(tx: Connection, keys: Sequence[str]) -> None:
    """Of these contents, which this transaction refers to no more, discard those that nothing else refers to."""
    # Locked first, in the order of bundles.hold; only a second statement sees who came to hold one meanwhile.
    tx.execute(text('SELECT FROM blobs WHERE key = ANY(CAST(:keys AS text[])) '
                    'ORDER BY sha256 COLLATE "C", size, etag COLLATE "C" FOR UPDATE'), {"keys": list(keys)})
    gone = tx.execute(text("DELETE FROM blobs WHERE key = ANY(CAST(:keys AS text[])) AND NOT EXISTS "
                           "(SELECT FROM bundle_files WHERE key = blobs.key) RETURNING key"), {"keys": list(keys)})
    discard(tx, gone.scalars())


def oldest(tx: Connection, limit: int) -> Sequence[str]:
    """The keys that have been garbage for longest."""
    return tx.execute(select(garbage.c.key).order_by(garbage.c.since, garbage.c.key).limit(limit)).scalars().all()


def referred_to(tx: Connection, keys: Sequence[str]) -> set[str]:
    """Those of the keys that some bundle refers to."""
    return set(tx.execute(union_all(select(blobs.c.key).where(blobs.c.key.in_(keys)),
                                    select(bundles.c.index_key).where(bundles.c.index_key.in_(keys)))).scalars())


def forget(tx: Connection, keys: Sequence[str]) -> None:
    """The objects are gone."""
    tx.execute(delete(garbage).where(garbage.c.key.in_(keys)))


def postpone(tx: Connection, keys: Sequence[str]) -> None:
    """These could not be deleted: others come first."""
    tx.execute(update(garbage).where(garbage.c.key.in_(keys)).values(since=NOW))
