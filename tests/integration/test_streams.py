"""Two hundred clients that come and go, while programs run and Redis is killed and emptied: each hears of every event
of what it watches once, in order."""

import os
import random
import signal
from contextlib import closing

import psycopg2

from tests.integration.listeners import Listener, Listeners
from tests.integration.test_restarts import flush_redis
from tests.stack import ENDED, Stack
from tests.waiting import until

CLIENTS = 200
SIMULATIONS = 4
INSTANCES = 15


def numbers(stack: Stack, simulation: str | None) -> list[int]:
    """Of the events as they are in the table."""
    with closing(psycopg2.connect(stack.ready["database_url"])) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT number FROM events WHERE %(id)s IS NULL OR simulation = %(id)s::uuid ORDER BY number",
                       {"id": simulation})
        return [number for (number,) in cursor.fetchall()]


def ended(stack: Stack, simulations: list[str]) -> int:
    """How many instances have."""
    counts = [stack.get(f"/simulations/{simulation}/status")["counts"] for simulation in simulations]
    return sum(each[state] for each in counts for state in ENDED)


def restart_redis(stack: Stack) -> None:
    pid = stack.pids()["redis"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: stack.pids()["redis"] != pid)


def test_two_hundred_clients_miss_nothing_and_hear_nothing_twice(own_stack: Stack) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    template = own_stack.template("/bin/true")
    simulations = [own_stack.submit(template, repeats=INSTANCES) for _ in range(SIMULATIONS)]
    watched = {f"/simulations/{simulation}/events": simulation for simulation in simulations}
    paths = ["/events"] * (CLIENTS // 2) + [list(watched)[place % SIMULATIONS] for place in range(CLIENTS // 2)]
    with Listeners(own_stack.ready["url"], own_stack.http.headers["Authorization"], paths, seed) as listeners:
        until(lambda: all(each.resets for each in listeners.all))
        simulations.append(own_stack.submit(template, repeats=INSTANCES))  # seen in /events alone
        whole = INSTANCES * len(simulations)
        for share, fault in ((0.3, restart_redis), (0.5, flush_redis)):
            until(lambda: ended(own_stack, simulations) >= share * whole)  # noqa: B023
            fault(own_stack)
        until(lambda: ended(own_stack, simulations) == whole, seconds=100)
        listeners.calm = True
        expected = {path: numbers(own_stack, watched.get(path)) for path in set(paths)}

        def told(each: Listener) -> bool:
            return each.ended if each.path in watched else each.seen[-1:] == expected[each.path][-1:]

        until(lambda: all(told(each) for each in listeners.all))
    for each in listeners.all:
        assert len(each.resets) == 1, (seed, each)
        assert each.seen == [number for number in expected[each.path] if number > each.resets[0]], (seed, each)
    assert sum(each.cuts for each in listeners.all) > CLIENTS
