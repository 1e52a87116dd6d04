"""The table, tested as a table: every state with everything that can be seen."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from shared.domain.moves import Move
from shared.domain.specs import Limits, Program, Stop
from shared.domain.states import LIVE, Reason, State
from workers.decision import TABLE, Disposal, Job, Ring, decide, dispose, judge
from workers.runtimes.base import Observation, Recorder, Seen

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = UUID(int=7)
PROGRAM = Program(command=("x",), limits=Limits(start_seconds=10, run_seconds=20, stall_seconds=8))
PATIENT = Program(command=("x",), limits=Limits(start_seconds=900))


def job(state: State, *, age: float = 1, overdue: bool = False, **fields: Any) -> Job:
    since = NOW - timedelta(seconds=age)
    due = NOW - timedelta(seconds=1) if overdue else NOW + timedelta(seconds=1)
    return replace(Job(ID, 3, state, PROGRAM, since, NOW, since, due, None, None), **fields)


def end(code: int = 0, **fields: Any) -> Observation:
    return Observation(Seen.ENDED, exit_code=code, **fields)


SEEN = {kind: Observation(kind) for kind in Seen}
CASES: list[tuple[str, Job, Observation, str | None]] = [
    ("starting, not to be seen", job(State.STARTING, overdue=True), SEEN[Seen.UNKNOWN], None),
    ("not launched yet", job(State.STARTING, gate_passed_at=None), SEEN[Seen.ABSENT], None),
    ("launch lost", job(State.STARTING, gate_passed_at=None, overdue=True), SEEN[Seen.ABSENT], "ring STARTING"),
    ("launch impossible", job(State.STARTING, gate_passed_at=None, age=11), SEEN[Seen.ABSENT], "FAILED start_timeout"),
    ("launcher died before the gate", job(State.STARTING, gate_passed_at=None, overdue=True),
     Observation(Seen.ABSENT, never_started=True), "ring STARTING"),
    ("launcher died behind the gate", job(State.STARTING), Observation(Seen.ABSENT, never_started=True), "QUEUED None"),
    ("may still appear", job(State.STARTING), Observation(Seen.ABSENT, never_started=True, may_appear=30), None),
    ("will not appear any more", job(State.STARTING, age=31),
     Observation(Seen.ABSENT, never_started=True, may_appear=30), "QUEUED None"),
    ("an image that cannot be had", job(State.STARTING, age=121, program=PATIENT),
     Observation(Seen.STARTING, reason=Reason.IMAGE_PULL), "STOPPING image_pull"),
    ("an image that may still be had", job(State.STARTING, age=119, program=PATIENT),
     Observation(Seen.STARTING, reason=Reason.IMAGE_PULL), None),
    ("no node has room", job(State.STARTING, age=121, program=PATIENT),
     Observation(Seen.STARTING, reason=Reason.UNSCHEDULABLE), None),
    ("no node had room for too long", job(State.STARTING, age=11),
     Observation(Seen.STARTING, reason=Reason.UNSCHEDULABLE), "STOPPING unschedulable"),
    ("gone at once", job(State.STARTING), SEEN[Seen.ABSENT], "COLLECTING vanished"),
    ("starting", job(State.STARTING), SEEN[Seen.STARTING], None),
    ("starting for too long", job(State.STARTING, age=11), SEEN[Seen.STARTING], "STOPPING start_timeout"),
    ("waiting for its gate for long", job(State.STARTING, age=11, gate_passed_at=None), SEEN[Seen.STARTING], None),
    ("started", job(State.STARTING), SEEN[Seen.RUNNING], "RUNNING None"),
    ("started and ended", job(State.STARTING), end(), "COLLECTING success"),
    ("crashed at once", job(State.STARTING), end(3), "COLLECTING crashed"),
    ("running, not to be seen", job(State.RUNNING, age=99), SEEN[Seen.UNKNOWN], None),
    ("vanished", job(State.RUNNING), SEEN[Seen.ABSENT], "COLLECTING vanished"),
    ("running", job(State.RUNNING), SEEN[Seen.RUNNING], None),
    ("running for too long", job(State.RUNNING, age=21, progress_at=NOW), SEEN[Seen.RUNNING], "STOPPING run_timeout"),
    ("stalled from the start", job(State.RUNNING, age=9), SEEN[Seen.RUNNING], "STOPPING stalled"),
    ("progress keeps it", job(State.RUNNING, age=9, progress_at=NOW), SEEN[Seen.RUNNING], None),
    ("ended", job(State.RUNNING), end(), "COLLECTING success"),
    ("ended by its memory limit", job(State.RUNNING), end(137, reason=Reason.OOM_KILLED), "COLLECTING oom_killed"),
    ("killed", job(State.RUNNING), end(137), "COLLECTING crashed"),
    ("stopping, not to be seen", job(State.STOPPING, overdue=True), SEEN[Seen.UNKNOWN], None),
    ("stopped", job(State.STOPPING), end(130), "COLLECTING None"),
    ("stopped and gone", job(State.STOPPING), SEEN[Seen.ABSENT], "COLLECTING None"),
    ("still stopping", job(State.STOPPING), SEEN[Seen.RUNNING], None),
    ("deaf", job(State.STOPPING, overdue=True), SEEN[Seen.RUNNING], "ring STOPPING"),
    ("stopped while starting", job(State.STOPPING, overdue=True), SEEN[Seen.STARTING], "ring STOPPING"),
    ("collecting", job(State.COLLECTING), end(recorder=Recorder.WORKING), None),
    ("collecting for long", job(State.COLLECTING, overdue=True), end(recorder=Recorder.WORKING), "ring COLLECTING"),
    ("its recorder died", job(State.COLLECTING, overdue=True), end(recorder=Recorder.DEAD), "ring COLLECTING"),
    ("stalled but for what is on its way", job(State.RUNNING, age=9),
     Observation(Seen.RUNNING, progress_age=1.0), None),
]


@pytest.mark.parametrize(("what", "row", "seen", "expected"), CASES, ids=[case[0] for case in CASES])
def test_decision(what: str, row: Job, seen: Observation, expected: str | None) -> None:
    decision = decide(row, seen)
    if isinstance(decision, Move):
        assert (decision.job, decision.attempt, decision.old) == (ID, 3, row.state)
        assert f"{decision.new} {decision.outcome}" == expected
    elif isinstance(decision, Ring):
        assert f"ring {decision.state}" == expected
    else:
        assert expected is None


def test_the_table_answers_for_every_live_state_and_every_sight() -> None:
    assert set(TABLE) == LIVE
    assert all(set(row) == set(Seen) for row in TABLE.values())


def test_enough_running_is_a_success_where_the_template_says_so() -> None:
    recorder = PROGRAM.model_copy(update={"stop": Stop(after_seconds=5)})
    decision = decide(job(State.RUNNING, age=6, program=recorder, progress_at=NOW), SEEN[Seen.RUNNING])
    assert isinstance(decision, Move)
    assert (decision.new, decision.outcome) == (State.STOPPING, "success")


@pytest.mark.parametrize(("state", "seen"), [
    (State.STARTING, Seen.RUNNING), (State.STARTING, Seen.ENDED), (State.RUNNING, Seen.ENDED),
    (State.STOPPING, Seen.ENDED)])
def test_what_is_seen_to_run_is_told_with_the_move(state: State, seen: Seen) -> None:
    decision = decide(job(state), Observation(seen, exit_code=0, image_digest="sha256:1"))
    assert isinstance(decision, Move) and decision.image_digest == "sha256:1"


def test_an_attempt_that_never_ran_is_not_counted() -> None:
    decision = decide(job(State.STARTING), Observation(Seen.ABSENT, never_started=True))
    assert isinstance(decision, Move)
    assert not decision.counted


def test_the_message_names_code_and_signal() -> None:
    assert judge(end(3)) == ("crashed", "it exited with code 3")
    assert judge(end(126)) == ("crashed", "it exited with code 126: the command is no program that can be run")
    assert judge(end(127)) == ("crashed", "it exited with code 127: the command was not found; the log has its name")
    assert judge(end(139)) == ("crashed", "it was ended by signal 11")


@pytest.mark.parametrize(("state", "is_current", "kept", "seen", "expected"), [
    (None, False, False, Seen.RUNNING, Disposal.QUARANTINE),
    (None, False, False, Seen.ENDED, Disposal.QUARANTINE),
    (State.RUNNING, True, False, Seen.RUNNING, Disposal.KEEP),
    (State.RUNNING, False, False, Seen.RUNNING, Disposal.KILL),
    (State.QUEUED, False, False, Seen.ENDED, Disposal.REMOVE),
    (State.CANCELLED, True, False, Seen.STARTING, Disposal.KILL),
    (State.SUCCEEDED, True, False, Seen.ENDED, Disposal.REMOVE),
    (State.FAILED, True, False, Seen.ABSENT, Disposal.REMOVE),
    (State.FAILED, True, True, Seen.ENDED, Disposal.KEEP),
])
def test_disposal(state: State | None, is_current: bool, kept: bool, seen: Seen, expected: Disposal) -> None:
    assert dispose(state, is_current=is_current, kept=kept, seen=Observation(seen)) == expected


def test_who_ran_out_of_time_is_told_whose_limit_it_was() -> None:
    for stated, said in ((True, "it ran longer than 20 s"),
                         (False, "it ran longer than 20 s, the operator's EXECUTION_TIMEOUT_SECONDS; state "
                                 "limits.run_seconds in the template or the submission")):
        program = PROGRAM.model_copy(update={"run_seconds_stated": stated})
        move = decide(job(State.RUNNING, age=21, program=program, progress_at=NOW), SEEN[Seen.RUNNING])
        assert isinstance(move, Move)
        assert move.message == said
