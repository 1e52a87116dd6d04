"""The end of an attempt: what a recorder said becomes bundles, and what it did not say does not."""

import json
import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from shared.domain.errors import Unavailable
from shared.domain.specs import Limits, Record, Retry
from shared.domain.states import Reason
from shared.persistence.models import attempts, blobs, bundle_files, bundle_topics, bundles, garbage
from shared.storage import keys
from tests.shared.test_lifecycle import at_once
from tests.workers.conftest import Workshop
from workers.collecting import LOST, SALVAGES, collect
from workers.garbage import delete_garbage
from workers.runtimes.base import Name, Observation, Recorder, Seen

OPTIONAL = Record(required=False)
SHA = "a" * 64
TOPIC = {"name": "/odom", "type": "nav_msgs/msg/Odometry", "count": 3, "frequency_hz": 1.0, "first_ns": 0,
         "last_ns": 2, "decodable": True}


def facts(**fields: Any) -> dict[str, Any]:
    return {"recordings": [], "files": [], "problems": [], "result": {}, "progress": None,
            "log": {"size": 5, "tail": "words", "uploaded": False}, "usage": {}} | fields


def recording(path: str = "run", sha256: str = SHA, **fields: Any) -> dict[str, Any]:
    return {"name": path, "path": path, "state": "READY", "reason": None, "storage": "sqlite3", "topics": [TOPIC],
            "messages": 3, "start_ns": 0, "end_ns": 2, "duration_seconds": 2e-9, "problems": [], "certificate": None,
            "files": [{"name": "run.db3", "path": f"{path}/run.db3", "size": 9, "sha256": sha256, "role": "data"}],
            } | fields


def told(workshop: Workshop, said: dict[str, Any], outcome: str = "success", **program: Any) -> UUID:
    """A COLLECTING job whose recorder has said this, with the files that it names in the store."""
    job = workshop.collecting(outcome, **program)
    attempt = workshop.job(job).attempt
    with workshop.database.transaction() as tx:
        tx.execute(text("UPDATE attempts SET facts = CAST(:said AS jsonb) WHERE job = :job AND number = :number"),
                   {"said": json.dumps(said), "job": job, "number": attempt})
    for found in said["recordings"]:
        for file in found["files"]:
            workshop.store.sizes[keys.recorded_file(job, attempt, file["path"])] = file["size"]
    return job


def rows(workshop: Workshop, table: Any) -> list[Any]:
    with workshop.database.transaction() as tx:
        return list(tx.execute(select(table)))


def test_a_recording_becomes_a_bundle(workshop: Workshop) -> None:
    job = told(workshop, facts(recordings=[recording()], result={"passed": True, "metrics": {"x": 1.5}}))
    collect(workshop.doors, job)
    row = workshop.job(job)
    assert (row.state, row.passed, row.metrics) == ("SUCCEEDED", True, {"x": 1.5})
    (bundle,) = rows(workshop, bundles)
    assert (bundle.job, bundle.attempt, bundle.state, bundle.messages) == (job, 1, "READY", 3)
    assert [file.name for file in rows(workshop, bundle_files)] == ["run.db3"]
    assert [topic.name for topic in rows(workshop, bundle_topics)] == ["/odom"]
    (attempt,) = rows(workshop, attempts)
    assert (attempt.log_tail, attempt.log_end, attempt.outcome) == ("words", 5, "success")


def test_collecting_twice_is_as_good_as_once(workshop: Workshop) -> None:
    job = told(workshop, facts(recordings=[recording()]))
    collect(workshop.doors, job)
    collect(workshop.doors, job)
    assert len(rows(workshop, bundles)) == 1


def test_content_is_held_once(workshop: Workshop) -> None:
    first = told(workshop, facts(recordings=[recording()]))
    collect(workshop.doors, first)
    second = told(workshop, facts(recordings=[recording()]))
    collect(workshop.doors, second)
    (blob,) = rows(workshop, blobs)
    assert blob.key == keys.recorded_file(first, 1, "run/run.db3")
    assert workshop.store.deleted == []  # a worker may die right here: what is left over is written down
    delete_garbage(workshop.doors)
    assert workshop.store.deleted == [keys.recorded_file(second, 1, "run/run.db3")]
    assert rows(workshop, garbage) == []
    one, two = rows(workshop, bundles)
    assert one.digest == two.digest


def test_content_that_only_claims_to_be_the_same_is_held_beside_it(workshop: Workshop) -> None:
    first = told(workshop, facts(recordings=[recording()]))
    collect(workshop.doors, first)
    second = told(workshop, facts(recordings=[recording()]))
    workshop.store.etags[keys.recorded_file(second, 1, "run/run.db3")] = "another"
    collect(workshop.doors, second)
    assert rows(workshop, garbage) == []
    assert {file.key for file in rows(workshop, bundle_files)} == {
        keys.recorded_file(job, 1, "run/run.db3") for job in (first, second)}


def test_what_breaks_the_writing_ends_the_attempt_all_the_same(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    job = told(workshop, facts(recordings=[recording()]), "crashed")

    def fail(key: str) -> tuple[int, str]:
        raise ValueError("something nobody thought of")

    monkeypatch.setattr(workshop.store, "stat", fail)
    collect(workshop.doors, job)
    row = workshop.job(job)
    assert (row.state, row.outcome) == ("FAILED", "crashed")
    assert "could not be registered" in row.message


def test_storage_that_stays_down_holds_no_slot_for_ever(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    job = told(workshop, facts(recordings=[recording()]), limits=Limits(collect_seconds=5))

    def down(key: str) -> tuple[int, str]:
        raise Unavailable("object storage does not answer")

    monkeypatch.setattr(workshop.store, "stat", down)
    with pytest.raises(Unavailable):
        collect(workshop.doors, job)
    with workshop.database.transaction() as tx:
        tx.execute(text("UPDATE jobs SET state_since = now() - interval '6 s'"))
    collect(workshop.doors, job)
    (attempt,) = [row for row in rows(workshop, attempts) if row.number == 1]
    assert (attempt.outcome, attempt.kept) == ("upload_failed", True)


def test_of_many_collects_at_once_one_starts_a_recorder(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    job = workshop.collecting()
    workshop.runtime.things[Name(job, 1)] = Observation(Seen.ENDED, exit_code=0)
    salvaged: list[str] = []
    monkeypatch.setattr(workshop.runtime, "salvage", lambda run: bool(salvaged.append(run.token) or True))
    monkeypatch.setattr(workshop.runtime, "observe", meet(workshop.runtime.observe, 4))
    at_once([lambda: collect(workshop.doors, job)] * 4)
    assert len(salvaged) == 1


def meet(look: Any, count: int) -> Any:
    """`look`, but everybody looks before anybody goes on."""
    barrier = threading.Barrier(count)

    def looked(name: Name) -> Any:
        seen = look(name)
        barrier.wait(60)
        return seen

    return looked


def test_success_without_a_recording_is_no_recording(workshop: Workshop) -> None:
    job = told(workshop, facts())
    collect(workshop.doors, job)
    row = workshop.job(job)
    assert (row.state, row.outcome, row.message) == ("FAILED", "no_recording", "it ended well but recorded nothing")


def test_a_rejected_recording_is_none(workshop: Workshop) -> None:
    job = told(workshop, facts(recordings=[recording(state="REJECTED", reason="not_a_recording")]))
    collect(workshop.doors, job)
    assert workshop.job(job).outcome == "no_recording"


def test_any_other_outcome_stands_and_keeps_what_was_recorded(workshop: Workshop) -> None:
    job = told(workshop, facts(recordings=[recording(state="DAMAGED")]), "crashed")
    collect(workshop.doors, job)
    assert (workshop.job(job).state, workshop.job(job).outcome) == ("FAILED", "crashed")
    assert len(rows(workshop, bundles)) == 1


def test_a_file_that_is_not_in_the_store_is_upload_failed(workshop: Workshop) -> None:
    job = told(workshop, facts(recordings=[recording()]))
    workshop.store.sizes.clear()
    collect(workshop.doors, job)
    with workshop.database.transaction() as tx:
        (attempt,) = tx.execute(select(attempts).where(attempts.c.number == 1))
    assert attempt.outcome == "upload_failed"
    assert attempt.message == "run did not arrive in object storage"
    assert rows(workshop, bundles) == []


def test_a_file_of_another_size_is_upload_failed(workshop: Workshop) -> None:
    job = told(workshop, facts(recordings=[recording()]))
    workshop.store.sizes = dict.fromkeys(workshop.store.sizes, 8)
    collect(workshop.doors, job)
    assert rows(workshop, bundles) == []


@pytest.mark.parametrize("said", [
    facts(surprise=1),
    facts(recordings=[recording(messages=-1)]),
    facts(recordings=[recording(messages=2**63)]),
    facts(recordings=[recording("a"), recording("a")]),
    facts(recordings=[recording(topics=[TOPIC, TOPIC])]),
    facts(recordings=[recording("../../other/1/output/run")]),
    facts(log={"size": 1, "tail": "x" * 70_000, "uploaded": False}),
    facts(result={"metrics": {"x": "NaN"}}),
    facts(recordings=[recording(state="SPLENDID")]),
    facts(files=[{"path": "a\nb", "size": 1, "sha256": SHA}]),
])
def test_facts_that_are_none_end_the_attempt_without(workshop: Workshop, said: dict[str, Any]) -> None:
    job = told(workshop, said, "crashed")
    collect(workshop.doors, job)
    row = workshop.job(job)
    assert (row.state, row.outcome) == ("FAILED", "crashed")
    assert "could not be understood" in row.message
    assert rows(workshop, bundles) == []


def test_while_a_recorder_works_only_what_runs_beside_the_program_is_stopped(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    job, stopped = workshop.collecting(), list[Name]()
    workshop.runtime.things[Name(job, 1)] = Observation(Seen.ENDED, exit_code=0, recorder=Recorder.WORKING)
    monkeypatch.setattr(workshop.runtime, "stop", lambda name, _: bool(stopped.append(name)))
    collect(workshop.doors, job)
    assert (workshop.job(job).state, stopped) == ("COLLECTING", [Name(job, 1)])


@pytest.mark.parametrize("collect_seconds", [5, 3600])
def test_a_machine_that_is_not_heard_of_is_waited_for_and_nothing_runs_again_by_itself(
        workshop: Workshop, collect_seconds: float) -> None:
    """For it may run there still."""
    job = workshop.collecting("node_lost", limits=Limits(collect_seconds=collect_seconds),
                              retry=Retry(max_attempts=3, on=(Reason.NODE_LOST,)))
    workshop.runtime.things[Name(job, 1)] = Observation(Seen.ENDED, recorder=Recorder.LOST)
    collect(workshop.doors, job)
    assert (workshop.job(job).state, workshop.job(job).attempt) == ("COLLECTING", 1)
    with workshop.database.transaction() as tx:
        tx.execute(text("UPDATE jobs SET state_since = now() - :ago"), {"ago": min(LOST, 2 * timedelta(seconds=5))})
    collect(workshop.doors, job)
    assert workshop.job(job).state == ("FAILED" if collect_seconds == 5 else "COLLECTING")
    with workshop.database.transaction() as tx:
        tx.execute(text("UPDATE jobs SET state_since = now() - :ago"), {"ago": LOST})
    collect(workshop.doors, job)
    row = workshop.job(job)
    assert (row.state, row.outcome, row.message) == ("FAILED", "node_lost", "its node was not heard of again")


def test_a_machine_that_is_surely_gone_lets_it_run_again(workshop: Workshop) -> None:
    job = workshop.collecting("node_lost", retry=Retry(max_attempts=3, on=(Reason.NODE_LOST,)))
    collect(workshop.doors, job)
    assert (workshop.job(job).state, workshop.job(job).attempt) in (("QUEUED", 2), ("STARTING", 2))


def test_a_recorder_that_speaks_just_before_its_end_is_heard(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    job = workshop.collecting("success", record=OPTIONAL)

    def end(name: Name) -> Observation:
        with workshop.database.transaction() as tx:
            tx.execute(text("UPDATE attempts SET facts = CAST(:said AS jsonb) WHERE job = :job"),
                       {"said": json.dumps(facts()), "job": job})
        return Observation(Seen.ENDED, exit_code=0, recorder=Recorder.DONE)

    monkeypatch.setattr(workshop.runtime, "observe", end)
    collect(workshop.doors, job)
    assert workshop.job(job).state == "SUCCEEDED"


def test_a_dead_recorder_is_replaced_a_few_times(workshop: Workshop) -> None:
    job = workshop.collecting(record=OPTIONAL)
    workshop.runtime.things[Name(job, 1)] = Observation(Seen.ENDED, exit_code=0)
    for _ in range(SALVAGES):
        collect(workshop.doors, job)
        assert workshop.job(job).state == "COLLECTING"
    collect(workshop.doors, job)
    with workshop.database.transaction() as tx:
        (attempt,) = tx.execute(select(attempts).where(attempts.c.number == 1))
    assert (attempt.outcome, attempt.message) == ("upload_failed", "3 recorders died on what it recorded")


def test_when_nothing_is_left_the_outcome_stands(workshop: Workshop) -> None:
    job = workshop.collecting("crashed")
    collect(workshop.doors, job)
    row = workshop.job(job)
    assert (row.state, row.outcome, row.message) == ("FAILED", "crashed", "nothing that it recorded is left")


def test_the_collect_limit_ends_a_recorder_that_works_for_ever(workshop: Workshop) -> None:
    job = workshop.collecting(limits=Limits(collect_seconds=5))
    workshop.runtime.things[Name(job, 1)] = Observation(Seen.ENDED, exit_code=0, recorder=Recorder.WORKING)
    with workshop.database.transaction() as tx:
        tx.execute(text("UPDATE jobs SET state_since = now() - interval '6 s'"))
    collect(workshop.doors, job)
    with workshop.database.transaction() as tx:
        (attempt,) = tx.execute(select(attempts).where(attempts.c.number == 1))
    assert attempt.outcome == "upload_failed"


def test_a_job_that_is_not_collecting_is_left_alone(workshop: Workshop) -> None:
    job = workshop.running()
    collect(workshop.doors, job)
    assert workshop.job(job).state == "RUNNING"
