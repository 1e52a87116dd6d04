"""The peers: the barest thing that does the same. A Celery app, and a Flask view with one INSERT and one send."""

import os
import subprocess

import psycopg2.pool
from celery import Celery
from flask import Flask

app = Celery("peer", broker=os.environ["REDIS_URL"])
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=1, task_default_queue="peer")


@app.task(name="peer.run")
def run(path: str) -> None:
    """Fork and exec a program that says when it began."""
    with open(path, "ab") as file:  # noqa: PTH123
        subprocess.run(["/bin/date", "+%s%N"], stdout=file, check=True)


def make_web() -> Flask:
    """One route: insert a row, commit, send a task."""
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

    return web
