"""The watcher with a fake runtime: what it does about what it sees, and who may do it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from time import sleep
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from shared.domain.errors import Unavailable
from shared.domain.moves import Move
from shared.domain.specs import Limits, Program, Stop
from shared.domain.states import State
from shared.lifecycle import Lifecycle
from shared.logs import JsonFormatter
from shared.persistence.garbage import discard
from standalone.servers import Servers
from tests.fakes import FakeRuntime
from tests.waiting import until
from tests.workers.conftest import Workshop, running
from workers import launching, stopping
from workers.drain import drain
from workers.runtimes.base import Name, NotMade, Observation, Recorder, Run, Seen
from workers.watcher import LeaseLost, Watcher


def launched(workshop: Workshop, command: str = "wait", **program: Any) -> UUID:
    """A job whose program runs, or has ended if the command says so."""
    job = workshop.admitted(**program)
    with workshop.database.transaction() as tx:
        tx.execute(text("UPDATE simulations SET program = jsonb_set(program, '{command,0}', to_jsonb(:word ::text))"),
                   {"word": command})
    launching.launch(workshop.doors, job)
    return job


def age(workshop: Workshop, seconds: float) -> None:
    """Let so much time have passed for every job."""
    with workshop.database.transaction() as tx:
        for table, columns in {"jobs": ("state_since", "due_at", "queue_deadline", "progress_at", "started_at"),
                               "attempts": ("started_at", "gate_passed_at")}.items():
            changes = ", ".join(f"{column} = {column} - make_interval(secs => :seconds)" for column in columns)
            tx.execute(text(f"UPDATE {table} SET {changes}"), {"seconds": seconds})


def test_launching_starts_a_job_once_however_often_it_is_told(workshop: Workshop) -> None:
    job = launched(workshop)
    for _ in range(3):
        launching.launch(workshop.doors, job)
    assert workshop.runtime.started == [Name(job, 1)]


def test_launching_a_cancelled_job_starts_nothing(workshop: Workshop) -> None:
    job = workshop.admitted()
    workshop.lifecycle.cancel_job(job, actor="test")
    launching.launch(workshop.doors, job)
    assert workshop.runtime.started == []


def test_a_program_that_waits_behind_a_closed_gate_is_abandoned(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    job = workshop.admitted()
    monkeypatch.setattr(Lifecycle, "pass_gate", lambda *_, **__: False)
    launching.launch(workshop.doors, job)
    assert workshop.runtime.started == []
    assert workshop.runtime.observe(Name(job, 1)).never_started


def test_why_a_start_is_put_off_is_said_until_it_runs(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it goes back to the queue, and into the next attempt."""
    def full(*_: object) -> None:
        raise NotMade("exceeded quota")

    watcher, job = Watcher(workshop.doors), workshop.admitted()
    with monkeypatch.context() as patched, pytest.raises(NotMade):
        patched.setattr(FakeRuntime, "begin", full)
        launching.launch(workshop.doors, job)
    said = "its start is put off: exceeded quota"
    assert workshop.job(job).message == said
    workshop.runtime.things[Name(job, 1)] = Observation(Seen.ABSENT, never_started=True)
    watcher.look([job])
    assert (workshop.job(job).state, workshop.job(job).message) == ("QUEUED", said)
    watcher.sweep()
    assert (workshop.job(job).attempt, workshop.job(job).message) == (2, said)
    launching.launch(workshop.doors, job)
    watcher.look([job])
    assert (workshop.job(job).state, workshop.job(job).message) == ("RUNNING", None)


def test_why_a_start_is_put_off_gives_way_to_how_it_ended(workshop: Workshop) -> None:
    job = workshop.gated()
    workshop.lifecycle.put_off(job, 1, "the quota is full")
    workshop.lifecycle.put_off(job, 2, "of another attempt")
    assert workshop.job(job).message == "the quota is full"
    assert workshop.move(job, State.STOPPING, outcome="start_timeout", message="too late")
    workshop.lifecycle.put_off(job, 1, "late word")
    assert workshop.move(job, State.COLLECTING, message="and gone")
    assert workshop.job(job).message == "too late"


def test_a_hint_moves_a_job_on_at_once(workshop: Workshop) -> None:
    watcher = Watcher(workshop.doors)
    job = launched(workshop)
    watcher.look([job])
    assert workshop.job(job).state == "RUNNING"
    workshop.runtime.end(Name(job, 1), 3)
    watcher.look([job])
    row = workshop.job(job)
    assert (row.state, row.outcome, row.exit_code) == ("COLLECTING", "crashed", 3)
    assert workshop.sent(job)[-1] == "COLLECTING"


def test_the_sweep_finds_what_no_hint_told(workshop: Workshop) -> None:
    watcher = Watcher(workshop.doors)
    job = launched(workshop)
    watcher.sweep()
    assert workshop.job(job).state == "RUNNING"
    workshop.runtime.things[Name(job, 1)] = Observation(Seen.ABSENT)
    watcher.sweep()
    assert (workshop.job(job).state, workshop.job(job).outcome) == ("COLLECTING", "vanished")


def test_the_sweep_sends_a_lost_task_again_and_not_too_often(workshop: Workshop) -> None:
    watcher = Watcher(workshop.doors)
    job = workshop.admitted()
    watcher.sweep()
    assert workshop.sent(job) == ["STARTING"]
    age(workshop, 6)
    watcher.sweep()
    watcher.sweep()
    assert workshop.sent(job) == ["STARTING", "STARTING"]


def test_the_sweep_admits(workshop: Workshop) -> None:
    job = workshop.queued()
    Watcher(workshop.doors).sweep()
    assert workshop.job(job).state == "STARTING"


def test_the_queue_limit_runs_out(workshop: Workshop) -> None:
    workshop.lifecycle.set_admission(is_open=False)
    job = workshop.queued(limits=Limits(queue_seconds=5))
    age(workshop, 6)
    Watcher(workshop.doors).sweep()
    assert (workshop.job(job).state, workshop.job(job).outcome) == ("FAILED", "queue_timeout")


def test_a_program_past_its_limit_is_signalled_then_killed(workshop: Workshop) -> None:
    watcher = Watcher(workshop.doors)
    job = launched(workshop, limits=Limits(run_seconds=5), stop=Stop(grace_seconds=3))
    watcher.sweep()
    age(workshop, 6)
    signals: list[int] = []
    workshop.runtime.stop = lambda name, number: bool(signals.append(number) or True)  # type: ignore[method-assign,func-returns-value]
    watcher.sweep()
    assert workshop.job(job).outcome == "run_timeout"
    stopping.stop(workshop.doors, job)
    age(workshop, 4)
    watcher.sweep()
    stopping.stop(workshop.doors, job)
    assert signals == [2, 9]


def test_what_a_job_does_not_want_is_killed_then_forgotten(workshop: Workshop) -> None:
    watcher = Watcher(workshop.doors)
    job = launched(workshop)
    with workshop.database.transaction() as tx:
        tx.execute(text("UPDATE jobs SET state = 'CANCELLED'"))
    watcher.sweep()
    assert workshop.runtime.observe(Name(job, 1)).seen == Seen.ABSENT
    watcher.sweep()
    assert list(workshop.runtime.names()) == []


def test_what_no_row_knows_is_put_aside_and_never_deleted(workshop: Workshop) -> None:
    stranger = Name(uuid4(), 1)
    workshop.runtime.start(Run(stranger, "instance", Program(command=("wait",)), {}, 1, "t"))
    Watcher(workshop.doors).sweep()
    assert workshop.runtime.quarantined == [stranger]


def test_what_is_purged_during_a_sweep_is_not_taken_for_a_stranger(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.runtime.things[Name(uuid4(), 1)] = Observation(Seen.ENDED)

    def names() -> list[Name]:
        found = list(workshop.runtime.things)
        workshop.runtime.things.clear()
        return found

    monkeypatch.setattr(workshop.runtime, "names", names)
    Watcher(workshop.doors).sweep()
    assert workshop.runtime.quarantined == []


def test_a_job_of_another_host_is_left_alone(workshop: Workshop) -> None:
    watcher = Watcher(workshop.doors)
    job = launched(workshop)
    workshop.runtime.things.clear()
    workshop.runtime.host = "elsewhere"
    age(workshop, 1000)
    watcher.sweep()
    assert workshop.job(job).state == "STARTING"


def test_after_a_reboot_what_ran_has_vanished(workshop: Workshop) -> None:
    watcher = Watcher(workshop.doors)
    job = launched(workshop)
    workshop.runtime.boot = "another"
    watcher.sweep()
    assert (workshop.job(job).state, workshop.job(job).outcome) == ("COLLECTING", "vanished")


def test_a_launcher_that_died_behind_the_gate_costs_no_attempt(workshop: Workshop) -> None:
    workshop.runtime.host, workshop.runtime.boot = "h", "b"
    job = workshop.gated()
    workshop.runtime.things[Name(job, 1)] = Observation(Seen.ABSENT, never_started=True)
    Watcher(workshop.doors).sweep()
    row = workshop.job(job)
    assert (row.state, row.attempt) == ("STARTING", 2)  # queued again, and admitted by the same sweep


def test_one_leads_until_its_lease_runs_out(workshop: Workshop) -> None:
    first, second = Watcher(workshop.doors), Watcher(workshop.doors)
    assert first._hold_lease()
    assert not second._hold_lease()
    with workshop.database.transaction() as tx:
        tx.execute(text("UPDATE leases SET until = now() - interval '1 s'"))
    assert second._hold_lease()
    with pytest.raises(LeaseLost):
        first._hold_lease()


def test_the_lease_is_renewed_with_each_sweep(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(seconds: float) -> set[Name]:
        sleep(seconds)
        return set()

    monkeypatch.setattr("workers.watcher.SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(workshop.runtime, "hints", wait)
    watcher = Watcher(workshop.doors)
    for count in (1, 2, 3):
        watcher.step()
        assert renewals(workshop) == count


def test_the_lease_is_renewed_within_a_sweep_over_many(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.watcher.SLICE", 1)
    for _ in range(3):
        launched(workshop)
    watcher = Watcher(workshop.doors)
    watcher.step()
    assert renewals(workshop) == 3


def renewals(workshop: Workshop) -> int:
    with workshop.database.transaction() as tx:
        return int(tx.execute(text("SELECT epoch FROM leases")).scalar_one())


def test_an_object_storage_that_hangs_holds_up_neither_looking_nor_the_lease(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, over = threading.Event(), threading.Event()

    def hang(keys: object) -> list[str]:
        hangs.set()
        over.wait()
        return []

    monkeypatch.setattr("workers.watcher.SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(workshop.store, "delete_many", hang)
    with workshop.database.transaction() as tx:
        discard(tx, ["a"])
    try:
        with running(Watcher(workshop.doors)):
            assert hangs.wait(60)
            before = renewals(workshop)
            job = launched(workshop)
            until(lambda: workshop.job(job).state == "RUNNING" and renewals(workshop) > before + 1)
    finally:
        over.set()
        until(lambda: not [thread for thread in threading.enumerate() if thread.name == "chores"])


@pytest.mark.parametrize(("deed", "code"), [("is told to", 0), ("has lost its lease", 1)])
def test_a_watcher_ends_at_once_though_object_storage_hangs(
        workshop: Workshop, servers: Servers, tmp_path: Path, deed: str, code: int) -> None:
    with workshop.database.transaction() as tx:
        discard(tx, ["a/"])
        database_url = tx.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with socket.create_server(("127.0.0.1", 0)) as storage:  # takes connections, and never answers
        environment = {
            "DATABASE_URL": database_url, "REDIS_URL": servers.redis_url, "MINIO_ACCESS_KEY": "a",
            "MINIO_ENDPOINT": f"127.0.0.1:{storage.getsockname()[1]}", "MINIO_SECRET_KEY": "b",
            "STORAGE_BASE_DIR": str(tmp_path), "PATH": os.environ["PATH"]}
        watcher = subprocess.Popen([sys.executable, "-W", "ignore", "-m", "workers.watcher"], env=environment)
        storage.settimeout(60)
        connection, _ = storage.accept()
        with connection:
            if deed == "is told to":
                watcher.send_signal(signal.SIGTERM)
            else:
                with workshop.database.transaction() as tx:
                    tx.execute(text("UPDATE leases SET holder = 'another', until = now() + interval '5 s'"))
            try:
                assert watcher.wait(20) == code  # before storage is given up
            finally:
                watcher.kill()
                watcher.wait()


def test_drain_preempts_what_runs_and_queues_what_does_not(workshop: Workshop) -> None:
    running, waiting = launched(workshop), workshop.admitted()
    Watcher(workshop.doors).sweep()
    drain(workshop.doors, grace_seconds=5)
    assert (workshop.job(running).state, workshop.job(running).outcome) == ("STOPPING", "preempted")
    assert (workshop.job(waiting).state, workshop.job(waiting).attempt) == ("QUEUED", 2)
    assert workshop.runtime.observe(Name(running, 1)).seen == Seen.ENDED
    assert workshop.lifecycle.admit() == 0


def test_drain_kills_what_is_deaf(workshop: Workshop) -> None:
    job = launched(workshop)
    workshop.runtime.stop = lambda name, number: False  # type: ignore[method-assign]
    drain(workshop.doors, grace_seconds=0)
    assert workshop.runtime.observe(Name(job, 1)).seen == Seen.ABSENT


def test_a_recorder_that_died_is_replaced_when_its_task_is_due_again(workshop: Workshop) -> None:
    watcher = Watcher(workshop.doors)
    job = launched(workshop, "exit 0")
    watcher.look([job])
    workshop.runtime.things[Name(job, 1)] = Observation(Seen.ENDED, exit_code=0, recorder=Recorder.DEAD)
    watcher.look([job])
    assert workshop.sent(job) == ["STARTING", "COLLECTING"]
    age(workshop, 11)
    watcher.look([job])
    assert workshop.sent(job) == ["STARTING", "COLLECTING", "COLLECTING"]
    assert workshop.job(job).state == State.COLLECTING


def test_drain_does_not_queue_what_passed_its_gate_meanwhile(workshop: Workshop) -> None:
    job = workshop.admitted()
    move = Move(job, 1, State.STARTING, State.QUEUED, counted=False, ungated=True)
    assert workshop.pass_gate(job)
    assert workshop.lifecycle.transition_many([move], actor="supervisor") == []


def test_one_attempt_that_cannot_be_looked_at_does_not_hide_the_others(workshop: Workshop) -> None:
    broken, sound = launched(workshop), launched(workshop)
    watch = workshop.runtime.observe

    def observe(name: Name) -> Observation:
        if name.job == broken:
            raise ValueError("its files are not what they should be")
        return watch(name)

    workshop.runtime.observe = observe  # type: ignore[method-assign]
    Watcher(workshop.doors).sweep()
    assert (workshop.job(broken).state, workshop.job(sound).state) == ("STARTING", "RUNNING")


@pytest.mark.parametrize("part", ["settle", "admit", "transition_many", "_expire", "_live", "_act", "_dispose"])
def test_a_fault_in_one_part_of_the_sweep_is_logged_and_stops_no_other(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, part: str) -> None:
    running, stray = launched(workshop), Name(uuid4(), 1)
    workshop.runtime.things[stray] = Observation(Seen.RUNNING)
    workshop.runtime.hints(0)
    waiting = workshop.queued()
    watcher = Watcher(workshop.doors)
    monkeypatch.setattr(watcher if part.startswith("_") else workshop.lifecycle, part, fail)
    watcher.sweep()
    assert "something nobody thought of" in caplog.text
    spared = {"moved": workshop.job(running).state == "RUNNING", "admitted": workshop.job(waiting).state == "STARTING",
              "put aside": workshop.runtime.quarantined == [stray]}
    stopped = {"admit": {"admitted"}, "transition_many": {"moved"}, "_live": {"moved"}, "_act": {"moved"},
               "_dispose": {"put aside"}}
    assert {what for what, is_done in spared.items() if not is_done} == stopped.get(part, set())


def test_a_database_that_is_away_ends_the_sweep_at_once(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("the database did not answer")

    workshop.queued()
    monkeypatch.setattr(workshop.lifecycle, "settle", away)
    with pytest.raises(Unavailable):
        Watcher(workshop.doors).sweep()


def test_a_fault_with_what_is_hinted_is_left_to_the_sweep_and_a_lost_lease_ends_the_watcher(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher, job = Watcher(workshop.doors), launched(workshop)
    monkeypatch.setattr(watcher, "look", fail)
    monkeypatch.setattr(workshop.runtime, "hints", lambda _: [Name(job, 1)])
    watcher.step()
    assert workshop.job(job).state == "RUNNING"
    with workshop.database.transaction() as tx:
        tx.execute(text("UPDATE leases SET holder = 'another'"))
    watcher._next_sweep = 0.0
    with pytest.raises(LeaseLost):
        watcher.run(threading.Event())


def test_folders_that_are_kept_do_not_stand_before_those_that_go(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.watcher.BATCH", 1)
    kept, gone = launched(workshop), launched(workshop)
    with workshop.database.transaction() as tx:
        tx.execute(text("UPDATE jobs SET state = 'CANCELLED'"))
        tx.execute(text("UPDATE attempts SET kept = (job = :kept)"), {"kept": kept})
    for job in (kept, gone):
        workshop.runtime.end(Name(job, 1), 0)
    watcher = Watcher(workshop.doors)
    until(lambda: watcher.sweep() or list(workshop.runtime.names()) == [Name(kept, 1)])


def fail(*_: Any, **__: Any) -> Any:
    raise ValueError("something nobody thought of")


def test_what_is_said_of_a_job_names_it_and_its_attempt(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    job, stray = launched(workshop), Name(uuid4(), 3)
    workshop.runtime.things[stray] = Observation(Seen.RUNNING)
    workshop.runtime.hints(0)
    caplog.handler.setFormatter(JsonFormatter())
    monkeypatch.setattr(workshop.runtime, "observe", broken)
    Watcher(workshop.doors).sweep()
    lines = [json.loads(line) for line in caplog.text.splitlines()]
    assert [(line["job"], line["attempt"]) for line in lines] == [(str(job), "1"), (str(stray.job), "3")]


def broken(name: Name) -> Observation:
    raise OSError(f"the folder of {name} cannot be read")


def test_what_changes_while_a_sweep_looks_at_everything_does_not_wait_for_its_end(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = {launched(workshop), launched(workshop)}
    workshop.runtime.hints(0)
    monkeypatch.setattr("workers.watcher.SLICE", 1)
    observe, seen = workshop.runtime.observe, []

    def observed(name: Name) -> Observation:
        seen.append(name.job)
        if len(seen) == 1:
            [other] = jobs - {name.job}
            workshop.runtime.end(Name(other, 1), 0)
        return observe(name)

    monkeypatch.setattr(workshop.runtime, "observe", observed)
    Watcher(workshop.doors).sweep()
    first, *others = seen
    assert others[:2] == [*(jobs - {first})] * 2  # as hinted, and in its turn


def test_nobody_is_asked_for_what_has_not_passed_its_gate(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    workshop.admitted()
    monkeypatch.setattr(workshop.runtime, "observe", broken)
    Watcher(workshop.doors).sweep()
    assert caplog.text == ""


def test_tidying_takes_a_part_of_a_sweep_and_goes_on_in_the_next(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    strays = [Name(uuid4(), 1) for _ in range(3)]
    workshop.runtime.things |= dict.fromkeys(strays, Observation(Seen.RUNNING))
    monkeypatch.setattr("workers.watcher.TIDYING_SECONDS", 0.0)
    watcher = Watcher(workshop.doors)
    watcher.sweep()
    assert workshop.runtime.quarantined == []
    monkeypatch.undo()
    watcher.sweep()
    assert sorted(workshop.runtime.quarantined, key=str) == sorted(strays, key=str)


def test_what_changes_while_there_is_tidying_does_not_wait_for_its_end(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    job = launched(workshop)
    workshop.runtime.things[Name(uuid4(), 1)] = Observation(Seen.RUNNING)
    watcher = Watcher(workshop.doors)
    watcher.sweep()
    workshop.runtime.things[Name(uuid4(), 1)] = Observation(Seen.RUNNING)
    quarantine = workshop.runtime.quarantine

    def quarantined(name: Name) -> None:
        workshop.runtime.end(Name(job, 1), 0)
        quarantine(name)

    monkeypatch.setattr(workshop.runtime, "quarantine", quarantined)
    watcher.sweep()
    assert workshop.job(job).state == "COLLECTING"


def test_a_sweep_rings_for_some_and_those_that_are_due_longest_are_first(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = workshop.admitted(), workshop.admitted(), workshop.admitted()
    with workshop.database.transaction() as tx:
        for place, job in enumerate((third, first, second)):
            tx.execute(text("UPDATE jobs SET due_at = now() + make_interval(secs => :place - 100) WHERE id = :job"),
                       {"place": place, "job": job})
    monkeypatch.setattr("workers.watcher.RINGS", 2)
    watcher, rung = Watcher(workshop.doors), []
    for _ in range(3):
        workshop.told.sent.clear()
        watcher.sweep()
        rung.append([work.job for work in workshop.told.sent])
    assert rung == [[third, first], [second], []]
