"""Writes bundles: what is announced to be uploaded, and what an attempt recorded or found in an upload, as files and
topics, content held once. Called by web for the first, when an attempt ends for the rest."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from shared.domain.states import BundleState, Kind, Reason
from shared.persistence.garbage import discard
from shared.persistence.models import (
    NOW,
    attempts,
    blobs,
    bundle_files,
    bundle_topics,
    bundle_uploads,
    bundles,
    simulations,
)

_COLUMNS = ("name", "state", "reason", "storage", "messages", "start_ns", "end_ns", "duration_seconds", "problems",
            "certificate")
_TOPIC_COLUMNS = ("name", "type", "count", "frequency_hz", "first_ns", "last_ns", "decodable")


@dataclass(frozen=True)
class StoredObject:
    """An object as object storage itself describes it."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True)
class BundleRecord:
    """A recording to be written: contract's bundle facts, and the object of each file by its name."""

    path: str
    facts: Mapping[str, Any]
    objects: Mapping[str, StoredObject]
    index_key: str | None = None


@dataclass(frozen=True)
class Announced:
    """A file that is to be uploaded in parts of `part_size` bytes; its key follows from its `place`."""

    name: str
    place: int
    size: int
    sha256: str
    upload_id: str
    part_size: int


def announce(tx: Connection, bundle: Mapping[str, Any], files: Sequence[Announced]) -> None:
    """Write a bundle whose files are yet to be uploaded: `bundle` has id, name, owner, visibility, labels, digest."""
    tx.execute(insert(bundles).values(state=BundleState.UPLOADING, size=sum(file.size for file in files), **bundle))
    tx.execute(insert(bundle_uploads), [{"bundle": bundle["id"]} | vars(file) for file in files])


def announced(tx: Connection, bundle: UUID) -> list[Announced]:
    """The files of a bundle that is not ingested yet, by place."""
    rows = tx.execute(select(*(bundle_uploads.c[name.name] for name in fields(Announced)))
                      .where(bundle_uploads.c.bundle == bundle).order_by(bundle_uploads.c.place))
    return [Announced(*row) for row in rows]


def give_up_uploads(tx: Connection, age: timedelta, message: str) -> None:
    """From UPLOADING to FAILED, whatever was announced so long ago and was never completed."""
    problem = {"code": Reason.UPLOAD_FAILED, "file": None, "topic": None, "message": message}
    tx.execute(update(bundles).where(bundles.c.state == BundleState.UPLOADING, bundles.c.created_at < NOW - age)
               .values(state=BundleState.FAILED, reason=Reason.UPLOAD_FAILED, problems=[problem]))


def failed_uploads(tx: Connection, limit: int) -> list[tuple[UUID, Announced]]:
    """Files of bundles that are FAILED or deleted, which nothing can become of any more."""
    rows = tx.execute(select(bundle_uploads).join(bundles, bundles.c.id == bundle_uploads.c.bundle)
                      .where(or_(bundles.c.state == BundleState.FAILED, bundles.c.deleted_at.is_not(None)))
                      .limit(limit)).all()
    return [(row.bundle, Announced(row.name, row.place, row.size, row.sha256, row.upload_id, row.part_size))
            for row in rows]


def forget_upload(tx: Connection, bundle: UUID, place: int) -> None:
    """Its parts are gone; what was announced stays known by the bundle's own problems."""
    gone = (delete(bundle_uploads).where(bundle_uploads.c.bundle == bundle, bundle_uploads.c.place == place)
            .returning(bundle_uploads.c.size).cte("gone"))
    tx.execute(update(bundles).where(bundles.c.id == bundle)
               .values(size=bundles.c.size - func.coalesce(select(gone.c.size).scalar_subquery(), 0)))


def begin_ingest(tx: Connection, bundle: UUID) -> bool:
    """From UPLOADING to INGESTING; False when it is not UPLOADING."""
    return tx.execute(update(bundles).where(bundles.c.id == bundle, bundles.c.state == BundleState.UPLOADING,
                                            bundles.c.deleted_at.is_(None))
                      .values(state=BundleState.INGESTING)).rowcount == 1


def register_attempt(tx: Connection, job: Row[Any], records: Sequence[BundleRecord], columns: Mapping[str, Any], *,
                     went_well: bool) -> None:
    """Write the attempt's own columns, and the bundles that its simulation wants kept of one that went so. Objects
    that are not kept, or whose content was held already, become garbage."""
    if columns:
        this = (attempts.c.job == job.id, attempts.c.number == job.attempt)
        tx.execute(update(attempts).where(*this).values(columns))
    if job.kind == Kind.INGEST:
        for record in records:
            _fill(tx, job, record)
    elif records:
        _make_wanted(tx, job, records, went_well=went_well)


def bundle_id(job: UUID, attempt: int, path: str) -> UUID:
    """The id of what this attempt recorded at `path`."""
    return uuid5(job, f"{attempt}/{path}")


def digest(files: Sequence[Mapping[str, Any]]) -> str:
    """The sha256 over the original files' names and contents: equal for equal bundles."""
    lines = sorted(f"{file['sha256']}  {file['name']}\n" for file in files if file.get("role") != "rebuilt")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _make_wanted(tx: Connection, job: Row[Any], records: Sequence[BundleRecord], *, went_well: bool) -> None:
    origin = tx.execute(select(simulations.c.owner, simulations.c.visibility, simulations.c.labels, simulations.c.keep)
                        .where(simulations.c.id == job.simulation)).one()
    if origin.keep == "none" or (origin.keep == "failed" and went_well):
        discard(tx, [key for record in records
                     for key in (*(each.key for each in record.objects.values()), record.index_key) if key])
        return
    for record in records:
        _make(tx, job, origin, record)


def _make(tx: Connection, job: Row[Any], origin: Row[Any], record: BundleRecord) -> None:
    """The bundle of something that an instance recorded."""
    identity = bundle_id(job.id, job.attempt, record.path)
    tx.execute(insert(bundles).values(
        id=identity, job=job.id, attempt=job.attempt, owner=origin.owner, visibility=origin.visibility,
        labels=origin.labels, digest=digest(record.facts["files"]), index_key=record.index_key, size=_size(record),
        **{name: record.facts[name] for name in _COLUMNS}))
    _insert_parts(tx, identity, record)


def _fill(tx: Connection, job: Row[Any], record: BundleRecord) -> None:
    """What was found in the bundle that was uploaded; its name is its owner's, its digest what was announced."""
    if tx.execute(update(bundles).where(bundles.c.id == job.bundle, bundles.c.state == BundleState.INGESTING)
                  .values(index_key=record.index_key, size=_size(record),
                          **{name: record.facts[name] for name in _COLUMNS[1:]})
                  ).rowcount == 0:
        return
    tx.execute(delete(bundle_uploads).where(bundle_uploads.c.bundle == job.bundle))
    _insert_parts(tx, job.bundle, record)


def _size(record: BundleRecord) -> int:
    return sum(file["size"] for file in record.facts["files"])


def _insert_parts(tx: Connection, identity: UUID, record: BundleRecord) -> None:
    files = record.facts["files"]
    # In the order of their contents: two attempts that hold the same ones in different orders deadlock.
    held = {file["name"]: hold(tx, file["sha256"], record.objects[file["name"]])
            for file in sorted(files, key=lambda file: _order(file["sha256"], record.objects[file["name"]]))}
    discard(tx, [record.objects[name].key for name, key in held.items() if key != record.objects[name].key])
    tx.execute(insert(bundle_files), [
        {"bundle": identity, "key": held[file["name"]]}
        | {name: file[name] for name in ("name", "sha256", "size", "role")} for file in files])
    if record.facts["topics"]:
        tx.execute(insert(bundle_topics), [
            {"bundle": identity} | {name: topic[name] for name in _TOPIC_COLUMNS}
            for topic in record.facts["topics"]])


def _order(sha256: str, stored: StoredObject) -> tuple[str, int, str]:
    return sha256, stored.size, stored.etag


def hold(tx: Connection, sha256: str, stored: StoredObject) -> str:
    """Hold this content; the key under which it is held, another one when it was already. It is locked until the
    transaction ends, so that whoever deletes the last bundle of this content waits and sees the next."""
    held: str = tx.execute(
        upsert(blobs).values(key=stored.key, sha256=sha256, size=stored.size, etag=stored.etag)
        .on_conflict_do_update(index_elements=["sha256", "size", "etag"], set_={"size": stored.size})
        .returning(blobs.c.key)).scalar_one()
    return held
