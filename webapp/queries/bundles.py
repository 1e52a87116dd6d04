"""Bundles, as the API answers them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select

from shared.domain.events import rfc3339
from shared.domain.states import BundleState, Kind
from shared.persistence.models import bundle_files, bundle_topics, bundle_uploads, bundles, jobs
from webapp.queries.paging import Page, newest_first, visible

ANNOUNCED = "announced"  # the role of a file that is yet to be uploaded


@dataclass(frozen=True)
class Filter:
    """Which bundles are wanted; empty means any."""

    states: Sequence[str] = ()
    owner: UUID | None = None
    labels: dict[str, str] = field(default_factory=dict)
    name: str | None = None


@dataclass(frozen=True)
class Source:
    """A bundle to be read: its row, its files with their keys, the names of its topics."""

    bundle: Row[Any]
    files: Sequence[Row[Any]]
    topics: frozenset[str]


def find(tx: Connection, bundle: UUID, viewer: UUID | None) -> dict[str, Any] | None:
    """The bundle's facts, if the viewer may see it."""
    row = tx.execute(select(bundles).where(bundles.c.id == bundle, visible(bundles, viewer))).first()
    return None if row is None else _resources(tx, [row])[0]


def page(tx: Connection, viewer: UUID | None, wanted: Filter, page: Page) -> tuple[list[dict[str, Any]], str | None]:
    """One page of them, newest first."""
    query = select(bundles).where(visible(bundles, viewer))
    if wanted.states:
        query = query.where(bundles.c.state.in_(wanted.states))
    if wanted.owner:
        query = query.where(bundles.c.owner == wanted.owner)
    if wanted.labels:
        query = query.where(bundles.c.labels.contains(wanted.labels))
    if wanted.name:
        query = query.where(bundles.c.name.icontains(wanted.name, autoescape=True))
    rows, following = newest_first(tx, query, bundles, page)
    return _resources(tx, rows), following


def owner(tx: Connection, bundle: UUID, viewer: UUID | None) -> Row[Any] | None:
    """(owner, state) of the bundle, if the viewer may see it."""
    return tx.execute(select(bundles.c.owner, bundles.c.state)
                      .where(bundles.c.id == bundle, visible(bundles, viewer))).first()


def states(tx: Connection, wanted: Sequence[UUID], viewer: UUID | None) -> dict[UUID, str]:
    """The states of those bundles that are there and that the viewer may see."""
    rows = tx.execute(select(bundles.c.id, bundles.c.state)
                      .where(bundles.c.id.in_(wanted), visible(bundles, viewer))).all()
    return {row.id: row.state for row in rows}


def contents(tx: Connection, wanted: Sequence[UUID]) -> dict[UUID, list[Row[Any]]]:
    """The files of those bundles that are there, with their keys."""
    found: dict[UUID, list[Row[Any]]] = defaultdict(list)
    for row in tx.execute(select(bundle_files).join(bundles, bundles.c.id == bundle_files.c.bundle)
                          .where(bundles.c.id.in_(wanted), visible(bundles, None))):
        found[row.bundle].append(row)
    return found


def held(tx: Connection, digest: str, viewer: UUID | None) -> Row[Any] | None:
    """(id, state) of the oldest usable bundle with this content that the viewer may see."""
    return tx.execute(
        select(bundles.c.id, bundles.c.state)
        .where(bundles.c.digest == digest, bundles.c.state.in_((BundleState.READY, BundleState.DAMAGED)),
               visible(bundles, viewer))
        .order_by(bundles.c.created_at, bundles.c.id).limit(1)).first()


def ingest(tx: Connection, bundle: UUID) -> dict[str, Any] | None:
    """The bundle's state, and the job that looks or looked into it (null before there is one)."""
    state = tx.execute(select(bundles.c.state).where(bundles.c.id == bundle, visible(bundles, None))).scalar()
    if state is None:
        return None
    job = tx.execute(select(jobs.c.id).where(jobs.c.bundle == bundle, jobs.c.kind == Kind.INGEST)
                     .order_by(jobs.c.created_at.desc()).limit(1)).scalar()
    return {"bundle": str(bundle), "job": job and str(job), "state": state}


def source(tx: Connection, bundle: UUID, viewer: UUID | None) -> Source | None:
    """What it takes to read the bundle, if the viewer may see it."""
    row = tx.execute(select(bundles).where(bundles.c.id == bundle, visible(bundles, viewer))).first()
    if row is None:
        return None
    files = tx.execute(select(bundle_files).where(bundle_files.c.bundle == bundle)).all()
    topics = tx.execute(select(bundle_topics.c.name).where(bundle_topics.c.bundle == bundle)).scalars()
    return Source(row, files, frozenset(topics))


def file_key(tx: Connection, bundle: UUID, name: str, viewer: UUID | None) -> str | None:
    """Where the file lies in the bucket, if there is one and the viewer may see its bundle."""
    return tx.execute(
        select(bundle_files.c.key)
        .join(bundles, bundles.c.id == bundle_files.c.bundle)
        .where(bundles.c.id == bundle, bundle_files.c.name == name, visible(bundles, viewer))).scalar()


def _resources(tx: Connection, rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    files: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    topics: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    if wanted := [row.id for row in rows]:
        for file in tx.execute(select(bundle_files).where(bundle_files.c.bundle.in_(wanted))
                               .order_by(bundle_files.c.name)):
            files[file.bundle].append({"name": file.name, "size": file.size, "sha256": file.sha256, "role": file.role})
        for file in tx.execute(select(bundle_uploads).where(bundle_uploads.c.bundle.in_(wanted))
                               .order_by(bundle_uploads.c.name)):
            files[file.bundle].append({"name": file.name, "size": file.size, "sha256": file.sha256,
                                       "role": ANNOUNCED})
        for topic in tx.execute(select(bundle_topics).where(bundle_topics.c.bundle.in_(wanted))
                                .order_by(bundle_topics.c.name, bundle_topics.c.type)):
            topics[topic.bundle].append(
                {"name": topic.name, "type": topic.type, "count": topic.count, "frequency_hz": topic.frequency_hz,
                 "first_ns": topic.first_ns, "last_ns": topic.last_ns, "decodable": topic.decodable})
    return [_resource(row, files[row.id], topics[row.id]) for row in rows]


def _resource(row: Row[Any], files: list[dict[str, Any]], topics: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "owner": row.owner and str(row.owner),
        "visibility": row.visibility,
        "labels": row.labels,
        "instance": row.job and str(row.job),
        "attempt": row.attempt,
        "state": row.state,
        "reason": row.reason,
        "digest": row.digest,
        "storage": row.storage,
        "files": files,
        "topics": topics,
        "messages": row.messages,
        "start_ns": row.start_ns,
        "end_ns": row.end_ns,
        "duration_seconds": row.duration_seconds,
        "problems": row.problems,
        "certificate": row.certificate,
        "size": row.size,
        "hold": row.hold,
        "keep_days": row.keep_days,
        "created_at": rfc3339(row.created_at),
    }
