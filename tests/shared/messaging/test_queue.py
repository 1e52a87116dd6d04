"""The Celery app as it really is configured, and sending to a broker that is not there."""

from uuid import uuid4

import pytest

from shared.domain.errors import Unavailable
from shared.domain.events import Event
from shared.domain.states import OVERDUE_SECONDS, State
from shared.messaging.announcer import Announcer
from shared.messaging.pubsub import PubSub, connect
from shared.messaging.queue import QUEUES, WORK, Queue, Work, make_celery

NOBODY = "redis://127.0.0.1:9/0"


def test_the_settings_that_keep_tasks_safe_are_in_effect() -> None:
    conf = make_celery(NOBODY).conf
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.worker_prefetch_multiplier == 1
    assert conf.task_ignore_result
    assert conf.accept_content == ["json"]
    assert conf.task_time_limit < conf.broker_transport_options["visibility_timeout"]
    assert {queue.name for queue in conf.task_queues} == set(QUEUES.values())


def test_every_state_that_calls_for_work_is_rung_for_again() -> None:
    assert set(WORK) == set(OVERDUE_SECONDS)


def test_a_broker_that_is_down_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        Queue(make_celery(NOBODY)).send(Work(uuid4(), State.STARTING))


def test_a_state_that_calls_for_no_work_sends_nothing() -> None:
    Queue(make_celery(NOBODY)).send(Work(uuid4(), State.SUCCEEDED))


def test_telling_never_fails_its_caller(caplog: pytest.LogCaptureFixture) -> None:
    from datetime import UTC, datetime

    announcer = Announcer(Queue(make_celery(NOBODY)), PubSub(connect(NOBODY)))
    announcer.send([Work(uuid4(), State.STARTING)])
    announcer.publish([Event(1, uuid4(), None, "simulation", State.QUEUED, None, datetime.now(UTC), None)])
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
