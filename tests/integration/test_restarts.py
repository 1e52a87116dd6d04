"""Whatever dies, whenever it dies, changes nothing but time."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.stack import Stack
from tests.waiting import until

KILLS = 40


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path / "stack", "--workers", "2", "--watchers", "2") as stack:
        yield stack


def sweep(stack: Stack, starts: Path, count: int = 12) -> str:
    """A simulation whose programs each write a line when they start, and take a moment."""
    script = f"echo $SIMYARD_JOB_ID $SIMYARD_ATTEMPT >>{starts}; sleep 0.5; echo '{{}}' >output/result.json"
    return stack.submit(stack.template("/bin/sh", "-c", script), repeats=count)


def check(stack: Stack, simulation: str, starts: Path, count: int = 12) -> None:
    """All have ended well, and no attempt was ever started twice."""
    instances = stack.ended(simulation, seconds=200)
    assert Counter(instance["state"] for instance in instances) == {"SUCCEEDED": count}
    lines = starts.read_text().splitlines()
    assert max(Counter(lines).values()) == 1
    assert {line.split()[0] for line in lines} == {instance["id"] for instance in instances}


def kill_all(stack: Stack, *parts: str) -> None:
    for part in parts:
        pids = stack.pids()[part]
        for pid in pids if isinstance(pids, list) else [pids]:
            os.kill(pid, signal.SIGKILL)


def flush_redis(stack: Stack) -> None:
    with redis.Redis.from_url(stack.ready["redis_url"]) as client:
        client.flushall()


@pytest.mark.parametrize("fault", [
    lambda stack: kill_all(stack, "web"),
    lambda stack: kill_all(stack, "workers"),
    lambda stack: kill_all(stack, "watchers"),
    lambda stack: kill_all(stack, "redis"),
    flush_redis,
    lambda stack: kill_all(stack, "postgres"),
    lambda stack: kill_all(stack, "s3"),
    lambda stack: kill_all(stack, "web", "workers", "watchers", "redis", "postgres", "s3"),
], ids=["web", "workers", "watchers", "redis", "redis-flushed", "postgres", "s3", "everything"])
def test_a_part_that_dies_costs_only_time(own_stack: Stack, tmp_path: Path, fault: Callable[[Stack], None]) -> None:
    starts = tmp_path / "starts"
    simulation = sweep(own_stack, starts)
    until(lambda: own_stack.get(f"/simulations/{simulation}/status")["counts"]["RUNNING"] >= 1)
    fault(own_stack)
    check(own_stack, simulation, starts)


def test_the_supervisors_death_costs_only_time(own_stack: Stack, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    simulation = sweep(own_stack, starts)
    until(lambda: own_stack.get(f"/simulations/{simulation}/status")["counts"]["RUNNING"] >= 1)
    own_stack.kill()
    own_stack.start()
    check(own_stack, simulation, starts)


def test_a_clean_stop_preempts_and_the_next_start_goes_on(own_stack: Stack, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    script = f"echo $SIMYARD_JOB_ID $SIMYARD_ATTEMPT >>{starts}; [ $SIMYARD_ATTEMPT = 2 ] || sleep 60"
    simulation = own_stack.submit(own_stack.template("/bin/sh", "-c", script, retry={"max_attempts": 1, "on": []}))
    own_stack.first(simulation, "RUNNING")
    until(starts.exists)
    assert own_stack.stop() == 0
    own_stack.start()
    (instance,) = own_stack.ended(simulation)
    assert (instance["state"], instance["attempt"]) == ("SUCCEEDED", 2)
    assert "preempted" in [step["reason"] for step in instance["transitions"]]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.timeout(300)
def test_forty_random_kills_during_a_sweep_of_forty(own_stack: Stack, tmp_path: Path, seed: int) -> None:
    starts, chance = tmp_path / "starts", random.Random(seed)
    simulation = sweep(own_stack, starts, 40)
    killed: Counter[str] = Counter()
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.0, 0.5))
        part = chance.choice(["web", "workers", "watchers", "redis", "postgres", "s3", "flower"])
        pids = own_stack.pids()[part]
        pid = chance.choice(pids) if isinstance(pids, list) else pids
        try:
            os.kill(pid, signal.SIGKILL)
            killed[part] += 1
        except ProcessLookupError:
            continue  # killed a moment ago and not yet restarted
    assert len(killed) >= 5
    check(own_stack, simulation, starts, 40)
