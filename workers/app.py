"""The Celery app: `celery -A workers.app worker`, and `flower`. Reads the settings, opens nothing before a task."""

import logging
from functools import cache
from typing import Any

from celery.signals import setup_logging

from shared import logs
from shared.messaging.queue import make_celery
from shared.settings import WorkerSettings, read
from workers.doors import Doors, open_doors

settings = read(WorkerSettings)

app = make_celery(settings.redis_url.get_secret_value())
app.conf.update(worker_concurrency=settings.worker_concurrency, include=["workers.tasks"])


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
