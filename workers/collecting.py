"""Ends an attempt: checks what its recorder found, registers it as bundles, writes the end. Called by tasks.collect.

Until the recorder has spoken there is nothing to do but to see that one is at work.
"""

import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from pydantic import ValidationError

from shared.domain.errors import NotFound
from shared.domain.specs import Program
from shared.domain.states import SUCCESS, Reason, State
from shared.lifecycle import End
from shared.persistence.bundles import BundleRecord
from shared.persistence.queries import JobRow, job_by_id, postpone, set_token
from shared.storage import keys
from workers.doors import Doors
from workers.facts import Facts, Recording
from workers.launching import hash_of, run_of
from workers.runtimes.base import Name, Recorder

log = logging.getLogger(__name__)

SALVAGES = 3
PATIENCE = timedelta(seconds=10)


def collect(doors: Doors, job: UUID) -> None:
    """Bring a COLLECTING job one step on; repeating it is harmless."""
    with doors.connections.database.transaction() as tx:
        row = job_by_id(tx, job)
        if row is None or row.state != State.COLLECTING:
            return
        postpone(tx, [job], PATIENCE)
    if row.facts is not None:
        _register(doors, row)
    elif row.now - row.state_since >= timedelta(seconds=Program.model_validate(row.program).limits.collect_seconds):
        doors.runtime.kill(Name(job, row.attempt))
        _end_without_facts(doors, row, "what it recorded could not be collected in time")
    elif doors.runtime.observe(Name(job, row.attempt)).recorder != Recorder.WORKING:
        _salvage(doors, row)


def _salvage(doors: Doors, row: JobRow) -> None:
    """Start a recorder on what a dead one left, a few times; when nothing is left, end without."""
    run = run_of(row)
    if row.salvages < SALVAGES:
        with doors.connections.database.transaction() as tx:
            set_token(tx, row.id, row.attempt, hash_of(run.token))
        if doors.runtime.salvage(run):
            log.info("a recorder was started on what %s left", run.name)
            return
    _end_without_facts(doors, row, "nothing that it recorded is left" if row.salvages < SALVAGES
                       else f"{SALVAGES} recorders died on what it recorded")


def _end_without_facts(doors: Doors, row: JobRow, message: str) -> None:
    outcome = Reason.UPLOAD_FAILED if row.outcome == SUCCESS else row.outcome
    text = message if row.message is None else f"{row.message}; {message}"
    doors.connections.lifecycle.finish(End(row.id, row.attempt, outcome, text))


def _register(doors: Doors, row: JobRow) -> None:
    try:
        facts = Facts.model_validate(row.facts)
    except ValidationError as error:
        log.warning("the facts of job %s are not facts: %s", row.id, error)
        _end_without_facts(doors, row, "what its recorder said could not be understood")
        return
    ended = doors.connections.lifecycle.finish(_end(row, facts, _Verified.of(doors, row, facts)))
    for key in ended.spare_keys if ended is not None else ():
        doors.connections.store.delete(key)


@dataclass(frozen=True)
class _Verified:
    """The recordings whose every file lies in the store with the size that was said, and those that do not."""

    bundles: list[BundleRecord]
    missing: list[str]

    @classmethod
    def of(cls, doors: Doors, row: JobRow, facts: Facts) -> "_Verified":
        bundles, missing = [], []
        for recording in facts.recordings:
            if all(_is_stored(doors, row, file.path, file.size) for file in recording.files):
                bundles.append(_bundle(row, recording))
            else:
                missing.append(recording.path)
        return cls(bundles, missing)


def _is_stored(doors: Doors, row: JobRow, path: str, size: int) -> bool:
    try:
        return doors.connections.store.size(keys.recorded_file(row.id, row.attempt, path)) == size
    except NotFound:
        return False


def _bundle(row: JobRow, recording: Recording) -> BundleRecord:
    return BundleRecord(
        path=recording.path, facts=recording.model_dump(mode="json"),
        keys={file.name: keys.recorded_file(row.id, row.attempt, file.path) for file in recording.files})


def _attempt_columns(row: JobRow, facts: Facts) -> dict[str, object]:
    return {
        "log_tail": facts.log.tail, "log_end": facts.log.size, "usage": facts.usage or None,
        "log_key": keys.log(row.id, row.attempt) if facts.log.uploaded else None,
        "files": [file.model_dump() for file in facts.files],
    }


def _end(row: JobRow, facts: Facts, verified: _Verified) -> End:
    """The outcome stands, but for a success that left no recording, or one that did not arrive."""
    end = End(row.id, row.attempt, row.outcome, row.message, facts.result.passed, dict(facts.result.metrics),
              facts.progress, verified.bundles, _attempt_columns(row, facts))
    notes = [*facts.problems, *(f"{path} did not arrive in object storage" for path in verified.missing)]
    if row.outcome == SUCCESS and verified.missing:
        end = replace(end, outcome=Reason.UPLOAD_FAILED)
    elif row.outcome == SUCCESS and Program.model_validate(row.program).record.required and not any(
            bundle.facts["state"] != "REJECTED" for bundle in verified.bundles):
        end = replace(end, outcome=Reason.NO_RECORDING)
        notes.append("it ended well but recorded nothing")
    return replace(end, message="; ".join(filter(None, [row.message, *notes])) or None)
