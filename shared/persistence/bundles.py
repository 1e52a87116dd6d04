"""Writes what an attempt recorded as bundles, files and topics, content held once. Called when an attempt ends."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from shared.persistence.models import attempts, blobs, bundle_files, bundle_topics, bundles, simulations

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


def register_attempt(tx: Connection, job: Row[Any], records: Sequence[BundleRecord],
                     columns: Mapping[str, Any]) -> list[str]:
    """Write the bundles and the attempt's own columns; twice is as good as once.

    Returns the keys of objects whose content was held already, to be deleted once this is committed.
    """
    if columns:
        this = (attempts.c.job == job.id, attempts.c.number == job.attempt)
        tx.execute(update(attempts).where(*this).values(columns))
    spare: list[str] = []
    for record in records:
        spare += _register_bundle(tx, job, record)
    return spare


def bundle_id(job: UUID, attempt: int, path: str) -> UUID:
    """The id of what this attempt recorded at `path`."""
    return uuid5(job, f"{attempt}/{path}")


def digest(files: Sequence[Mapping[str, Any]]) -> str:
    """The sha256 over the files' names and contents: equal for equal bundles."""
    lines = sorted(f"{file['sha256']}  {file['name']}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _register_bundle(tx: Connection, job: Row[Any], record: BundleRecord) -> list[str]:
    files, identity = record.facts["files"], bundle_id(job.id, job.attempt, record.path)
    owner = tx.execute(select(simulations.c.owner, simulations.c.visibility, simulations.c.labels)
                       .where(simulations.c.id == job.simulation)).one()
    tx.execute(insert(bundles).values(
        id=identity, job=job.id, attempt=job.attempt, owner=owner.owner, visibility=owner.visibility,
        labels=owner.labels, digest=digest(files), **{name: record.facts[name] for name in _COLUMNS}))
    # In the order of their contents: two attempts that hold the same ones in different orders deadlock.
    held = {file["name"]: _hold(tx, file["sha256"], record.objects[file["name"]])
            for file in sorted(files, key=lambda file: str(file["sha256"]))}
    spare = [record.objects[name].key for name, key in held.items() if key != record.objects[name].key]
    tx.execute(insert(bundle_files), [
        {"bundle": identity, "key": held[file["name"]]}
        | {name: file[name] for name in ("name", "sha256", "size", "role")} for file in files])
    if record.facts["topics"]:
        tx.execute(insert(bundle_topics), [
            {"bundle": identity} | {name: topic[name] for name in _TOPIC_COLUMNS}
            for topic in record.facts["topics"]])
    return spare


def _hold(tx: Connection, sha256: str, stored: StoredObject) -> str:
    """Hold this content; the key under which it is held, another one when it was already."""
    tx.execute(upsert(blobs).values(key=stored.key, sha256=sha256, size=stored.size, etag=stored.etag)
               .on_conflict_do_nothing())
    held: str = tx.execute(select(blobs.c.key).where(
        blobs.c.sha256 == sha256, blobs.c.size == stored.size, blobs.c.etag == stored.etag)).scalar_one()
    return held
