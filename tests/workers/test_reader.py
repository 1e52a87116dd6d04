"""The reader process: one caged child a request, failures said cleanly or not ended cleanly, nothing left behind."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until
from tests.workers.bags.making import START, messages, write_mcap
from tests.workers.serving import Storage, served
from workers import reader as reader_module
from workers.bags.cage import examine
from workers.excerpters import Excerpter
from workers.reader import Reader

ROOT = Path(__file__).parents[2]
TOKEN = "t" * 32


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recording `bag` and its index."""
    folder = tmp_path_factory.mktemp("recording")
    write_mcap(folder / "bag" / "x.mcap", messages(20_000), size=400)
    examine(folder / "bag", 60, index=folder / "index")
    return folder


@pytest.fixture
def storage(recording: Path) -> Iterator[Storage]:
    with served(recording) as storage:
        yield storage


@contextmanager
def reading(scratch: Path, limit: int = 2) -> Iterator[Reader]:
    with Reader(("127.0.0.1", 0), TOKEN, limit, str(scratch)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            server.excerpters.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Reader]:
    with reading(tmp_path) as server:
        yield server
        until(lambda: list(tmp_path.iterdir()) == [], seconds=20)


def connect(server: Reader) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)


@contextmanager
def post(server: Reader, body: Any, **headers: str) -> Iterator[http.client.HTTPResponse]:
    """The answer; whoever leaves early goes away."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with closing(connect(server)) as connection:
        connection.request("POST", "/excerpts", content, {"Authorization": f"Bearer {TOKEN}"} | headers)
        with connection.getresponse() as answer:
            yield answer


def said(answer: http.client.HTTPResponse) -> Any:
    return json.loads(answer.read())


def children() -> set[str]:
    return {pid for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()}


def test_messages_are_streamed(server: Reader, storage: Storage) -> None:
    with post(server, storage.request("index", "bag", end_ns=START + 10**9)) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
        assert answer.headers["Transfer-Encoding"] == "chunked"
        lines = answer.read().splitlines()
    assert [json.loads(line)["t_ns"] for line in lines] == [t_ns for _, t_ns in messages(1_000)]


@pytest.mark.parametrize(("form", "kind"), [("mcap", "application/octet-stream"), ("db3", "application/x-tar")])
def test_slices_are_streamed(server: Reader, storage: Storage, form: str, kind: str) -> None:
    with post(server, storage.request("index", "bag", **{"as": form})) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
        assert len(answer.read()) > 1_000_000


def test_nothing_found_is_an_empty_answer(server: Reader, storage: Storage) -> None:
    with post(server, storage.request("index", "bag", end_ns=5)) as answer:
        assert (answer.status, answer.read()) == (200, b"")


def test_it_says_that_it_is_there(server: Reader) -> None:
    connection = connect(server)
    for path, status in (("/health", 200), ("/", 404), ("/excerpts", 404)):
        connection.request("GET", path)
        with connection.getresponse() as answer:
            assert answer.status == status
            answer.read()
    connection.close()


@pytest.mark.parametrize("token", ["", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, "Bearer \xe9"])
def test_nobody_asks_without_the_token(server: Reader, storage: Storage, token: str) -> None:
    with post(server, storage.request("index", "bag"), Authorization=token) as answer:
        assert (answer.status, said(answer)["code"]) == (401, "unauthorized")
    assert storage.asked == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"[" * 100_000, b"\xff", {"as": "messages"}])
def test_what_cannot_be_asked_is_refused(server: Reader, body: Any) -> None:
    with post(server, body) as answer:
        assert (answer.status, said(answer)["code"]) == (422, "bad_request")


def test_requests_are_bounded(server: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "LARGEST_REQUEST", 100)
    with post(server, b"x" * 101) as answer:
        assert answer.status == 413
    with socket.create_connection(("127.0.0.1", server.server_address[1])) as client:
        client.sendall(b"POST /excerpts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert b" 413 " in client.recv(1000)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (lambda request: request["files"].clear(), 502, "source_failed"),
        (lambda request: request.update(index_url=request["index_url"] + "x/y"), 200, None),
        (lambda request: request.update(index_url="http://127.0.0.1:9/index"), 502, "source_failed"),
        (lambda request: request.update(latched="yes"), 422, "bad_request"),
    ],
)
def test_what_fails_at_once_is_said(
    server: Reader, storage: Storage, change: Callable[[dict[str, Any]], None], status: int, code: str | None
) -> None:
    request = storage.request("index", "bag")
    change(request)
    with post(server, request) as answer:
        assert answer.status == status
        if code:
            assert said(answer)["code"] == code


def test_a_child_that_dies_is_said(server: Reader, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Excerpter.ask

    def kill(excerpter: Excerpter, request: dict[str, object]) -> None:
        os.kill(excerpter._process.pid, signal.SIGSEGV)
        ask(excerpter, request)

    monkeypatch.setattr(Excerpter, "ask", kill)
    with post(server, storage.request("index", "bag")) as answer:
        found = said(answer)
    assert (answer.status, found["code"]) == (502, "failed")
    assert "SIGSEGV" in found["message"]


def test_a_child_that_is_silent_is_given_up(
    server: Reader, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Excerpter, "ask", lambda *_: None)
    monkeypatch.setattr(reader_module, "PATIENCE_SECONDS", 0.1)
    with post(server, storage.request("index", "bag")) as answer:
        assert (answer.status, said(answer)["code"]) == (504, "timeout")


def test_a_failure_on_the_way_breaks_the_answer(server: Reader, storage: Storage) -> None:
    request = storage.request("index", "bag")
    with post(server, request) as answer:
        assert answer.status == 200
        answer.read(1)
        storage.faults += [403] * 100
        with pytest.raises(http.client.IncompleteRead):
            answer.read()


def test_more_than_can_be_read_at_once_is_told_to_come_again(tmp_path: Path, storage: Storage) -> None:
    with reading(tmp_path, limit=1) as server:
        with post(server, storage.request("index", "bag")) as first:
            first.read(1)
            with post(server, storage.request("index", "bag")) as second:
                assert (second.status, second.headers["Retry-After"], said(second)["code"]) == (503, "1", "busy")
            first.read()
        until(lambda: is_answered(server, storage), seconds=20)


def is_answered(server: Reader, storage: Storage) -> bool:
    with post(server, storage.request("index", "bag", end_ns=5)) as answer:
        return answer.status == 200


def test_when_the_client_goes_the_child_ends(server: Reader, storage: Storage, tmp_path: Path) -> None:
    until(lambda: len(server.excerpters._waiting) == 2, seconds=20)
    waiting = {each._process.pid for each in server.excerpters._waiting}
    with post(server, storage.request("index", "bag")) as answer:
        answer.read(1)
        (asked,) = waiting - {each._process.pid for each in server.excerpters._waiting}
        assert running(asked)
    until(lambda: not running(asked), seconds=20)
    until(lambda: not any(tmp_path.iterdir()), seconds=20)
    until(lambda: len(server.excerpters._waiting) == 2 and str(asked) not in children(), seconds=20)


def test_a_client_that_goes_before_the_first_byte_is_noticed(
    server: Reader, storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Excerpter, "ask", lambda *_: None)
    body = json.dumps(storage.request("index", "bag")).encode()
    head = f"POST /excerpts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.server_address[1])) as client:
        client.sendall(head.encode() + body)
        until(lambda: any(tmp_path.iterdir()), seconds=20)
    until(lambda: not any(tmp_path.iterdir()), seconds=20)


def test_connections_are_used_again(server: Reader, storage: Storage) -> None:
    connection = connect(server)
    for _ in range(3):
        request = json.dumps(storage.request("index", "bag", end_ns=START + 5))
        connection.request("POST", "/excerpts", request, {"Authorization": f"Bearer {TOKEN}"})
        assert connection.getresponse().read().count(b"\n") == 1
    connection.close()


def is_open(port: int) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_children_end_with_the_reader(tmp_path: Path, storage: Storage, how: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        "PATH": os.defpath, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "SIMYARD_READER_TOKEN": TOKEN,
        "SIMYARD_READER_LISTEN": f"127.0.0.1:{port}",
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-P", "-m", "workers.reader"], env=environment, cwd=tmp_path)
    try:
        until(lambda: is_open(port), seconds=30)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        request = json.dumps(storage.request("index", "bag"))
        connection.request("POST", "/excerpts", request, {"Authorization": f"Bearer {TOKEN}"})
        connection.getresponse().read(1)
        own = [int(pid) for task in Path(f"/proc/{process.pid}/task").iterdir()
               for pid in (task / "children").read_text().split()]
        assert own
        process.send_signal(how)
        assert process.wait(20) == (0 if how == signal.SIGTERM else -how)
        until(lambda: not any(map(running, own)), seconds=20)
        connection.close()
        left = [path for folder in tmp_path.iterdir() for path in folder.iterdir()]
        assert [path for path in left if any(path.iterdir())] == []
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("name", "value"), [("SIMYARD_READER_TOKEN", ""), ("SIMYARD_READER_LISTEN", "here")])
def test_a_wrong_setting_ends_it_at_start(tmp_path: Path, name: str, value: str) -> None:
    environment = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), "SIMYARD_READER_TOKEN": TOKEN} | {name: value}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "workers.reader"], env=environment, cwd=tmp_path, capture_output=True, check=False
    )
    assert (done.returncode, name in done.stderr.decode()) == (78, True)
