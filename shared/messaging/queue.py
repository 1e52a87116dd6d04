"""The Celery side of things: which state calls for which task on which queue, and the app that all processes share."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import kombu.exceptions
from celery import Celery
from kombu.entity import Queue as KombuQueue

from shared.domain.errors import Unavailable
from shared.domain.states import Kind, State

LAUNCH, PLAY, INGEST = "simyard.launch", "simyard.play", "simyard.ingest"
STOP, COLLECT = "simyard.stop", "simyard.collect"

QUEUES: Mapping[str, str] = {LAUNCH: "launch", PLAY: "playback", INGEST: "ingest", STOP: "upkeep", COLLECT: "upkeep"}
START: Mapping[str, str] = {Kind.INSTANCE: LAUNCH, Kind.PLAYBACK: PLAY, Kind.INGEST: INGEST}
WORK: Mapping[State, Mapping[str, str]] = {
    State.STARTING: START, State.STOPPING: dict.fromkeys(Kind, STOP), State.COLLECTING: dict.fromkeys(Kind, COLLECT)}

CONFIG: dict[str, Any] = {
    "task_queues": [KombuQueue(name) for name in sorted(set(QUEUES.values()))],
    "task_routes": {task: {"queue": queue} for task, queue in QUEUES.items()},
    "task_create_missing_queues": False,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_ignore_result": True,
    "result_backend": None,
    # A task only looks and acts, so doing it twice is harmless and losing it costs one sweep.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_time_limit": 90,
    "task_soft_time_limit": 60,
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    "worker_max_tasks_per_child": 2000,
    "worker_hijack_root_logger": False,
    # Flower lives on these three.
    "worker_send_task_events": True,
    "task_send_sent_event": False,
    "worker_enable_remote_control": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_transport_options": {
        "visibility_timeout": 300, "unacked_restore_interval": 2, "unacked_restore_throttle": 1,
        "socket_timeout": 15, "socket_connect_timeout": 5, "socket_keepalive": True, "health_check_interval": 10,
    },
    # The row is committed already and the sweep asks again: a dead broker must not hold up who tells it.
    "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0, "interval_max": 0.2},
}


class Work(NamedTuple):
    """What a commit makes due: the task that this state of a job of this kind calls for, if it calls for one."""

    job: UUID
    state: State
    kind: str = Kind.INSTANCE


def make_celery(redis_url: str) -> Celery:
    """The app that workers serve and that announcers send with. Connects at the first use."""
    app = Celery("simyard", broker=redis_url, set_as_current=False)
    app.conf.update(CONFIG)
    return app


class Queue:
    """Sends the one task that a job's state calls for."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, work: Work) -> None:
        """Ring for the job; nothing for states that call for no work. Raises Unavailable when the broker is down."""
        job, state, kind = work
        if state not in WORK:
            return
        task = WORK[state][kind]
        try:
            self._app.send_task(task, args=[str(job)], queue=QUEUES[task])
        except (kombu.exceptions.OperationalError, OSError) as error:
            raise Unavailable(f"the message broker did not take {task} for job {job}: {error}",
                              code="redis_unavailable") from error
