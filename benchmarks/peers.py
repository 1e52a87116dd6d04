"""The peers: the barest thing that does the same. A Celery app, a Flask view with one INSERT and one send, and one that
answers a JSON document."""

import os
import subprocess

import psycopg2.pool
from celery import Celery
from flask import Flask

app = Celery("peer", broker=os.environ["REDIS_URL"])
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=1, task_default_queue="peer")

STATUS = {
    "id": "0" * 36, "state": "RUNNING", "phase": "running", "total": 1600, "percent": 12.5,
    "counts": dict.fromkeys(("QUEUED", "STARTING", "RUNNING", "STOPPING", "COLLECTING", "SUCCEEDED", "FAILED",
                             "CANCELLED"), 200),
    "verdicts": {"passed": 0, "not_passed": 0, "none": 1600}, "updated_at": "2026-01-01T00:00:00.000000Z"}


@app.task(name="peer.run")
def run(path: str) -> None:
    """Fork and exec a program that says when it began."""
    with open(path, "ab") as file:  # noqa: PTH123
        subprocess.run(["/bin/date", "+%s%N"], stdout=file, check=True)


def make_web() -> Flask:
    """Two routes: insert a row, commit, send a task; and a document of the size of a simulation's status."""
    web = Flask("peer")
    pool = psycopg2.pool.ThreadedConnectionPool(1, 16, os.environ["DATABASE_URL"])

    @web.post("/")
    def submit() -> tuple[dict[str, str], int]:
        connection = pool.getconn()
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("INSERT INTO peer (body) VALUES ('x') RETURNING id")
                identity = cursor.fetchone()[0]
        finally:
            pool.putconn(connection)
        app.send_task("peer.run", args=[str(identity)], queue="unserved")
        return {"id": str(identity)}, 202

    @web.get("/status")
    def status() -> dict[str, object]:
        return STATUS

    return web
