"""Whatever dies, whenever it dies, changes nothing but time."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.integration.sweeps import check, sweep
from tests.stack import Stack
from tests.waiting import until


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
