"""Forty kills of random processes while forty instances run, four times over."""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.sweeps import check, sweep
from tests.stack import Stack

KILLS = 40


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
