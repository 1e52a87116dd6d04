"""The Celery app: `celery -A workers.app worker`, and `flower`. Reads the settings, opens nothing before a task."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from typing import Any

from celery.signals import (
    setup_logging,
    task_postrun,
    task_prerun,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
)

from shared import logs, traces
from shared.messaging.queue import make_celery
from shared.settings import WorkerSettings, read
from workers.doors import Doors, load, open_doors

settings = read(WorkerSettings)

app = make_celery(settings.redis_url.get_secret_value())
app.conf.update(worker_concurrency=settings.worker_concurrency, include=["workers.tasks"])

_on_every_line = ExitStack()  # of the one task that this process does at a time


@cache
def doors() -> Doors:
    """This process's doors; each prefork child makes its own, for connections do not survive a fork."""
    return open_doors(settings, application="worker", celery=app)


@setup_logging.connect
def _configure_logs(**_: Any) -> None:
    logs.configure(settings.log_level)
    if settings.log_level == "INFO":  # two lines a task that name no job, while a launch waits; Flower shows the tasks
        for logger in ("celery.worker.strategy", "celery.app.trace"):
            logging.getLogger(logger).setLevel(logging.WARNING)


@task_prerun.connect
def _name_the_task(task_id: str, task: Any, args: Sequence[str], **_: Any) -> None:
    """Put the ids on every line of the task, those of Celery about its failing included."""
    _on_every_line.enter_context(logs.ids(task=task.name, task_id=task_id, job=args[0]))


@task_postrun.connect
def _forget_the_task(**_: Any) -> None:
    _on_every_line.close()


@worker_init.connect
def _load(**_: Any) -> None:
    traces.load(settings)
    load(settings)


@worker_process_init.connect
def _begin_traces(**_: Any) -> None:
    traces.begin("simyard-worker", settings)


@worker_process_shutdown.connect
def _end_traces(**_: Any) -> None:
    traces.end()
