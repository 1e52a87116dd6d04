"""What is deleted goes, all of it and nothing else, whatever dies in between; what is old goes by itself."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import insert, select, text, update

from shared.domain.errors import Conflict, IllegalTransition, NotFound, Unavailable
from shared.domain.moves import NewJob
from shared.domain.specs import Program
from shared.domain.states import Kind, State
from shared.persistence import garbage as written
from shared.persistence.bundles import StoredObject, hold
from shared.persistence.database import Database
from shared.persistence.deletion import delete_bundle, hold_still
from shared.persistence.models import (
    NOW,
    audit,
    blobs,
    bundle_files,
    bundles,
    events,
    garbage,
    idempotency_keys,
    jobs,
    leases,
    templates,
    users,
)
from shared.storage import keys
from shared.storage.store import Store
from standalone.servers import Servers
from tests.waiting import until
from tests.workers.conftest import chores, running
from tests.workers.yard import AUDIT_DAYS, Yard
from workers import retention
from workers.garbage import delete_garbage
from workers.runtimes.base import Name, Observation, Seen
from workers.watcher import LeaseLost, Watcher


@pytest.fixture
def yard(servers: Servers, database: Database) -> Yard:
    store = Store(servers.s3.endpoint, servers.s3.access_key, servers.s3.secret_key, "test-retention", secure=False)
    store.make_bucket()
    store.delete_many(list(store.keys("")))
    return Yard(database, store)


def test_shared_content_stays_until_its_last_bundle_goes(yard: Yard) -> None:
    first, second = yard.simulate(b"same", b"own"), yard.simulate(b"same")
    uploaded = yard.ingested(b"same")
    kept = yard.bundles_of(second)[0]
    yard.check_the_law()
    yard.lifecycle.delete_simulation(first)
    yard.sweep()
    yard.check_the_law()
    assert yard.contents(kept) == yard.contents(uploaded) == [b"same"]
    assert yard.bundles_of(first) == []
    yard.lifecycle.delete_simulation(second)
    yard.lifecycle.delete_bundle(uploaded)
    yard.sweep()
    assert (yard.objects(), yard.rows()) == (set(), {})


def test_a_bundle_goes_alone_and_leaves_its_instance(yard: Yard) -> None:
    simulation = yard.simulate(b"a", b"b")
    gone, stays = yard.bundles_of(simulation)
    yard.lifecycle.delete_bundle(gone)
    yard.sweep()
    yard.check_the_law()
    assert yard.bundles_of(simulation) == [stays]
    assert yard.contents(stays) == [b"b"]
    with pytest.raises(NotFound):
        yard.lifecycle.delete_bundle(gone)


def test_objects_that_no_row_tells_of_go_with_their_attempt(yard: Yard) -> None:
    simulation = yard.simulate(b"a")
    prefix = keys.attempt_prefix(yard.jobs(simulation)[0].id, 1)
    yard.put(prefix + "output/never told of", b"x")
    yard.real.create(prefix + "output/half")
    yard.lifecycle.delete_simulation(simulation)
    yard.sweep()
    assert (yard.objects(), yard.rows()) == (set(), {})
    assert yard.real._client._list_multipart_uploads(yard.real.bucket, prefix=prefix).uploads == []


def test_an_upload_that_is_deleted_is_aborted_by_a_server_too_that_does_not_list_them(
        yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yard.real, "abort_all", lambda prefix: None)
    bundle = yard.upload()
    key = keys.uploaded_file(bundle, 0)
    upload = yard.real.create(key)
    with yard.database.transaction() as tx:
        tx.execute(text("UPDATE bundle_uploads SET upload_id = :upload"), {"upload": upload})
    yard.lifecycle.delete_bundle(bundle)
    yard.sweep()
    assert yard.rows() == {}
    with pytest.raises(NotFound):
        yard.real.parts(key, upload)


def test_only_what_has_ended_can_be_deleted(yard: Yard) -> None:
    running = yard.job(yard.running()).simulation
    with pytest.raises(IllegalTransition) as refused:
        yard.lifecycle.delete_simulation(running)
    assert "/cancel" in (refused.value.remedy or "")
    queued = yard.submit()
    with pytest.raises(IllegalTransition):
        yard.lifecycle.delete_simulation(queued)
    yard.lifecycle.cancel_simulation(queued, actor="test")
    yard.lifecycle.delete_simulation(queued)
    with pytest.raises(NotFound):
        yard.lifecycle.delete_simulation(queued)


def test_what_is_on_hold_is_deleted_by_nothing(yard: Yard) -> None:
    simulation = yard.simulate(b"a", b"b", keep_days=1)
    held, other = yard.bundles_of(simulation)
    yard.change(held, hold=True, keep_days=1)
    for delete, what in ((yard.lifecycle.delete_simulation, simulation), (yard.lifecycle.delete_bundle, held)):
        with pytest.raises(Conflict) as refused:
            delete(what)
        assert refused.value.code == "held"
        assert str(held) in refused.value.detail and f"/bundles/{held}" in (refused.value.remedy or "")
    yard.age(9)
    yard.sweep()
    assert yard.bundles_of(simulation) == [held, other]
    yard.change(held, hold=False)
    yard.sweep()
    assert (yard.objects(), yard.rows()) == (set(), {})


@pytest.mark.parametrize("kind", [Kind.PLAYBACK, Kind.INGEST])
def test_what_a_job_works_on_stays_until_that_has_ended(yard: Yard, kind: Kind) -> None:
    simulation = yard.simulate(b"a", keep_days=1)
    [bundle] = yard.bundles_of(simulation)
    job = uuid4()
    if kind == Kind.PLAYBACK:
        yard.lifecycle.submit_playback(NewJob(job, kind, yard.user, bundle, Program(command=())))
    else:
        yard.change(bundle, state="UPLOADING")
        yard.lifecycle.submit_ingest(NewJob(job, kind, yard.user, bundle, Program(command=())))
    for delete, what in ((yard.lifecycle.delete_simulation, simulation), (yard.lifecycle.delete_bundle, bundle)):
        with pytest.raises(Conflict, match=str(job)) as refused:
            delete(what)
        assert refused.value.code == "in_use"
    yard.age(9)
    yard.sweep()
    assert yard.bundles_of(simulation) == [bundle]
    yard.lifecycle.cancel_job(job, actor="test")
    yard.sweep()
    assert (yard.objects(), yard.rows()) == (set(), {})


def test_an_input_stays_until_who_asked_for_it_has_ended(yard: Yard) -> None:
    bundle = yard.ingested(b"a")
    user = yard.submit(inputs=(bundle,))
    with pytest.raises(Conflict, match=str(user)):
        yard.lifecycle.delete_bundle(bundle)
    yard.lifecycle.cancel_simulation(user, actor="test")
    yard.lifecycle.delete_bundle(bundle)
    with pytest.raises(NotFound, match=str(bundle)):
        yard.submit(inputs=(bundle,))
    with pytest.raises(NotFound, match=str(bundle)):
        yard.lifecycle.submit_playback(NewJob(uuid4(), Kind.PLAYBACK, yard.user, bundle, Program(command=())))
    assert not yard.lifecycle.submit_ingest(NewJob(uuid4(), Kind.INGEST, yard.user, bundle, Program(command=())))


def test_an_input_that_is_gone_is_not_run_with_once_more(yard: Yard) -> None:
    bundle = yard.ingested(b"a")
    user = yard.submit(inputs=(bundle,))
    yard.lifecycle.cancel_simulation(user, actor="test")
    yard.lifecycle.delete_bundle(bundle)
    with pytest.raises(IllegalTransition, match=str(bundle)) as refused:
        yard.lifecycle.retry(user, {State.CANCELLED}, actor="test")
    assert refused.value.code == "input_deleted"
    assert yard.states(user) == ["CANCELLED"]


def test_who_runs_once_more_waits_for_the_deletion_of_an_input(yard: Yard) -> None:
    bundle = yard.ingested(b"a")
    user = yard.submit(inputs=(bundle,))
    yard.lifecycle.cancel_simulation(user, actor="test")

    def retry() -> str:
        try:
            return str(yard.lifecycle.retry(user, {State.CANCELLED}, actor="test"))
        except IllegalTransition as refused:
            return refused.code

    with yard.database.transaction() as tx:
        delete_bundle(tx, bundle)
        thread, done = in_a_thread(retry)
        until(lambda: waits(yard.database))
    thread.join(60)
    assert (done, yard.states(user)) == (["input_deleted"], ["CANCELLED"])


def test_an_input_of_what_runs_once_more_stays_before_anybody_numbered_that(
        yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = yard.simulate(b"a", keep_days=1)
    [bundle] = yard.bundles_of(recorded)
    user = yard.submit(inputs=(bundle,))
    yard.lifecycle.cancel_simulation(user, actor="test")
    with monkeypatch.context() as crashed:
        crashed.setattr(yard.lifecycle, "settle", lambda work=(): None)
        crashed.setattr(yard.lifecycle, "_after", lambda work: None)
        yard.lifecycle.retry(user, {State.CANCELLED}, actor="test")
        assert yard.simulation(user).state == "CANCELLED"
        for delete, what in ((yard.lifecycle.delete_bundle, bundle), (yard.lifecycle.delete_simulation, recorded)):
            with pytest.raises(Conflict, match=str(user)):
                delete(what)


def test_numbers_stay_dense_around_what_is_deleted(yard: Yard) -> None:
    first = yard.simulate(b"a")
    last = yard.history(first)[-1].number
    second = yard.simulate(b"b")
    yard.lifecycle.delete_simulation(first)
    yard.sweep()
    assert yard.history(first) == []
    yard.lifecycle.cancel_simulation(yard.submit(), actor="test")
    with yard.database.transaction() as tx:
        told = tx.execute(select(events.c.number).order_by(events.c.number)).scalars().all()
    assert told == list(range(last + 1, told[-1] + 1))
    assert yard.history(second)[0].number == last + 1


def test_rows_wait_for_their_events_to_be_numbered(yard: Yard) -> None:
    simulation = yard.simulate(b"a")
    yard.lifecycle.delete_simulation(simulation)
    with yard.database.transaction() as tx:
        tx.execute(update(events).where(events.c.job.is_not(None)).values(number=None))
    while not retention.purge(yard.doors):
        pass
    assert len(yard.jobs(simulation)) == 1
    yard.sweep()
    assert yard.rows() == {}


def test_folders_that_were_kept_go_too_and_nothing_is_put_aside(yard: Yard) -> None:
    simulation = yard.simulate(b"a")
    name = Name(yard.jobs(simulation)[0].id, 1)
    yard.runtime.things[name] = Observation(Seen.ENDED, exit_code=0)
    yard.lifecycle.delete_simulation(simulation)
    yard.sweep()
    assert (yard.runtime.names(), yard.runtime.quarantined) == ([], [])


def test_a_folder_that_cannot_be_removed_keeps_none_of_the_others(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = yard.simulate(b"a", b"b", b"c")
    folders = [Name(row.id, 1) for row in yard.jobs(simulation)]
    yard.runtime.things = dict.fromkeys(folders, Observation(Seen.ENDED))
    removed: list[Name] = []

    def remove(name: Name) -> None:
        if not removed:
            removed.append(name)
            raise PermissionError(f"{name} cannot be removed")
        removed.append(name)

    monkeypatch.setattr(yard.runtime, "remove", remove)
    yard.lifecycle.delete_simulation(simulation)
    yard.sweep()
    assert sorted(map(str, removed)) == sorted(map(str, folders))
    assert (yard.objects(), yard.rows()) == (set(), {})


# -- users ------------------------------------------------------------------------------------------------------------

def test_a_user_who_was_deleted_is_taken_off_what_he_owned_and_goes_last(
        yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "OWNED", 2)
    gone = yard.add_user()
    waiting, mine = yard.submit(5, owner=gone), yard.submit(2)
    bundle, kept = yard.upload(gone), yard.upload()
    with yard.database.transaction() as tx:
        tx.execute(insert(templates).values(id=uuid4(), name="his", owner=gone))
        tx.execute(insert(idempotency_keys).values(owner=gone, key="k", request="r", status=202, body={}))
    depart(yard, gone)
    steps = 1
    while not retention.disown(yard.doors):
        steps += 1
    assert steps == 1 + 3 + 1 + 1 + 1 + 1, "simulation, jobs, bundle, template, the user, and nothing left"
    for simulation, upload, owner in ((waiting, bundle, None), (mine, kept, yard.user)):
        assert {row.owner for row in yard.jobs(simulation)} == {owner}
        assert (yard.simulation(simulation).owner, yard.row(upload).owner) == (owner, owner)
    with yard.database.transaction() as tx:
        assert tx.execute(select(users.c.id)).scalars().all() == [yard.user]
        assert tx.execute(select(templates.c.owner)).scalars().all() == [None]
    assert "idempotency_keys" not in yard.rows()
    yard.lifecycle.cancel_simulation(waiting, actor="test")


def test_a_user_stays_while_some_process_may_still_let_him_in(yard: Yard) -> None:
    gone = yard.add_user()
    simulation = yard.submit(owner=gone)
    with yard.database.transaction() as tx:
        tx.execute(update(users).where(users.c.id == gone).values(deleted_at=NOW))
    assert retention.disown(yard.doors)
    assert yard.simulation(simulation).owner == gone


def test_who_is_taken_off_waits_for_an_end_that_writes_what_is_his(yard: Yard) -> None:
    gone = yard.add_user()
    [job] = yard.jobs(yard.submit(owner=gone))
    depart(yard, gone)
    assert not retention.disown(yard.doors)  # of the simulation
    with yard.database.transaction() as tx:
        tx.execute(select(jobs.c.id).where(jobs.c.id == job.id).with_for_update(key_share=True))
        thread, done = in_a_thread(lambda: retention.disown(yard.doors))
        until(lambda: waits(yard.database))
        bundle = uuid4()  # as an end does, after it has locked the job
        tx.execute(insert(bundles).values(
            id=bundle, name="b", owner=gone, visibility="team", state="READY", digest="d"))
    thread.join(60)
    assert done == [False]
    while not retention.disown(yard.doors):
        pass
    assert (yard.row(bundle).owner, yard.job(job.id).owner) == (None, None)


def depart(yard: Yard, user: UUID) -> None:
    """He was deleted, so long ago that no process knows him any more."""
    with yard.database.transaction() as tx:
        tx.execute(update(users).where(users.c.id == user).values(deleted_at=NOW - retention.PATIENCE))


# -- keep -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("keep", "outcome", "passed", "kept"), [
    ("all", "success", True, True), ("none", "success", True, False), ("none", "crashed", False, False),
    ("failed", "success", True, False), ("failed", "success", None, False), ("failed", "success", False, True),
    ("failed", "crashed", None, True), ("failed", "crashed", True, True)])
def test_recordings_are_kept_of_those_that_are_asked_for(
        yard: Yard, keep: str, outcome: str, passed: bool | None, kept: bool) -> None:
    simulation = yard.simulate(b"a", keep=keep, outcome=outcome, passed=passed)
    [job] = yard.jobs(simulation)
    assert (job.outcome, job.passed) == (outcome, passed)
    assert len(yard.bundles_of(simulation)) == kept
    yard.check_the_law()
    yard.sweep()
    names = {key.removeprefix(keys.attempt_prefix(job.id, 1)) for key in yard.objects()}
    assert names == {"log.txt", "output/notes/a b.txt"} | (
        {"output/run/run.db3", "derived/0/index"} if kept else set())


def test_the_size_of_a_bundle_is_that_of_its_files(yard: Yard) -> None:
    bundle = yard.ingested(b"twelve bytes")
    [made] = yard.bundles_of(yard.simulate(b"four"))
    with yard.database.transaction() as tx:
        sizes = dict(tx.execute(select(bundles.c.id, bundles.c.size)).all())
    assert sizes == {bundle: 12, made: 4}


def test_an_upload_that_was_given_up_takes_no_room(yard: Yard) -> None:
    bundle = yard.upload()
    assert yard.row(bundle).size == 9
    yard.age(2)
    with yard.database.transaction() as tx:  # as the server names it
        tx.execute(text("UPDATE bundle_uploads SET upload_id = :id"),
                   {"id": yard.real.create(keys.uploaded_file(bundle, 0))})
    yard.sweep()
    assert (yard.row(bundle).state, yard.row(bundle).size) == ("FAILED", 0)


# -- by age -----------------------------------------------------------------------------------------------------------

def test_what_has_been_kept_for_its_days_goes_and_nothing_sooner(yard: Yard) -> None:
    short, long, ever = (yard.simulate(b"a", keep_days=days) for days in (3, 5, None))
    bundle, kept = yard.ingested(b"b"), yard.ingested(b"c")
    yard.change(bundle, keep_days=3)
    yard.age(4)
    said = "\n".join(retention.preview(yard.doors, AUDIT_DAYS))
    assert str(short) in said and str(bundle) in said and "1 bytes" in said and "kept for 3 days" in said
    assert not {str(each) for each in (long, ever, kept)} & set(said.split())
    assert len(yard.bundles_of(short)) == 1, "a preview deletes nothing"
    yard.sweep()
    yard.check_the_law()
    assert [len(yard.jobs(simulation)) for simulation in (short, long, ever)] == [0, 1, 1]
    with yard.database.transaction() as tx:
        assert set(tx.execute(select(bundles.c.id)).scalars()) == {
            kept, *yard.bundles_of(long), *yard.bundles_of(ever)}
    assert list(retention.preview(yard.doors, AUDIT_DAYS)) == []


def test_what_is_in_use_does_not_stand_before_what_can_go(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROUND", 1)
    played, wanted = yard.ingested(b"a"), yard.ingested(b"b")
    recorded = yard.simulate(b"c", keep_days=1)
    inputs = (wanted, *yard.bundles_of(recorded))
    for bundle in (played, wanted):
        yard.change(bundle, keep_days=1)
    yard.lifecycle.submit_playback(NewJob(uuid4(), Kind.PLAYBACK, yard.user, played, Program(command=())))
    user = yard.submit(inputs=inputs)
    yard.age(9)
    simulation, bundle = yard.simulate(b"d", keep_days=1), yard.ingested(b"e")
    yard.change(bundle, keep_days=1)
    yard.age(3, simulation, bundle)
    assert [line.split(" ")[1].rstrip(":") for line in retention.preview(yard.doors, AUDIT_DAYS)] == [
        str(simulation), str(bundle)]
    yard.sweep()
    assert (yard.jobs(simulation), len(yard.jobs(recorded))) == ([], 1)
    with yard.database.transaction() as tx:
        assert set(tx.execute(select(bundles.c.id)).scalars()) == {played, *inputs}
    yard.lifecycle.cancel_simulation(user, actor="test")
    for _ in range(2):
        yard.sweep()
    with yard.database.transaction() as tx:
        assert tx.execute(select(bundles.c.id)).scalars().all() == [played]


def test_answers_and_audit_that_are_too_old_go(yard: Yard) -> None:
    with yard.database.transaction() as tx:
        for hours in (23, 25):
            tx.execute(insert(idempotency_keys).values(
                owner=yard.user, key=str(hours), request="r", status=202, body={},
                created_at=NOW - timedelta(hours=hours)))
        for days in (AUDIT_DAYS - 1, AUDIT_DAYS + 1):
            tx.execute(insert(audit).values(
                method="GET", path="/", status=200, request=str(days), at=NOW - timedelta(days=days)))
    assert [line.split(";")[1] for line in retention.preview(yard.doors, AUDIT_DAYS)] == [" 1 rows", " 1 rows"]
    yard.sweep()
    with yard.database.transaction() as tx:
        assert tx.execute(select(idempotency_keys.c.key)).scalars().all() == ["23"]
        assert tx.execute(select(audit.c.request)).scalars().all() == [str(AUDIT_DAYS - 1)]


def test_the_command_says_what_would_go_and_then_deletes_it(
        yard: Yard, servers: Servers, database_url: str, tmp_path: Any) -> None:
    simulation = yard.simulate(b"a", keep_days=1)
    yard.age(2)
    environment = {
        "DATABASE_URL": database_url, "REDIS_URL": servers.redis_url, "MINIO_ENDPOINT": servers.s3.endpoint,
        "MINIO_ACCESS_KEY": servers.s3.access_key, "MINIO_SECRET_KEY": servers.s3.secret_key,
        "MINIO_BUCKET": yard.real.bucket, "STORAGE_BASE_DIR": str(tmp_path), "PATH": "/bin"}

    def run(*options: str) -> list[str]:
        done = subprocess.run([sys.executable, "-W", "ignore", "-m", "workers.retention", *options], env=environment,
                              capture_output=True, text=True, check=False, timeout=100)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    [line] = run("--dry-run")
    assert line.startswith(f"simulation {simulation} 'night run'") and line.endswith("1 instances, 1 bundles, 1 bytes")
    assert len(yard.bundles_of(simulation)) == 1
    assert run() == [line]
    assert (yard.objects(), yard.rows()) == (set(), {})


def test_the_leading_watcher_does_all_of_it_by_itself(yard: Yard) -> None:
    yard.lifecycle.delete_simulation(yard.simulate(b"a"))
    yard.simulate(b"b", keep_days=1)
    yard.age(2)
    with running(Watcher(yard.doors)):
        until(lambda: not (yard.objects() or yard.rows().keys() - {"leases"}))


def test_chores_are_done_by_who_leads_alone(yard: Yard) -> None:
    first, second = Watcher(yard.doors), Watcher(yard.doors)
    with yard.database.transaction() as tx:
        written.discard(tx, ["a"])
    first.step()
    with yard.database.transaction() as tx:
        tx.execute(update(leases).values(until=NOW - timedelta(seconds=1)))
    second.step()
    with pytest.raises(LeaseLost):
        until(first.step)
    first._chores.step()
    assert yard.rows().keys() == {"leases", "garbage"}
    second._chores.step()
    assert yard.rows().keys() == {"leases"}


def test_chores_end_with_a_lease_that_could_not_be_renewed(yard: Yard) -> None:
    alone = chores(yard.doors)
    with yard.database.transaction() as tx:
        written.discard(tx, ["a"])
    alone.allow(monotonic())
    alone.step()
    assert yard.rows().keys() == {"garbage"}


def test_what_is_wrong_with_one_thing_stops_no_other_chore(
        yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("something nobody thought of")

    with yard.database.transaction() as tx:
        written.discard(tx, ["a"])
    monkeypatch.setattr("shared.persistence.deletion.hidden_instances", fail)
    chores(yard.doors).step()
    assert yard.rows() == {}


# -- whatever dies ----------------------------------------------------------------------------------------------------

class Killed(BaseException):
    """As a SIGKILL: nothing catches it."""


class Reaper:
    """Kills at the n-th point: before and after each commit, and after each call of the store."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, yard: Yard) -> None:
        self.left = -1
        transaction = yard.database.transaction

        @contextmanager
        def deadly() -> Iterator[Any]:
            with transaction() as tx:
                yield tx
                self.pass_by()
            self.pass_by()

        monkeypatch.setattr(yard.database, "transaction", deadly)
        for name in ("abort", "abort_all", "delete", "delete_many", "keys"):
            monkeypatch.setattr(yard.real, name, self._around(getattr(yard.real, name)))

    def _around(self, deed: Callable[..., Any]) -> Callable[..., Any]:
        def deadly(*args: Any) -> Any:
            done = deed(*args)
            self.pass_by()
            return done

        return deadly

    def pass_by(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def test_whatever_dies_in_the_middle_it_goes_on_afterwards(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each point at which a round can be killed, one after the other; then another round."""
    reaper, point, survived = Reaper(monkeypatch, yard), 0, False
    other = yard.simulate(b"same")
    while not survived:
        point += 1
        simulation, bundle = yard.simulate(b"same"), yard.ingested(b"own")
        upload = yard.upload()
        yard.lifecycle.delete_simulation(simulation)
        yard.lifecycle.delete_bundle(bundle)
        yard.lifecycle.delete_bundle(upload)
        reaper.left = point
        try:
            yard.sweep()
            survived = True
        except Killed:
            reaper.left = -1
            yard.check_the_law()
            yard.sweep()
        reaper.left = -1
        yard.check_the_law()
        assert yard.rows() == yard.rows() | {"simulations": 1, "jobs": 1, "attempts": 1, "bundles": 1, "blobs": 1}
        assert "garbage" not in yard.rows()
        assert yard.contents(yard.bundles_of(other)[0]) == [b"same"]
    assert point > 15


def test_while_storage_is_down_rows_go_and_objects_wait(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.lifecycle.delete_simulation(yard.simulate(b"a"))

    def down(*_: Any) -> Any:
        raise Unavailable("object storage does not answer")

    all_chores = chores(yard.doors)
    with monkeypatch.context() as patch:
        for name in ("delete_many", "abort_all", "keys"):
            patch.setattr(yard.real, name, down)
        while all_chores.step():
            pass
    assert set(yard.rows()) == {"garbage"}
    assert len(yard.objects()) == 4
    yard.sweep()
    assert (yard.objects(), yard.rows()) == (set(), {})


def test_what_storage_will_not_delete_waits_behind_the_rest(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    with yard.database.transaction() as tx:
        written.discard(tx, ["a", "b"])
    monkeypatch.setattr(yard.real, "delete_many", lambda keys: [key for key in keys if key == "a"])
    assert delete_garbage(yard.doors)
    with yard.database.transaction() as tx:
        assert tx.execute(select(garbage.c.key)).scalars().all() == ["a"]


def test_garbage_that_is_referred_to_all_the_same_is_never_deleted(yard: Yard) -> None:
    bundle = yard.ingested(b"a")
    with yard.database.transaction() as tx:
        written.discard(tx, yard.objects())
        written.discard(tx, ["uploads/", "attempts/"])
    delete_garbage(yard.doors)
    yard.check_the_law()
    assert yard.contents(bundle) == [b"a"]


# -- two at once ------------------------------------------------------------------------------------------------------

SHA = "a" * 64


def held_by(tx: Any, yard: Yard, key: str) -> str:
    """A new bundle with this content, which lies at `key`; the key under which it is held."""
    bundle = yard.upload()
    held = hold(tx, SHA, StoredObject(key, 1, "e"))
    tx.execute(insert(bundle_files).values(bundle=bundle, name="a.db3", key=held, sha256=SHA, size=1, role="data"))
    return held


def waits(database: Database) -> bool:
    with database.transaction() as tx:
        return bool(tx.execute(text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                                    "AND wait_event_type = 'Lock'")).scalar_one())


def in_a_thread(deed: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(deed()))
    thread.start()
    return thread, done


def last_holder(yard: Yard) -> UUID:
    with yard.database.transaction() as tx:
        assert held_by(tx, yard, "old") == "old"
        return UUID(str(tx.execute(select(bundle_files.c.bundle)).scalar_one()))


def delete_rows(tx: Any, bundle: UUID) -> None:
    tx.execute(text("DELETE FROM bundle_files WHERE bundle = :bundle"), {"bundle": bundle})
    written.release(tx, ["old"])


def kept(yard: Yard) -> tuple[list[str], list[str]]:
    with yard.database.transaction() as tx:
        return (list(tx.execute(select(blobs.c.key)).scalars()), list(tx.execute(select(garbage.c.key)).scalars()))


def test_who_comes_to_hold_content_first_keeps_it_from_being_released(yard: Yard) -> None:
    first = last_holder(yard)

    def release() -> None:
        with yard.database.transaction() as tx:
            delete_rows(tx, first)

    with yard.database.transaction() as tx:
        assert held_by(tx, yard, "new") == "old"
        thread, _ = in_a_thread(release)
        until(lambda: waits(yard.database))
    thread.join(60)
    assert kept(yard) == (["old"], [])


def test_who_comes_after_the_release_holds_content_of_its_own(yard: Yard) -> None:
    first = last_holder(yard)

    def come() -> str:
        with yard.database.transaction() as tx:
            return held_by(tx, yard, "new")

    with yard.database.transaction() as tx:
        delete_rows(tx, first)
        thread, done = in_a_thread(come)
        until(lambda: waits(yard.database))
    thread.join(60)
    assert done == ["new"]
    assert kept(yard) == (["new"], ["old"])


def test_a_hold_and_a_deletion_at_once_leave_one_of_the_two(yard: Yard) -> None:
    simulation = yard.simulate(b"a")
    [bundle] = yard.bundles_of(simulation)

    def delete() -> Any:
        try:
            return yard.lifecycle.delete_simulation(simulation)
        except Conflict as refused:
            return refused.code

    with yard.database.transaction() as tx:
        hold_still(tx, [bundle])
        tx.execute(update(bundles).where(bundles.c.id == bundle).values(hold=True))
        thread, done = in_a_thread(delete)
        until(lambda: waits(yard.database))
    thread.join(60)
    assert done == ["held"]
    assert yard.simulation(simulation).deleted_at is None


def test_a_deletion_waits_for_who_begins_to_use_the_bundle(yard: Yard) -> None:
    bundle = yard.ingested(b"a")
    with yard.database.transaction() as tx:
        hold_still(tx, [bundle])
        thread, _ = in_a_thread(lambda: yard.lifecycle.delete_bundle(bundle))
        until(lambda: waits(yard.database))
    thread.join(60)


def test_who_begins_to_use_a_bundle_waits_for_its_deletion(yard: Yard) -> None:
    bundle = yard.ingested(b"a")

    def use() -> str:
        try:
            return str(yard.submit(inputs=(bundle,)))
        except NotFound:
            return "not found"

    with yard.database.transaction() as tx:
        delete_bundle(tx, bundle)
        thread, done = in_a_thread(use)
        until(lambda: waits(yard.database))
    thread.join(60)
    assert done == ["not found"]
    assert "simulations" not in yard.rows()


def test_two_that_purge_at_once_are_as_good_as_one(yard: Yard) -> None:
    simulation = yard.simulate(b"a", b"b", b"c")
    yard.lifecycle.delete_simulation(simulation)
    threads = [threading.Thread(target=yard.sweep) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (yard.objects(), yard.rows()) == (set(), {})


# -- the law ----------------------------------------------------------------------------------------------------------

def test_every_object_is_referred_to_or_garbage_whatever_is_done(yard: Yard) -> None:
    contents = st.sampled_from([b"one", b"two"])

    class Life(RuleBasedStateMachine):
        """Makes, shares, holds, deletes and sweeps in any order."""

        def __init__(self) -> None:
            super().__init__()
            self.simulations: list[UUID] = []
            self.bundles: list[UUID] = []
            self.held: set[UUID] = set()

        @rule(first=contents, second=contents, keep=st.sampled_from(["all", "failed"]), passed=st.booleans())
        def simulate(self, first: bytes, second: bytes, keep: str, passed: bool) -> None:
            self.simulations.append(yard.simulate(first, second, keep=keep, passed=passed))
            self.bundles += yard.bundles_of(self.simulations[-1])

        @rule(content=contents)
        def ingest(self, content: bytes) -> None:
            self.bundles.append(yard.ingested(content))

        @precondition(lambda self: self.bundles)
        @rule(data=st.data(), is_held=st.booleans())
        def hold(self, data: st.DataObject, is_held: bool) -> None:
            bundle = data.draw(st.sampled_from(self.bundles))
            yard.change(bundle, hold=is_held)
            (self.held.add if is_held else self.held.discard)(bundle)

        @precondition(lambda self: self.bundles)
        @rule(data=st.data())
        def delete_bundle(self, data: st.DataObject) -> None:
            bundle = data.draw(st.sampled_from(self.bundles))
            try:
                yard.lifecycle.delete_bundle(bundle)
            except Conflict:
                assert bundle in self.held
            else:
                assert bundle not in self.held
                self.bundles.remove(bundle)

        @precondition(lambda self: self.simulations)
        @rule(data=st.data())
        def delete_simulation(self, data: st.DataObject) -> None:
            simulation = data.draw(st.sampled_from(self.simulations))
            below = set(yard.bundles_of(simulation))
            assert below <= set(self.bundles)
            try:
                yard.lifecycle.delete_simulation(simulation)
            except Conflict:
                assert below & self.held
            else:
                assert not below & self.held
                self.simulations.remove(simulation)
                self.bundles = [bundle for bundle in self.bundles if bundle not in below]

        @rule(step=st.sampled_from([retention.purge, delete_garbage]))
        def sweep(self, step: Callable[[Any], bool]) -> None:
            yard.lifecycle.settle()
            step(yard.doors)

        @invariant()
        def law(self) -> None:
            yard.check_the_law()

        @invariant()
        def what_was_not_deleted_can_be_read(self) -> None:
            for bundle in self.bundles:
                assert yard.contents(bundle)[0] in (b"one", b"two")

        def teardown(self) -> None:
            for bundle in self.held:
                yard.change(bundle, hold=False)
            for bundle in self.bundles:
                yard.lifecycle.delete_bundle(bundle)
            for simulation in self.simulations:
                yard.lifecycle.delete_simulation(simulation)
            yard.sweep()
            assert (yard.objects(), yard.rows()) == (set(), {})

    run_state_machine_as_test(Life, settings=settings(  # type: ignore[no-untyped-call]
        max_examples=5, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)))
