"""Web as it is served: a gunicorn process with its gevent worker."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import redis
from gunicorn.arbiter import Arbiter
from sqlalchemy import delete, insert

from shared.persistence.database import Database
from shared.persistence.models import jobs, users
from shared.settings import WebSettings
from tests.waiting import until
from tests.webapp.stream import Events
from tests.webapp.web import PASSWORD, PASSWORD_HASH, SECRET

MAILBOX_SIZE = 1000


class Served:
    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.breaks_off = False  # whether an answer is meant to, which gunicorn logs with its traceback
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=60)

    def login(self, email: str) -> None:
        answer = self.http.post("/auth/login", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def submit(self, **fields: Any) -> str:
        self.http.post("/templates", json={"name": "t", "command": ["/bin/true"]})
        answer = self.http.post("/simulations", json={"template": "t"} | fields)
        assert answer.status_code == 202, answer.text
        simulation: str = answer.json()["id"]
        return simulation

    @contextmanager
    def stream(self, simulation: str, **headers: str) -> Iterator[Events]:
        with self.http.stream("GET", f"/simulations/{simulation}/events", headers=headers, timeout=60) as response:
            assert response.status_code == 200
            yield Events(response.iter_raw())


@pytest.fixture
def served(settings: WebSettings, database: Database, tmp_path: Path) -> Iterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = settings.database_url.get_secret_value().replace("+psycopg2", "")
    variables = {"PATH": os.environ["PATH"], "DATABASE_URL": url, "REDIS_URL": settings.redis_url.get_secret_value(),
                 "MINIO_ENDPOINT": settings.minio_endpoint, "MINIO_ACCESS_KEY": "k", "MINIO_SECRET_KEY": "secretsecret",
                 "SECRET_KEY": SECRET, "MAX_RUNNING_INSTANCES": "2"}
    with database.transaction() as tx:
        tx.execute(insert(users).values(
            id=uuid4(), email="op@example.com", password_hash=PASSWORD_HASH, role="operator"))
    configuration = tmp_path / "configuration.py"
    configuration.write_text("def post_worker_init(_):\n    from webapp.streams import mailboxes\n"
                             f"    mailboxes.MAILBOX_SIZE = {MAILBOX_SIZE}\n")
    with (tmp_path / "web.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-k", "gevent", "-w", "1", "-b", f"127.0.0.1:{port}",
             "--no-control-socket", "--graceful-timeout", "20", "-c", str(configuration), "webapp.wsgi:app"],
            env=variables, cwd=tmp_path, stdout=log, stderr=log)
    found = Served(process, port)
    try:
        until(lambda: process.poll() is not None or _answers(port))
        found.login("op@example.com")
        yield found
    finally:
        found.http.close()
        process.terminate()
        process.wait(60)
        written = (tmp_path / "web.log").read_text()
        assert ("Traceback" in written) is found.breaks_off, written
        assert PASSWORD not in written and SECRET not in written


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/up", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_wrong_settings_stop_the_server_and_are_told_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-k", "gevent", "-w", "1", "-b", "127.0.0.1:0", "--no-control-socket",
         "webapp.wsgi:app"],
        env={"PATH": os.environ["PATH"], "SECRET_KEY": "short"}, cwd=tmp_path, capture_output=True, text=True,
        timeout=60, check=False)
    assert done.returncode == Arbiter.APP_LOAD_ERROR, done.stderr
    [told] = [line for line in done.stderr.splitlines() if line.startswith("simyard: ")]
    assert all(name in told for name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "MINIO_ENDPOINT"))
    assert "Traceback" not in done.stderr


def test_the_main_way_through_a_real_server(served: Served) -> None:
    simulation = served.submit(repeats=3, parameters={"a": {"grid": list(range(500))}})
    with served.stream(simulation) as stream:
        reset = stream.wait("reset")
        until(lambda: len(reset.data["jobs"]) + len(stream.of("transition")) >= 2)
        assert served.http.post(f"/simulations/{simulation}/cancel").status_code == 202
        end = stream.wait("end")
    status = served.http.get(f"/simulations/{simulation}/status").json()
    assert (status["state"], status["counts"]["CANCELLED"], status["total"]) == ("CANCELLED", 1500, 1500)
    assert end.id == stream.all[-2].id

    told = httpx.get(served.http.base_url.copy_with(path="/metrics"), timeout=60).text.splitlines()
    assert 'simyard_jobs{kind="instance",state="CANCELLED"} 1500.0' in told

    refused = served.http.post("/simulations", json={"template": "t", "parameters": {"a": {"range": [1, 2, 0]}}})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "parameters.a")

    body = b" " * (2 << 20)
    chunks = (body[start:start + 65536] for start in range(0, len(body), 65536))
    chunked = served.http.post("/simulations", content=chunks, headers={"Content-Type": "application/json"})
    assert chunked.status_code == 413
    assert chunked.json()["code"] == "too_large"


def test_many_logins_at_once_do_not_stall_the_rest(served: Served) -> None:
    answers: list[int] = []

    def login(place: int) -> None:
        with httpx.Client(base_url=served.http.base_url, timeout=60) as http:
            tried = {"email": f"u{place}@example.com", "password": "wrong"}
            answers.append(http.post("/auth/login", json=tried).status_code)

    threads = [threading.Thread(target=login, args=(place,)) for place in range(12)]
    for thread in threads:
        thread.start()
    others = 0
    while any(thread.is_alive() for thread in threads):
        assert served.http.get("/auth/me").status_code == 200
        others += 1
    assert answers == [401] * 12
    assert others >= 3  # they came in between, not after


def test_an_answer_that_fails_on_the_way_breaks_off(served: Served, database: Database) -> None:
    simulation = served.submit(repeats=2)
    whole = served.http.get(f"/simulations/{simulation}/results")
    assert [item["index"] for item in whole.json()["items"]] == [0, 1]
    served.breaks_off = True
    with database.transaction() as tx:
        tx.execute(delete(jobs).where(jobs.c.index == 1))
    for form in ("json", "csv"):
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            served.http.get(f"/simulations/{simulation}/results?format={form}")


def test_stopping_ends_streams_at_once_and_exits_cleanly(served: Served) -> None:
    simulation = served.submit()
    with served.stream(simulation) as stream:
        stream.wait("reset")
        served.process.send_signal(signal.SIGTERM)
        assert stream.ended()
        assert served.process.wait(60) == 0
    assert stream.of("end") == []


def test_who_does_not_read_is_cut_and_may_come_again(served: Served, settings: WebSettings) -> None:
    simulation = served.submit()
    with socket.socket() as client, redis.Redis.from_url(settings.redis_url.get_secret_value()) as channel:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", served.http.base_url.port))
        client.sendall(f"GET /api/v1/events HTTP/1.0\r\nHost: x\r\nAuthorization: "
                       f"{served.http.headers['Authorization']}\r\n\r\n".encode())
        until(lambda: b"event: reset" in client.recv(4096))
        progress = {"number": None, "simulation": simulation, "job": str(uuid4()), "progress": "x" * (16 << 20)}
        until(lambda: channel.publish("simyard:events", json.dumps(progress)) > 0)  # more than any buffer holds
        served.submit(repeats=2 * MAILBOX_SIZE)
        newest = served.http.get("/simulations").json()["items"][0]["id"]
        assert served.http.post(f"/simulations/{newest}/cancel").status_code == 202
        until(lambda: served.http.get(f"/simulations/{newest}/status").json()["state"] == "CANCELLED")
        client.settimeout(60)
        got = 0
        while data := client.recv(1 << 20):
            got += len(data)
    assert got < 16 << 20  # the end came in the middle
    with served.stream(simulation) as stream:
        stream.wait("reset")
        assert served.http.post(f"/simulations/{simulation}/cancel").status_code == 202
        stream.wait("end")
