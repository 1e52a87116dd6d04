"""Stands in for our processes: `fake_process.py ROLE [ARGUMENTS]`. Does what the stack relies on, and nothing else."""

import http.server
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import redis


def install() -> None:
    assert os.environ["SIMYARD_ADMIN_EMAIL"]
    assert os.environ["SIMYARD_ADMIN_PASSWORD"]


def failing_install() -> None:
    sys.exit("some words before\nError: the third migration does not apply")


def web(port: str) -> None:
    assert "SIMYARD_ADMIN_PASSWORD" not in os.environ
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), _Answers).serve_forever()


flower = web


def reader(port: str) -> None:
    assert not {"DATABASE_URL", "MINIO_SECRET_KEY", "SECRET_KEY"} & set(os.environ)
    web(port)


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path in ("/health/ready", "/healthcheck", "/health") else 404)
        self.end_headers()


def worker(program_pid_file: str = "") -> None:
    """Takes tasks like a Celery worker, and like one starts programs in sessions of their own."""
    if program_pid_file and not Path(program_pid_file).exists():
        program = subprocess.Popen(["sleep", "600"], start_new_session=True)
        Path(program_pid_file).write_text(str(program.pid))
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        while True:
            with suppress(redis.RedisError):
                client.brpop(["nothing"], timeout=1)


def watcher() -> None:
    time.sleep(3600)


def deaf_watcher() -> None:
    """Heeds no wish to end, so that the supervisor has to insist."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(3600)


def drain() -> None:
    print("drained", flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
