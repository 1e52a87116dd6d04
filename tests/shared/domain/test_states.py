import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import IllegalTransition
from shared.domain.states import ENDED, LIVE, MOVES, SUCCESS, Reason, State, check, derive, end_of, phase

COUNTS = st.dictionaries(st.sampled_from(State), st.integers(0, 5))


@pytest.mark.parametrize("old", State)
@pytest.mark.parametrize("new", State)
def test_only_moves_of_the_table_are_legal(old: State, new: State) -> None:
    if new in MOVES[old]:
        check(old, new)
    else:
        with pytest.raises(IllegalTransition):
            check(old, new)


def test_terminal_states_are_left_by_a_users_retry_alone() -> None:
    assert MOVES[State.SUCCEEDED] == frozenset()
    assert MOVES[State.FAILED] == MOVES[State.CANCELLED] == {State.QUEUED}


def test_every_attempt_that_ran_goes_through_collecting() -> None:
    for state in (State.RUNNING, State.STOPPING):
        assert not MOVES[state] & ENDED


def test_each_state_has_a_phase_and_is_queued_live_or_ended() -> None:
    assert {State.QUEUED} | LIVE | ENDED == set(State)
    assert {phase(state) for state in State} == {"waiting", "running", "completed"}


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_ends_in_failed_but_for_the_users_own_wish(reason: Reason) -> None:
    assert end_of(reason) == (State.CANCELLED if reason == Reason.CANCELLED_BY_USER else State.FAILED)


def test_success_ends_in_succeeded() -> None:
    assert end_of(SUCCESS) == State.SUCCEEDED


@pytest.mark.parametrize(("counts", "stop", "state"), [
    ({"QUEUED": 3}, False, "QUEUED"),
    ({"QUEUED": 2, "STARTING": 1}, False, "RUNNING"),
    ({"QUEUED": 2, "SUCCEEDED": 1}, False, "RUNNING"),
    ({"COLLECTING": 1, "FAILED": 1}, False, "RUNNING"),
    ({"QUEUED": 3}, True, "STOPPING"),
    ({"STOPPING": 1, "CANCELLED": 5}, True, "STOPPING"),
    ({"SUCCEEDED": 3}, True, "SUCCEEDED"),
    ({"SUCCEEDED": 3, "CANCELLED": 1}, True, "CANCELLED"),
    ({"SUCCEEDED": 3, "CANCELLED": 1, "FAILED": 1}, True, "FAILED"),
])
def test_a_simulation_is_what_its_jobs_are(counts: dict[str, int], stop: bool, state: str) -> None:
    assert derive(counts, stop) == state


@given(COUNTS, st.booleans())
def test_a_simulation_has_ended_exactly_when_all_its_jobs_have(counts: dict[State, int], stop: bool) -> None:
    unended = sum(number for state, number in counts.items() if state not in ENDED)
    assert (derive(counts, stop) in ENDED) == (unended == 0)
