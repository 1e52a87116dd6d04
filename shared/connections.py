"""The composition root: makes every door of a process from its settings. Nothing is opened before it is used."""

from collections.abc import Callable, Sequence
from functools import partial

from celery import Celery

from shared.lifecycle import Lifecycle
from shared.messaging.announcer import Announcer
from shared.messaging.failures import Failures
from shared.messaging.pubsub import PubSub, connect
from shared.messaging.queue import Queue, Work, make_celery
from shared.persistence.database import Database
from shared.persistence.quotas import Limits
from shared.settings import Settings
from shared.storage.store import Store


class Connections:
    """The doors: database, redis, pubsub, failures, celery, store; the limits of users, and the lifecycle that stands
    on them."""

    def __init__(self, settings: Settings, *, application: str, pool_size: int, celery: Celery | None = None,
                 after: Callable[[Sequence[Work]], None] | None = None) -> None:
        redis_url = settings.redis_url.get_secret_value()
        self.database = Database(settings.database_url.get_secret_value(), pool_size=pool_size,
                                 application=application)
        self.redis = connect(redis_url)
        self.pubsub = PubSub(self.redis)
        self.failures = Failures(self.redis)
        self.celery = celery or make_celery(redis_url)
        self.store = Store(settings.minio_endpoint, settings.minio_access_key.get_secret_value(),
                           settings.minio_secret_key.get_secret_value(), settings.minio_bucket,
                           secure=settings.minio_use_ssl, public_endpoint=settings.minio_public_endpoint,
                           failed=partial(self.failures.count, "storage"))
        self.limits = Limits(settings.max_running_per_user, settings.max_queued_per_user,
                             settings.max_stored_bytes_per_user)
        self.lifecycle = Lifecycle(self.database, Announcer(Queue(self.celery), self.pubsub), settings.slots, after,
                                   self.limits)

    def close(self) -> None:
        """Close what is open."""
        self.failures.close()
        self.database.close()
        self.redis.close()
        self.celery.close()
