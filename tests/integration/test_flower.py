"""Flower, as `simyard up` starts it, shows what Celery does."""

from typing import Any

import httpx

from shared.messaging.queue import QUEUES
from tests.stack import Stack
from tests.waiting import until

TABLE = {"draw": 1, "start": 0, "length": 1000, "search[value]": "", "order[0][column]": 0, "order[0][dir]": "asc",
         "columns[0][data]": "name"}


def test_flower_shows_tasks_by_name_and_job_their_queues_and_the_workers(stack: Stack) -> None:
    job = stack.run("/bin/true")["id"]
    with httpx.Client(base_url=stack.ready["flower"], timeout=30) as flower:
        def tasks_of_the_job() -> list[dict[str, Any]]:
            rows = flower.get("/tasks/datatable", params=TABLE).json()["data"]
            return [row for row in rows if job in row["args"]]

        done = until(lambda: len({row["name"] for row in tasks_of_the_job() if row["state"] == "SUCCESS"}) == 2
                     and tasks_of_the_job())
        assert {row["name"] for row in done} == {"simyard.launch", "simyard.collect"}
        [worker] = until(lambda: [row for row in flower.get("/workers", params={"json": 1}).json()["data"]
                                  if row["status"] and row["processed"]])
        assert {row["worker"] for row in done} == {worker["hostname"]}
        assert ">args<" in flower.get("/tasks").text
        shown = flower.get("/broker").text
        assert [queue for queue in QUEUES.values() if queue not in shown] == []
