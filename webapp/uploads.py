"""What POST /bundles and the two calls after it do: announce files, sign their parts, have the whole looked into.

Object storage is spoken to outside of transactions; the bytes go there directly and never pass through here."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import UUID, uuid4

from shared.domain.errors import Conflict, FieldError, NotFound, Unavailable
from shared.domain.events import rfc3339
from shared.domain.moves import NewJob
from shared.domain.specs import Limits, Program, Record, Resources, Retry
from shared.domain.states import BundleState, Kind, Reason
from shared.persistence import quotas
from shared.persistence.bundles import Announced, announce, announced, digest
from shared.persistence.queries import Idempotency, claim_answer
from shared.storage import keys
from shared.storage.store import URL_LIFE, Store, part_size_of, parts_of
from webapp.api.schemas.bundles import Announcement
from webapp.idempotency import Answer, Key, replayed
from webapp.parts import Parts
from webapp.queries import bundles as queries

MOST_URLS = 1000
INGEST_SECONDS = 600.0  # and more for large recordings, at no less than this speed:
INGEST_BYTES_PER_SECOND = 4 << 20
INGEST_MEMORY_MB = 512  # of the ingester; what parses is caged by itself
# All but what the upload itself is to blame for.
RETRIED = (Reason.EVICTED, Reason.NODE_LOST, Reason.VANISHED, Reason.PREEMPTED, Reason.RUNTIME_ERROR, Reason.CRASHED,
           Reason.OOM_KILLED, Reason.DISK_FULL)


def begin(parts: Parts, body: Announcement, owner: UUID, viewer: UUID | None, key: Key | None) -> Answer:
    """Announce a bundle: (201, where to put its parts); (200, another) that has the content and may be read by the
    caller."""
    if key and (answer := key.known(parts.connections.database)):
        return answer
    content = digest([file.model_dump() for file in body.files])
    part_size = part_size_of(max(file.size for file in body.files))
    with parts.connections.database.single() as tx:
        held = queries.held(tx, content, viewer)
    if held is not None:
        return 200, _ticket(held.id, held.state, part_size, None)
    bundle, files = uuid4(), list[Announced]()
    with ExitStack() as undo:
        undo.callback(_abort, parts.connections.store, bundle, files)
        for place, file in enumerate(body.files):
            upload = parts.connections.store.create(keys.uploaded_file(bundle, place))
            files.append(Announced(file.name, place, file.size, file.sha256, upload, part_size))
        made = _ticket(bundle, BundleState.UPLOADING, part_size,
                       _signed(parts.connections.store, bundle, list(islice(_all_parts(files), MOST_URLS))))
        about = {"id": bundle, "name": body.name, "owner": owner, "visibility": "team", "labels": body.labels,
                 "digest": content}
        answer = _write(parts, about, files, key.answering(201, made) if key else None)
        if answer is None:  # else another request with this key was faster
            undo.pop_all()
    return answer or (201, made)


def _write(parts: Parts, about: dict[str, Any], files: list[Announced], key: Idempotency | None) -> Answer | None:
    with parts.connections.database.transaction() as tx:
        if key and (answer := claim_answer(tx, key)):
            return replayed(answer)
        quotas.check(tx, about["owner"], parts.connections.limits, more_bytes=sum(file.size for file in files))
        announce(tx, about, files)
    return None


def _abort(store: Store, bundle: UUID, files: Sequence[Announced]) -> None:
    """Forget what was begun; what cannot be forgotten now is only room that is lost."""
    for file in files:
        with suppress(Unavailable):
            store.abort(keys.uploaded_file(bundle, file.place), file.upload_id)


def _all_parts(files: Sequence[Announced]) -> Iterator[tuple[Announced, int]]:
    for file in files:
        for number in range(1, parts_of(file.size, file.part_size) + 1):
            yield file, number


def missing(parts: Parts, bundle: UUID, state: str) -> dict[str, Any]:
    """The parts that are not there yet, with fresh URLs; none once the upload is complete."""
    files = _announced(parts, bundle) if state == BundleState.UPLOADING else []
    wanted = [(file, number) for file in files for number in _missing(parts.connections.store, bundle, file)[0]]
    part_size = files[0].part_size if files else part_size_of(0)
    return _ticket(bundle, state, part_size, _signed(parts.connections.store, bundle, wanted))


def complete(parts: Parts, bundle: UUID, owner: UUID) -> bool:
    """Put the parts together and have the bundle ingested; False when that was asked before. Conflict naming the parts
    that are missing."""
    store, files = parts.connections.store, _announced(parts, bundle)
    there = [(file, *_missing(store, bundle, file)) for file in files]
    if gaps := [FieldError(f"files.{file.name}.parts.{number}", message)
                for file, absent, _ in there for number, message in absent.items()]:
        raise Conflict(f"{len(gaps)} parts are missing", code="parts_missing", errors=gaps[:100],
                       remedy="PUT them to the URLs of GET /bundles/{id}/uploads, then complete again")
    for file, _, etags in there:
        if etags:
            store.complete(keys.uploaded_file(bundle, file.place), file.upload_id, etags)
    size = sum(file.size for file in files)
    return parts.connections.lifecycle.submit_ingest(NewJob(uuid4(), Kind.INGEST, owner, bundle, _program(size)))


def _announced(parts: Parts, bundle: UUID) -> list[Announced]:
    with parts.connections.database.single() as tx:
        return announced(tx, bundle)


def _missing(store: Store, bundle: UUID, file: Announced) -> tuple[dict[int, str], list[str]]:
    """What is wrong with each part that is not there as it should be, and the etags of those that are, in order. Both
    are empty when the object has been put together already."""
    key = keys.uploaded_file(bundle, file.place)
    try:
        there = store.parts(key, file.upload_id)
    except NotFound:
        if _size(store, key) == file.size:
            return {}, []
        there = {}
    wrong, etags = dict[int, str](), list[str]()
    for number, size in enumerate(_part_sizes(file), 1):
        found, etag = there.get(number, (None, ""))
        if found == size:
            etags.append(etag)
        else:
            wrong[number] = "was not uploaded" if found is None else f"has {found} bytes, not {size}"
    return wrong, etags


def _size(store: Store, key: str) -> int | None:
    try:
        return store.size(key)
    except NotFound:
        return None


def _part_sizes(file: Announced) -> Iterator[int]:
    for number in range(parts_of(file.size, file.part_size)):
        yield min(file.part_size, file.size - number * file.part_size)


def _signed(store: Store, bundle: UUID, wanted: Sequence[tuple[Announced, int]]) -> list[dict[str, Any]]:
    """URLs for these parts, the first thousand of them: more are to be had once those are there."""
    uploads: dict[str, list[dict[str, Any]]] = {}
    for file, number in wanted[:MOST_URLS]:
        url = store.part_url(keys.uploaded_file(bundle, file.place), file.upload_id, number)
        uploads.setdefault(file.name, []).append({"number": number, "url": url})
    return [{"name": name, "parts": parts} for name, parts in uploads.items()]


def _ticket(bundle: UUID, state: str, part_size: int, uploads: list[dict[str, Any]] | None) -> dict[str, Any]:
    return {"id": str(bundle), "state": str(state), "part_size": part_size,
            "expires_at": rfc3339(datetime.now(UTC) + URL_LIFE) if uploads else None, "uploads": uploads or []}


def _program(size: int) -> Program:
    """The ingester; what it is started as is the runtime's knowledge."""
    return Program(
        command=(), resources=Resources(memory_mb=INGEST_MEMORY_MB),
        limits=Limits(run_seconds=INGEST_SECONDS + size / INGEST_BYTES_PER_SECOND),
        record=Record(required=False), retry=Retry(on=RETRIED))
