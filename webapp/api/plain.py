"""The routes outside the API: the greeting, the health of web and of what it stands on, metrics. No login needed."""

import logging
from collections.abc import Callable

from flask import Blueprint, Response

from shared.domain.errors import Unavailable
from webapp.api.resource import answer
from webapp.metrics import CONTENT_TYPE
from webapp.parts import parts

plain = Blueprint("plain", __name__)
log = logging.getLogger(__name__)


@plain.get("/")
def greeting() -> Response:
    """Who answers here."""
    return answer({"message": "Robot Simulator Backend API"})


@plain.get("/health/live")
@plain.get("/health")
@plain.get("/up")
def live() -> Response:
    """This process answers; nothing else is looked at."""
    return answer({"status": "healthy"})


@plain.get("/health/ready")
@plain.get("/health/db")
def database() -> Response:
    """Whether the database answers: all that web needs to answer itself. Without Redis it is slower to tell, and
    without storage some requests get 503."""
    return _health("database", parts().connections.database.ping)


@plain.get("/health/redis")
def redis() -> Response:
    """Whether Redis answers."""
    return _health("redis", parts().connections.pubsub.ping)


@plain.get("/health/storage")
def storage() -> Response:
    """Whether the bucket is there and ours."""
    return _health("storage", parts().connections.store.ping)


@plain.get("/metrics")
def metrics() -> Response:
    """The metrics, for Prometheus. Not for everybody's eyes, so what lets the world in must not route it."""
    return Response(parts().metrics.text(), content_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})


def _health(part: str, ping: Callable[[], None]) -> Response:
    try:
        ping()
    except Unavailable as error:
        log.warning("%s is unhealthy: %s", part, error)
        return answer({"status": "unhealthy", part: "disconnected"}, 503)
    return answer({"status": "healthy", part: "connected"})
