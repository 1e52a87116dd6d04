"""What gunicorn loads (`webapp.wsgi:app`, one gevent worker): the application over its doors, and what gevent needs."""

import gc
import resource
import signal
import sys
from types import FrameType
from typing import Any

import gevent.socket
import psycopg2
from gevent import monkey
from gunicorn.arbiter import Arbiter
from psycopg2 import extensions

from shared import logs, traces
from shared.connections import Connections
from shared.settings import WebSettings, read
from webapp import create_app
from webapp.bell import Bell
from webapp.parts import NAME

POOL_SIZE = 12  # twice: for transactions and for reading
CONNECT_SECONDS = 5
GC_THRESHOLDS = 10_000, 10, 10
ANSWER_SECONDS = 70  # above the statement timeout: the server should be the one to give up


def wait_for_postgres(connection: Any) -> None:
    """Let other requests run while psycopg2 waits. libpq would stop them all, and knows no connect timeout here."""
    seconds = CONNECT_SECONDS if connection.status == extensions.STATUS_SETUP else ANSWER_SECONDS
    while (state := connection.poll()) != extensions.POLL_OK:
        wait = gevent.socket.wait_read if state == extensions.POLL_READ else gevent.socket.wait_write
        wait(connection.fileno(), timeout=seconds, timeout_exc=psycopg2.OperationalError(
            f"no answer within {seconds} seconds"))


def allow_many_connections() -> None:
    """Raise the limit of open files as far as it goes: each stream is one, and the usual 1,024 are soon used up."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def keep_what_was_loaded() -> None:
    """Have the collector of garbage not look at modules again and again, and look at all but the requests under way
    less often: it took a tenth of a status poll's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def end_streams_at(signal_number: int) -> None:
    """When gunicorn is told to stop, end the streams at once: it waits for the requests under way."""
    before = signal.getsignal(signal_number)

    def stop(number: int, frame: FrameType | None) -> None:
        gevent.spawn(app.extensions[NAME].close)
        if callable(before):
            before(number, frame)

    signal.signal(signal_number, stop)


def settings_or_halt() -> WebSettings:
    """The settings; wrong ones end gunicorn too, which starts a worker anew whatever other code it exits with."""
    try:
        return read(WebSettings)
    except SystemExit:
        sys.exit(Arbiter.APP_LOAD_ERROR)


settings = settings_or_halt()
logs.configure(settings.log_level)
traced = traces.begin("simyard-web", settings)
allow_many_connections()
bell = Bell()
connections = Connections(settings, application="web", pool_size=POOL_SIZE, after=bell.ring)
bell.serve(connections.lifecycle)
app = create_app(settings, connections)
if traced:
    from opentelemetry.instrumentation.flask import FlaskInstrumentor  # an extra

    FlaskInstrumentor().instrument_app(  # type: ignore[no-untyped-call]
        app, excluded_urls="/health,/metrics$,/up$")
if monkey.is_module_patched("socket"):
    extensions.set_wait_callback(wait_for_postgres)
    end_streams_at(signal.SIGTERM)
keep_what_was_loaded()
