"""Jobs that belong to no simulation live the same life, in slots of their own, and say what becomes of their bundle."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from shared.domain.moves import NewJob
from shared.domain.specs import Limits, Program, Retry
from shared.domain.states import Kind, Reason, State
from shared.lifecycle import Lifecycle
from shared.messaging.queue import Work
from shared.persistence.bundles import Announced, BundleRecord, StoredObject, announce, announced
from shared.persistence.database import Database
from shared.persistence.models import NOW, bundle_files, bundle_topics, bundles, events, jobs, users
from shared.persistence.queries import job_by_id
from tests.shared.test_lifecycle import World

FACTS: dict[str, Any] = {
    "name": "recording", "state": "READY", "reason": None, "storage": "sqlite3", "messages": 3, "start_ns": 0,
    "end_ns": 2, "duration_seconds": 2e-9, "problems": [], "certificate": None,
    "files": [{"name": "a.db3", "size": 9, "sha256": "a" * 64, "role": "data"}],
    "topics": [{"name": "/odom", "type": "t", "count": 3, "frequency_hz": None, "first_ns": 0, "last_ns": 2,
                "decodable": True}]}


class Shelf(World):
    """A world with bundles that are to be ingested."""

    def upload(self, owner: UUID | None = None) -> UUID:
        bundle = uuid4()
        with self.database.transaction() as tx:
            announce(tx, {"id": bundle, "name": "field run", "owner": owner or self.user, "visibility": "team",
                          "labels": {}, "digest": "d"}, [Announced("a.db3", 0, 9, "a" * 64, "u", 16)])
        return bundle

    def ingest(self, owner: UUID | None = None, **program: Any) -> UUID:
        once: dict[str, Any] = {"retry": Retry(on=())}
        new = NewJob(uuid4(), Kind.INGEST, owner or self.user, self.upload(owner),
                     Program(command=(), **once | program))
        assert self.lifecycle.submit_ingest(new)
        return new.id

    def collecting_ingest(self, outcome: str = "success") -> UUID:
        job = self.ingest()
        self.lifecycle.admit()
        assert self.pass_gate(job)
        assert self.move(job, State.COLLECTING, outcome=outcome)
        return job

    def bundle(self, job: UUID) -> Any:
        with self.database.transaction() as tx:
            return tx.execute(select(bundles).join(jobs, jobs.c.bundle == bundles.c.id).where(jobs.c.id == job)).one()

    def record(self, **facts: Any) -> BundleRecord:
        return BundleRecord(".", FACTS | facts, {"a.db3": StoredObject("uploads/x/0", 9, "e")}, "index")


@pytest.fixture
def shelf(database: Database) -> Shelf:
    return Shelf(database)


def test_what_nobody_owns_counts_as_one_owners(database: Database) -> None:
    shelf = Shelf(database, slots=2)
    gone = shelf.add_user()
    shelf.ingest(gone)
    shelf.lifecycle.admit()
    orphan, mine = shelf.ingest(gone), shelf.ingest()
    with database.transaction() as tx:
        tx.execute(delete(users).where(users.c.id == gone))
    shelf.lifecycle.admit()
    assert (shelf.job(orphan).state, shelf.job(mine).state) == ("QUEUED", "STARTING")


def test_a_bundle_is_ingested_once_however_often_it_is_asked_for(shelf: Shelf) -> None:
    bundle = shelf.upload()
    new = [NewJob(uuid4(), Kind.INGEST, shelf.user, bundle, Program(command=())) for _ in range(2)]
    assert [shelf.lifecycle.submit_ingest(each) for each in new] == [True, False]
    assert shelf.bundle(new[0].id).state == "INGESTING"


def test_it_is_rung_for_by_its_own_task_and_its_events_are_numbered(shelf: Shelf) -> None:
    job = shelf.collecting_ingest()
    assert shelf.finish(job, bundles=[shelf.record()]) == State.SUCCEEDED
    assert [work for work in shelf.told.sent if work.job == job] == [
        Work(job, State.STARTING, "ingest"), Work(job, State.COLLECTING, "ingest")]
    with shelf.database.transaction() as tx:
        told = tx.execute(select(events).order_by(events.c.number)).all()
    assert [(row.simulation, row.kind, row.to_state, row.number) for row in told] == [
        (None, "ingest", state, number)
        for number, state in enumerate(("QUEUED", "STARTING", "COLLECTING", "SUCCEEDED"), 1)]
    assert [event.number for event in shelf.told.published] == [1, 2, 3, 4]


def test_what_was_found_fills_the_bundle_that_was_announced(shelf: Shelf) -> None:
    job = shelf.collecting_ingest()
    shelf.finish(job, bundles=[shelf.record()])
    bundle = shelf.bundle(job)
    assert (bundle.name, bundle.state, bundle.digest, bundle.messages, bundle.index_key) == (
        "field run", "READY", "d", 3, "index")
    with shelf.database.transaction() as tx:
        assert [file.key for file in tx.execute(select(bundle_files))] == ["uploads/x/0"]
        assert [topic.name for topic in tx.execute(select(bundle_topics))] == ["/odom"]
        assert announced(tx, bundle.id) == []


def test_a_rejected_bundle_keeps_its_files_and_its_job_has_failed(shelf: Shelf) -> None:
    job = shelf.collecting_ingest()
    assert shelf.finish(job, Reason.HOSTILE, bundles=[shelf.record(state="REJECTED", reason="hostile")]) == "FAILED"
    assert (shelf.bundle(job).state, shelf.bundle(job).reason) == ("REJECTED", "hostile")
    assert shelf.job(job).outcome == "hostile"


def test_a_bundle_that_nothing_was_found_out_of_has_failed_and_says_why(shelf: Shelf) -> None:
    job = shelf.collecting_ingest("upload_failed")
    assert shelf.finish(job, "upload_failed", message="a.db3: it has 8 bytes") == State.FAILED
    bundle = shelf.bundle(job)
    assert (bundle.state, bundle.reason) == ("FAILED", "upload_failed")
    assert bundle.problems == [
        {"code": "upload_failed", "file": None, "topic": None, "message": "a.db3: it has 8 bytes"}]


def test_a_bundle_that_is_tried_again_is_still_being_ingested(shelf: Shelf) -> None:
    job = shelf.ingest(retry=Retry(on=(Reason.VANISHED,)))
    shelf.lifecycle.admit()
    assert shelf.pass_gate(job)
    assert shelf.move(job, State.COLLECTING, outcome="vanished")
    assert shelf.finish(job, "vanished") == State.QUEUED
    assert shelf.bundle(job).state == "INGESTING"


@pytest.mark.parametrize("started", [False, True])
def test_one_that_is_cancelled_before_it_ran_leaves_no_bundle_in_between(shelf: Shelf, started: bool) -> None:
    job = shelf.ingest()
    if started:
        shelf.lifecycle.admit()
    shelf.lifecycle.cancel_job(job, actor="test")
    assert shelf.job(job).state == "CANCELLED"
    assert (shelf.bundle(job).state, shelf.bundle(job).reason) == ("FAILED", "cancelled_by_user")


def test_each_kind_has_slots_of_its_own(shelf: Shelf) -> None:
    lifecycle = Lifecycle(shelf.database, shelf.told, {"instance": 2, "ingest": 1, "playback": 0})  # type: ignore[arg-type]
    simulation = shelf.submit(5)
    ingests = [shelf.ingest(), shelf.ingest()]
    assert lifecycle.admit() == 3
    assert shelf.states(simulation).count("STARTING") == 2
    assert [shelf.job(job).state for job in ingests] == ["STARTING", "QUEUED"]
    assert lifecycle.admit() == 0


def test_whoever_has_fewest_at_work_comes_first(shelf: Shelf) -> None:
    lifecycle = Lifecycle(shelf.database, shelf.told, dict.fromkeys(Kind, 3))  # type: ignore[arg-type]
    many, other = [shelf.ingest() for _ in range(4)], shelf.add_user()
    late = [shelf.ingest(other), shelf.ingest(other)]
    lifecycle.admit()
    assert [shelf.job(job).state for job in many + late] == [
        "STARTING", "STARTING", "QUEUED", "QUEUED", "STARTING", "QUEUED"]


def test_while_admission_is_closed_nothing_starts(shelf: Shelf) -> None:
    shelf.ingest()
    shelf.lifecycle.set_admission(is_open=False)
    assert shelf.lifecycle.admit() == 0


def test_a_retry_waits_its_time(shelf: Shelf) -> None:
    job = shelf.ingest()
    with shelf.database.transaction() as tx:
        tx.execute(update(jobs).where(jobs.c.id == job).values(not_before=NOW + timedelta(hours=1)))
    assert shelf.lifecycle.admit() == 0


@pytest.mark.parametrize("row", [
    {"kind": "ingest", "program": None}, {"kind": "instance"}, {"kind": "playback", "bundle": None}, {"kind": "other"}])
def test_the_database_knows_what_each_kind_belongs_to(shelf: Shelf, row: dict[str, Any]) -> None:
    whole = {"id": uuid4(), "bundle": shelf.upload(), "program": {}, "parameters": {}, "seed": 0, "state": "QUEUED"}
    with pytest.raises(IntegrityError), shelf.database.transaction() as tx:
        tx.execute(insert(jobs).values(whole | row))


def test_an_ingest_is_held_to_limits_of_its_own(shelf: Shelf) -> None:
    job = shelf.ingest(limits=Limits(run_seconds=77))
    with shelf.database.single() as tx:
        row = job_by_id(tx, job)
    assert row is not None
    assert Program.model_validate(row.program).limits.run_seconds == 77
