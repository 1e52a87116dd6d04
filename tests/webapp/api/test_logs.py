import threading
from collections.abc import Iterator
from urllib.request import urlopen
from uuid import UUID

import pytest

from shared.domain.states import Reason, State
from tests.waiting import until
from tests.webapp.web import User, Web, problem


@pytest.fixture
def job(web: Web, operator: User) -> UUID:
    [job] = web.jobs(operator.submit())
    web.start(job)
    return job


class Reader:
    """Reads a stream in a thread."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.text = ""
        self._chunks = chunks
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        for chunk in self._chunks:
            self.text += chunk.decode()


def test_the_log_is_text_whole_or_its_last_lines(web: Web, operator: User, job: UUID) -> None:
    web.set_attempt(job, log_tail="eins\nzwei ä\ndrei", log_end=16)
    whole = "eins\nzwei ä\ndrei"
    for query, text in {"": whole, "?tail=2": "zwei ä\ndrei", "?tail=0": "", "?tail=99": whole,
                        "?attempt=1": whole}.items():
        response = operator.open("GET", f"/instances/{job}/logs{query}")
        assert (response.status_code, response.content_type) == (200, "text/plain; charset=utf-8")
        assert response.get_data(as_text=True) == text, query


def test_a_waiting_instance_has_an_empty_log(web: Web, operator: User) -> None:
    job = web.jobs(operator.submit(repeats=9))[-1]
    assert operator.open("GET", f"/instances/{job}/logs").get_data() == b""
    problem(operator.open("GET", f"/instances/{job}/logs?attempt=2"), 404, "not_found")


def test_each_attempt_has_its_own(web: Web, operator: User, job: UUID) -> None:
    web.set_attempt(job, log_tail="first", log_end=5)
    web.finish(job, Reason.EVICTED)
    assert operator.get(f"/instances/{job}")["attempt"] == 2
    for query, text in {"": "", "?attempt=1": "first", "?attempt=2": ""}.items():
        assert operator.open("GET", f"/instances/{job}/logs{query}").get_data(as_text=True) == text, query
    problem(operator.open("GET", f"/instances/{job}/logs?attempt=3"), 404, "not_found")


def test_a_long_log_is_a_redirect_to_the_whole(web: Web, operator: User, job: UUID) -> None:
    web.connections.store.make_bucket()
    web.connections.store._client._execute("PUT", web.connections.store.bucket, "k/log.txt", body=b"all of it")
    web.set_attempt(job, log_tail="of it", log_end=9, log_key="k/log.txt")
    response = operator.open("GET", f"/instances/{job}/logs")
    assert response.status_code == 302
    with urlopen(response.headers["Location"], timeout=30) as whole:
        assert whole.read() == b"all of it"
        assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert operator.open("GET", f"/instances/{job}/logs?tail=1").get_data() == b"of it"


def test_following_gives_everything_once_and_ends_with_the_attempt(web: Web, operator: User, job: UUID) -> None:
    response = operator.open("GET", f"/instances/{job}/logs?follow=true", buffered=False)
    reader = Reader(response.iter_encoded())
    whole = ""
    for number in range(5):
        whole += f"line {number} ä\n"
        web.set_attempt(job, log_tail=whole, log_end=len(whole.encode()))
        until(lambda: reader.text == whole)  # noqa: B023
    whole += "the last"
    web.set_attempt(job, log_tail=whole, log_end=len(whole.encode()))
    web.finish(job)
    reader.thread.join(30)
    assert not reader.thread.is_alive()
    assert reader.text == whole
    response.close()


def test_following_says_what_the_window_has_lost(web: Web, operator: User, job: UUID) -> None:
    web.set_attempt(job, log_tail="abc", log_end=3)
    response = operator.open("GET", f"/instances/{job}/logs?follow=true&tail=1", buffered=False)
    reader = Reader(response.iter_encoded())
    until(lambda: reader.text == "abc")
    web.set_attempt(job, log_tail="xyz", log_end=1006)
    until(lambda: reader.text == "abc[1000 bytes of log skipped]\nxyz")
    web.finish(job)
    reader.thread.join(30)
    response.close()


def test_following_what_has_ended_gives_it_and_ends(web: Web, operator: User, job: UUID) -> None:
    web.set_attempt(job, log_tail="all", log_end=3)
    web.finish(job)
    assert operator.open("GET", f"/instances/{job}/logs?follow=true").get_data() == b"all"


def test_following_what_never_started_ends_when_it_is_cancelled(web: Web, operator: User) -> None:
    job = web.jobs(operator.submit(repeats=9))[-1]
    response = operator.open("GET", f"/instances/{job}/logs?follow=true", buffered=False)
    reader = Reader(response.iter_encoded())
    operator.post(f"/instances/{job}/cancel", status=202)
    reader.thread.join(30)
    assert not reader.thread.is_alive()
    assert operator.get(f"/instances/{job}")["state"] == State.CANCELLED
    response.close()


def test_following_ends_when_web_does(web: Web, operator: User, job: UUID) -> None:
    response = operator.open("GET", f"/instances/{job}/logs?follow=true", buffered=False)
    reader = Reader(response.iter_encoded())
    web.parts.close()
    reader.thread.join(30)
    assert not reader.thread.is_alive()
    response.close()
