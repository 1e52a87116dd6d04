"""What recorders call, the programs beside simulators: progress, log, uploads and facts of their own attempt. Outside
the API and its description. A recorder may be hostile; its token opens its own attempt alone, while that runs."""

import hashlib
import hmac
from typing import Annotated, Any
from uuid import UUID

from flask import Blueprint, Response, g, request
from pydantic import Field, StringConstraints

from shared.domain.errors import Conflict, FieldError, NotFound
from shared.domain.specs import Program
from shared.domain.states import LIVE, Kind, State
from shared.messaging.queue import Work
from shared.persistence.bundles import announced
from shared.storage import keys
from shared.storage.store import Store
from webapp import writes
from webapp.api.resource import answer, invalid, read_body, read_json
from webapp.api.schemas.base import Input
from webapp.excerpts import urls_of
from webapp.parts import parts
from webapp.problems import Unauthenticated
from webapp.progress import Report
from webapp.queries import attempts, bundles

internal = Blueprint("internal", __name__, url_prefix="/internal/attempts/<uuid:job>/<int:attempt>")

MAX_BODY = 8 << 20
LOG_WINDOW = 65_536
MAX_OBJECT = 5 << 40  # S3's own limit
LOG_PATH = "log.txt"
FOLDERS = ("output", "derived")

Number = Annotated[float, Field(allow_inf_nan=False)]
Path = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
UploadId = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[\x21-\x7e]+$")]


class ProgressReport(Input):
    """How far the program says it is."""

    percent: Annotated[Number, Field(ge=0, le=100)] | None = None
    sim_time: Number | None = None
    message: Annotated[str, StringConstraints(max_length=500)] | None = None


class LogChunk(Input):
    """What was logged from `offset` on: `skipped` bytes that went by too fast to be told, then `bytes` bytes as text;
    U+FFFD stands for bytes that are no UTF-8."""

    offset: Annotated[int, Field(ge=0, lt=2**62)]
    skipped: Annotated[int, Field(ge=0, lt=2**62)] = 0
    bytes: Annotated[int, Field(ge=0, le=MAX_BODY)]
    text: str


class AttemptReport(Input):
    """What is new since the last report."""

    progress: ProgressReport | None = None
    log: LogChunk | None = None


class Upload(Input):
    """A file to upload; `upload_id` where that has begun and its URLs have run out."""

    path: Path
    size: Annotated[int, Field(ge=0, le=MAX_OBJECT)]
    upload_id: UploadId | None = None


class Address(Input):
    """Where a player listens, and the token that opens it."""

    url: Annotated[str, StringConstraints(max_length=300, pattern=r"^http://[A-Za-z0-9.:\[\]-]+$")]
    token: Annotated[str, StringConstraints(min_length=20, max_length=200, pattern=r"^[\x21-\x7e]+$")]


class UploadEnd(Input):
    """The parts of an upload, all there."""

    path: Path
    upload_id: UploadId
    etags: Annotated[list[Annotated[str, StringConstraints(max_length=200, pattern=r"^[\x21-\x7e]+$")]],
                     Field(min_length=1, max_length=10_000)]


@internal.before_request
def admit() -> None:
    """Let only the recorder of this attempt in, and only while the attempt runs."""
    request.max_content_length = MAX_BODY
    job, attempt = _this()
    with parts().connections.database.single() as tx:
        row = attempts.for_recorder(tx, job, attempt) if attempt < 2**31 else None
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    shown = hashlib.sha256(token.strip().encode()).hexdigest()
    if row is None or scheme.lower() != "bearer" or not hmac.compare_digest(shown, row.token_hash or ""):
        raise Unauthenticated("this is not the token of this attempt")
    if row.attempt != attempt or row.state not in LIVE:
        raise Conflict(f"attempt {attempt} of job {job} is over", code="attempt_over")
    g.job = row


@internal.post("/report")
def report(job: UUID, attempt: int) -> Response:
    """Take down progress and log; says where the log ends, which is where the next chunk must begin."""
    body = read_body(AttemptReport, nul_allowed=True)
    if body.progress is not None:
        parts().progress.report(Report(
            job, attempt, g.job.simulation, g.job.kind, State(g.job.state), _clean(body.progress)))
    offset, skipped, chunk = (body.log.offset, body.log.skipped, _exact(body.log)) if body.log else (-1, 0, b"")
    with parts().connections.database.transaction() as tx:
        end = writes.append_log(tx, job, attempt, offset=offset, skipped=skipped, chunk=chunk, window=LOG_WINDOW)
    return answer({"log_end": end})


@internal.get("/inputs")
def show_inputs(job: UUID, attempt: int) -> Response:
    """What an ingester is to look into, a player to play, or a simulator to get, with URLs that live a quarter of an
    hour."""
    store = parts().connections.store
    if g.job.kind == Kind.INSTANCE:
        return answer({"bundles": _bundles(store)})
    if g.job.kind == Kind.PLAYBACK:
        with parts().connections.database.single() as tx:
            source = bundles.source(tx, g.job.bundle, viewer=None)
        if source is not None:
            return answer(urls_of(source, store))
        raise NotFound(f"bundle {g.job.bundle} is gone")
    with parts().connections.database.single() as tx:
        files = announced(tx, g.job.bundle)
    return answer({"files": [
        {"name": file.name, "size": file.size, "sha256": file.sha256,
         "url": store.source_url(keys.uploaded_file(g.job.bundle, file.place))} for file in files]})


def _bundles(store: Store) -> list[dict[str, Any]]:
    """The bundles that the simulation asked for, as they are now. NotFound when one is gone."""
    wanted = Program.model_validate(g.job.program).inputs
    with parts().connections.database.single() as tx:
        found = bundles.contents(tx, wanted)
    if gone := [bundle for bundle in wanted if bundle not in found]:
        raise NotFound(f"bundle {gone[0]} is gone")
    return [{"id": str(bundle), "files": [
        {"name": file.name, "size": file.size, "sha256": file.sha256, "url": store.source_url(file.key)}
        for file in found[bundle]]} for bundle in wanted]


@internal.put("/address")
def put_address(job: UUID, attempt: int) -> Response:
    """Where this attempt's player listens, for web alone."""
    body = read_body(Address)
    with parts().connections.database.transaction() as tx:
        writes.set_address(tx, job, attempt, body.model_dump())
    return Response(status=204)


@internal.post("/uploads")
def begin_upload(job: UUID, attempt: int) -> Response:
    """URLs to PUT the parts of a file to, for a quarter of an hour; asked again with the upload's id, new ones."""
    body = read_body(Upload)
    upload = parts().connections.store.begin(_key(job, attempt, body.path), body.size, body.upload_id)
    return answer({"upload_id": upload.upload_id, "part_size": upload.part_size, "urls": upload.urls})


@internal.post("/uploads/complete")
def complete_upload(job: UUID, attempt: int) -> Response:
    """Put the parts together; repeating it is as good as once."""
    body = read_body(UploadEnd)
    key = _key(job, attempt, body.path)
    size = parts().connections.store.complete(key, body.upload_id, body.etags)
    if body.path == LOG_PATH:
        with parts().connections.database.transaction() as tx:
            writes.set_log_key(tx, job, attempt, key)
    return answer({"size": size})


@internal.put("/facts")
def put_facts(job: UUID, attempt: int) -> Response:
    """Keep what was found in the recordings, and let collecting go on at once."""
    if not isinstance(read_json(), dict):
        raise invalid([FieldError("body", "must be a JSON object")])
    with parts().connections.database.transaction() as tx:
        writes.set_facts(tx, job, attempt, request.get_data().decode())
    if g.job.state == State.COLLECTING:
        parts().connections.lifecycle.ring([Work(job, State.COLLECTING, g.job.kind)])
    return Response(status=204)


def _this() -> tuple[UUID, int]:
    values = request.view_args or {}
    return values["job"], values["attempt"]


def _clean(progress: ProgressReport) -> dict[str, Any]:
    message = progress.message and progress.message.replace("\0", "")
    return {"percent": progress.percent, "sim_time": progress.sim_time, "message": message}


def _exact(chunk: LogChunk) -> bytes:
    """The text as UTF-8 of exactly the chunk's length, so that places in the kept window are places in the log. Where
    the log is no UTF-8, and for NUL, which Postgres cannot keep, question marks stand in."""
    text = chunk.text.replace("\0", "?")
    data = text.encode(errors="replace")
    if len(data) != chunk.bytes and "\ufffd" in text:
        short = chunk.bytes - len(text.replace("\ufffd", "?").encode(errors="replace"))
        data = text.replace("\ufffd", "?" * (1 + max(short, 0)), 1).replace("\ufffd", "?").encode(errors="replace")
    if len(data) != chunk.bytes:
        raise invalid([FieldError("log.bytes", f"the text has {len(data)} bytes, not {chunk.bytes}")])
    return data


def _key(job: UUID, attempt: int, path: str) -> str:
    """Where the file lies; InvalidSpec unless it is the log or a plain path below output/ or derived/."""
    segments = path.split("/")
    plain = not any(segment in ("", ".", "..") for segment in segments) and path.isprintable() and "\\" not in path
    try:
        small = len(path.encode()) <= 1024
    except UnicodeEncodeError:
        small = False
    if not (plain and small and (path == LOG_PATH or (segments[0] in FOLDERS and len(segments) > 1))):
        where = f"{LOG_PATH}, or a relative path below {' or '.join(FOLDERS)}, without dot segments"
        raise invalid([FieldError("path", f"must be {where}")])
    return keys.attempt_prefix(job, attempt) + path
