"""The replayed yard: what is submitted ends in the time that slots and workers allow, and the signals tell it apart."""

import pytest

from benchmarks.scaling import COLLECT_SECONDS, LAUNCH_SECONDS, WORKER_START_SECONDS, Burst, Yard, replay
from tests.k8s.rendering import base_with

ONE = LAUNCH_SECONDS + 60 + 5 + COLLECT_SECONDS  # seconds of an instance that waits for nothing


def submitted(yard: Yard, count: int) -> list[float]:
    """The times at which so many instances of a minute, submitted now, end."""
    ends: list[float] = []
    yard.submit([(60, 5)] * count, lambda: ends.append(yard.now))
    return ends


@pytest.mark.parametrize(("slots", "children", "last"), [
    (10, 10, ONE), (5, 10, 2 * ONE), (1, 1, 10 * ONE), (10, 5, ONE + LAUNCH_SECONDS + COLLECT_SECONDS)])
def test_instances_wait_for_slots_and_their_tasks_for_workers(slots: int, children: int, last: float) -> None:
    yard = Yard(slots, children, replicas=1)
    ends = submitted(yard, 10)
    yard.run(10_000)
    assert len(ends) == 10
    assert last - COLLECT_SECONDS <= ends[-1] <= last
    assert yard.pod_seconds == yard.now


def test_what_waits_for_a_slot_is_in_the_usual_list_and_no_load() -> None:
    yard = Yard(slots=4, children=2, replicas=1)
    submitted(yard, 10)
    yard.run(0.5)
    assert (yard.load(), yard.lists(), yard.messages()) == (4, 2, 8)


def test_a_new_worker_takes_tasks_when_it_has_started() -> None:
    yard = Yard(slots=10, children=1, replicas=1)
    submitted(yard, 10)
    yard.scale(10)
    yard.run(WORKER_START_SECONDS - 0.5)
    assert (yard.replicas, yard.load()) == (10, 10 - int((WORKER_START_SECONDS - 0.5) / LAUNCH_SECONDS))
    yard.run(WORKER_START_SECONDS + LAUNCH_SECONDS)
    assert yard.load() == 0


OURS = base_with("prometheus-adapter")["HorizontalPodAutoscaler", "robot", "robot-worker"]["spec"]


def test_our_autoscaler_brings_workers_for_a_burst_and_takes_them_away_again() -> None:
    burst = [Burst(0, [(60, 5)] * 1000)]
    scaled = replay(OURS, Yard(1000, 10, 3), burst, Yard.load)
    fixed = replay(OURS | {"maxReplicas": 3}, Yard(1000, 10, 3), burst, Yard.load)
    most = replay(OURS | {"minReplicas": 20}, Yard(1000, 10, 20), burst, Yard.load)
    assert most.drains[0] < scaled.drains[0] < fixed.drains[0]
    assert fixed.pod_seconds < scaled.pod_seconds < 2 * fixed.pod_seconds < most.pod_seconds


def test_what_cannot_end_in_time_is_told() -> None:
    with pytest.raises(RuntimeError, match="instances have not ended"):
        replay(OURS, Yard(1, 1, 3), [Burst(0, [(60, 5)] * 1000)], Yard.load)
