"""Ends an attempt: checks what its recorder found, registers it as bundles, writes the end. Called by tasks.collect.

Until the recorder has spoken there is nothing to do but to see that one is at work.
"""

import logging
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from pydantic import ValidationError

from shared.domain.errors import NotFound, Unavailable
from shared.domain.specs import Program
from shared.domain.states import SUCCESS, Kind, Reason, State
from shared.lifecycle import End
from shared.persistence.bundles import BundleRecord, StoredObject, announced
from shared.persistence.queries import JobRow, begin_salvage, job_by_id, postpone
from shared.storage import keys
from workers.doors import Doors
from workers.facts import Facts, Recording, Upload
from workers.launching import hash_of, run_of
from workers.runtimes.base import Name, Recorder

log = logging.getLogger(__name__)

SALVAGES = 3
PATIENCE = timedelta(seconds=10)
LOST = timedelta(minutes=10)  # that a machine which is not heard of may come back in, with what was recorded


def collect(doors: Doors, job: UUID) -> None:
    """Bring a COLLECTING job one step on; repeating it is harmless."""
    with doors.connections.database.transaction() as tx:
        row = job_by_id(tx, job)
        if row is None or row.state != State.COLLECTING:
            return
        postpone(tx, [job], PATIENCE)
    limit = timedelta(seconds=Program.model_validate(row.program).limits.collect_seconds)
    is_late = row.now - row.state_since >= limit
    if row.facts is not None:
        _register_unless_late(doors, row, is_late=is_late)
    else:
        _see_to_recorder(doors, row, is_late=is_late)


def _see_to_recorder(doors: Doors, row: JobRow, *, is_late: bool) -> None:
    name = Name(row.id, row.attempt)
    recorder = doors.runtime.observe(name).recorder
    is_lost = recorder == Recorder.LOST
    if is_late or (is_lost and row.now - row.state_since >= LOST):
        doors.runtime.kill(name)
        _end_without_facts(doors, row, "its node was not heard of again" if is_lost
                           else "what it recorded could not be collected in time", final=is_lost)
    elif recorder == Recorder.WORKING:
        doors.runtime.stop(name, signal.SIGTERM)  # what else runs beside a program that has ended
    elif not is_lost:
        with doors.connections.database.single() as tx:
            last = job_by_id(tx, row.id)
        if last is not None and last.facts is not None:  # it spoke just before its end
            _register_unless_late(doors, last, is_late=False)
        else:
            _salvage(doors, row)


def _salvage(doors: Doors, row: JobRow) -> None:
    """Start a recorder on what a dead one left, a few times; when nothing is left, end without."""
    run = run_of(row)
    if doors.runtime.keeps and row.salvages < SALVAGES:
        with doors.connections.database.transaction() as tx:
            if not begin_salvage(tx, row, hash_of(run.token)):
                return
        if doors.runtime.salvage(run):
            log.info("a recorder was started on what %s left", run.name)
            return
    _end_without_facts(doors, row, "nothing that it recorded is left" if row.salvages < SALVAGES
                       else f"{SALVAGES} recorders died on what it recorded")


def _end_without_facts(doors: Doors, row: JobRow, message: str, *, final: bool = False) -> None:
    outcome = Reason.UPLOAD_FAILED if row.outcome == SUCCESS else row.outcome
    text = message if row.message is None else f"{row.message}; {message}"
    kept = doors.runtime.keeps and row.kind == Kind.INSTANCE  # of the others nothing is here that is nowhere else
    doors.connections.lifecycle.finish(End(row.id, row.attempt, outcome, text, kept=kept, final=final))


def _register_unless_late(doors: Doors, row: JobRow, *, is_late: bool) -> None:
    """Register what was said; nothing that a recorder says, and no outage past the limit, may hold the slot."""
    try:
        _register(doors, row)
    except Unavailable:
        if not is_late:
            raise
        _end_without_facts(doors, row, "what it recorded could not be looked at in time")
    except Exception:  # facts are untrusted: whatever they break, the attempt must end
        log.exception("the facts of job %s cannot be registered", row.id)
        _end_without_facts(doors, row, "what its recorder said could not be registered")


def _register(doors: Doors, row: JobRow) -> None:
    try:
        facts = Facts.model_validate(row.facts)
    except ValidationError as error:
        log.warning("the facts of job %s are not facts: %s", row.id, error)
        _end_without_facts(doors, row, "what its recorder said could not be understood")
        return
    end = _end_of_ingest(doors, row, facts) if row.kind == Kind.INGEST else \
        _end(row, facts, _Verified.of(doors, row, facts), keeps=doors.runtime.keeps)
    doors.connections.lifecycle.finish(end)


@dataclass(frozen=True)
class _Verified:
    """The recordings whose every file lies in the store with the size that was said, and those that do not."""

    bundles: list[BundleRecord]
    missing: list[str]

    @classmethod
    def of(cls, doors: Doors, row: JobRow, facts: Facts) -> "_Verified":
        bundles, missing = [], []
        for recording in facts.recordings:
            record = _record(doors, row, recording, {file.name: keys.recorded_file(row.id, row.attempt, file.path)
                                                     for file in recording.files})
            if record is not None:
                bundles.append(record)
            else:
                missing.append(recording.path)
        return cls(bundles, missing)


def _record(doors: Doors, row: JobRow, recording: Recording, places: Mapping[str, str]) -> BundleRecord | None:
    """The recording with its objects; its original files lie at `places`, what was made of it where the attempt put
    it. None unless all of them are there as they were when they were read."""
    index = recording.index and _stored(doors, _derived(row, recording.index), recording.index)
    stored: dict[str, StoredObject] = {}
    for file in recording.files:
        found = _stored(doors, _derived(row, file) if file.role == "rebuilt" else places[file.name], file)
        if found is None or (file.etag is not None and file.etag != found.etag):
            return None
        stored[file.name] = found
    return BundleRecord(recording.path, recording.model_dump(mode="json"), stored, index.key if index else None)


def _derived(row: JobRow, file: Upload) -> str:
    return keys.derived_file(row.id, row.attempt, file.path)


def _stored(doors: Doors, key: str, file: Upload) -> StoredObject | None:
    """The object of an uploaded file, None unless it is there in its whole size."""
    try:
        size, etag = doors.connections.store.stat(key)
    except NotFound:
        return None
    return StoredObject(key, size, etag) if size == file.size else None


def _end_of_ingest(doors: Doors, row: JobRow, facts: Facts) -> End:
    """What an ingester found, when it ended well: a bundle whose files are the announced ones, or why there is none."""
    end = End(row.id, row.attempt, row.outcome, row.message, progress=facts.progress,
              attempt_columns=_attempt_columns(row, facts))
    if row.outcome != SUCCESS:
        return end
    if facts.ingested.unsound is not None:
        return replace(end, outcome=Reason.UPLOAD_FAILED, message=facts.ingested.unsound)
    recording = facts.ingested.recording
    if recording is None:
        return replace(end, outcome=Reason.RUNTIME_ERROR, message="the ingester left nothing of what it found")
    with doors.connections.database.single() as tx:
        places = {file.name: keys.uploaded_file(row.bundle, file.place) for file in announced(tx, row.bundle)}
    if places.keys() != {file.name for file in recording.files if file.role != "rebuilt"}:
        return replace(end, outcome=Reason.RUNTIME_ERROR, message="the ingester tells of other files than announced")
    record = _record(doors, row, recording, places)
    if record is None:
        return replace(end, outcome=Reason.UPLOAD_FAILED, message="its files changed while they were ingested")
    return replace(end, outcome=recording.reason or SUCCESS, bundles=[record])


def _attempt_columns(row: JobRow, facts: Facts) -> dict[str, object]:
    return {
        "log_tail": facts.log.tail, "log_end": facts.log.size, "usage": facts.usage or None,
        "log_key": keys.log(row.id, row.attempt) if facts.log.uploaded else None,
        "files": [file.model_dump() for file in facts.files],
    }


def _end(row: JobRow, facts: Facts, verified: _Verified, *, keeps: bool) -> End:
    """The outcome stands, but for a success that left no recording, or one that did not arrive."""
    end = End(row.id, row.attempt, row.outcome, row.message, facts.result.passed, dict(facts.result.metrics),
              facts.progress, verified.bundles, _attempt_columns(row, facts), kept=keeps and bool(verified.missing))
    notes = [*facts.problems, *(f"{path} did not arrive in object storage" for path in verified.missing)]
    if row.outcome == SUCCESS and verified.missing:
        end = replace(end, outcome=Reason.UPLOAD_FAILED)
    elif row.outcome == SUCCESS and Program.model_validate(row.program).record.required and not any(
            bundle.facts["state"] != "REJECTED" for bundle in verified.bundles):
        end = replace(end, outcome=Reason.NO_RECORDING)
        notes.append("it ended well but recorded nothing")
    return replace(end, message="; ".join(filter(None, [row.message, *notes])) or None)
