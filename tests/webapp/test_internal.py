"""What recorders may do: to their own attempt, while it runs, and nothing else."""

import hashlib
import json
from typing import Any
from urllib.request import Request, urlopen
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from werkzeug.test import TestResponse

from shared.domain.states import Reason, State
from shared.messaging.queue import Work
from shared.persistence.models import attempts, jobs
from tests.waiting import until
from tests.webapp.web import User, Web, problem
from webapp.internal import LOG_WINDOW

TOKEN = "a recorder's token"
HASH = hashlib.sha256(TOKEN.encode()).hexdigest()


class Recorder:
    def __init__(self, web: Web, job: UUID, attempt: int = 1, token: str = TOKEN) -> None:
        self.web, self.job, self.attempt, self.token = web, job, attempt, token

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> TestResponse:
        if body is not None:
            options |= {"data": json.dumps(body), "content_type": "application/json"}
        return self.web.app.test_client().open(
            f"/internal/attempts/{self.job}/{self.attempt}/{path}", method=method,
            headers={"Authorization": f"Bearer {self.token}"}, **options)

    def say(self, path: str, body: Any, status: int = 200, method: str = "POST") -> Any:
        response = self.call(method, path, body)
        assert response.status_code == status, response.get_data(as_text=True)
        return response.get_json(force=True) if response.get_data() else None

    def log(self, offset: int, text: str, size: int | None = None) -> int:
        chunk = {"offset": offset, "text": text, "bytes": len(text.encode()) if size is None else size}
        end: int = self.say("report", {"progress": None, "log": chunk})["log_end"]
        return end

    def row(self) -> Any:
        with self.web.database.transaction() as tx:
            return tx.execute(select(attempts, jobs.c.progress.label("progress"), jobs.c.progress_at)
                              .join(jobs, jobs.c.id == attempts.c.job)
                              .where(attempts.c.job == self.job, attempts.c.number == self.attempt)).one()


@pytest.fixture
def recorder(web: Web, operator: User) -> Recorder:
    [job] = web.jobs(operator.submit())
    web.start(job, HASH)
    return Recorder(web, job)


# -- who --------------------------------------------------------------------------------------------------------------

CALLS = (("POST", "report", {}), ("POST", "uploads", {"path": "log.txt", "size": 1}),
         ("POST", "uploads/complete", {"path": "log.txt", "upload_id": "x", "etags": ["y"]}), ("PUT", "facts", {}))


def test_another_token_another_job_or_another_attempt_is_401(web: Web, operator: User, recorder: Recorder) -> None:
    [queued] = web.jobs(operator.submit())
    strangers = [Recorder(web, recorder.job, token="x"), Recorder(web, recorder.job, token=""),
                 Recorder(web, uuid4()), Recorder(web, queued), Recorder(web, queued, token=""),
                 Recorder(web, recorder.job, attempt=2), Recorder(web, recorder.job, attempt=2**40)]
    for stranger in strangers:
        for method, path, body in CALLS:
            problem(stranger.call(method, path, body), 401, "unauthenticated")
    bare = web.app.test_client().post(f"/internal/attempts/{recorder.job}/1/report", json={})
    problem(bare, 401, "unauthenticated")


def test_what_is_over_is_409_whatever_came_after_it(web: Web, recorder: Recorder) -> None:
    web.finish(recorder.job, Reason.PREEMPTED)
    for method, path, body in CALLS:
        problem(recorder.call(method, path, body), 409, "attempt_over")
    web.start(recorder.job, hashlib.sha256(b"the next").hexdigest(), attempt=2)
    problem(recorder.call("POST", "report", {}), 409, "attempt_over")
    Recorder(web, recorder.job, 2, "the next").say("report", {})


# -- log --------------------------------------------------------------------------------------------------------------

def test_the_log_grows_only_where_it_ends(recorder: Recorder) -> None:
    assert recorder.log(0, "eins\n") == 5
    assert recorder.log(0, "eins\n") == 5
    assert recorder.log(9, "later") == 5
    assert recorder.say("report", {}) == {"log_end": 5}
    assert recorder.log(5, "zwei ä\n") == 13
    row = recorder.row()
    assert (row.log_tail, row.log_end) == ("eins\nzwei ä\n", 13)


def test_only_the_last_of_it_is_kept(recorder: Recorder) -> None:
    end, size = 0, 0
    for letter in "abcä":
        end = recorder.log(end, letter * 30_000)
        size += len((letter * 30_000).encode())
        assert end == size
    tail = recorder.row().log_tail
    assert len(tail.encode()) == LOG_WINDOW
    assert tail == "c" * (LOG_WINDOW - 60_000) + "ä" * 30_000
    recorder.log(end, "x")
    assert len(recorder.row().log_tail.encode()) == LOG_WINDOW


@pytest.mark.parametrize(("text", "size", "kept"), [
    ("a\ufffdb", 3, "a?b"),
    ("a\ufffdb", 5, "a\ufffdb"),  # one that was written by the program
    ("a\ufffdb", 4, "a??b"),  # two broken bytes became one sign
    ("\ufffd\ufffd", 2, "??"),
    ("a\0b", 3, "a?b"),
    ("\ufffd\ufffd", 5, "????" + "?"),
])
def test_places_in_the_log_stay_exact_where_it_is_no_text(recorder: Recorder, text: str, size: int, kept: str) -> None:
    assert recorder.log(0, text, size) == size
    row = recorder.row()
    assert row.log_tail == kept
    assert len(row.log_tail.encode()) == size


def test_what_was_skipped_counts_and_cuts_what_was_before(recorder: Recorder) -> None:
    recorder.log(0, "before\n")
    chunk = {"offset": 7, "skipped": 1000, "text": "after\n", "bytes": 6}
    assert recorder.say("report", {"log": chunk}) == {"log_end": 1013}
    assert recorder.say("report", {"log": chunk}) == {"log_end": 1013}
    assert (recorder.row().log_tail, recorder.row().log_end) == ("after\n", 1013)


def test_a_chunk_that_lies_about_its_size_is_refused(recorder: Recorder) -> None:
    for text, size in (("abc", 2), ("abc", 4), ("", 1), ("\ufffd", 0)):
        told = recorder.say("report", {"log": {"offset": 0, "text": text, "bytes": size}}, 422)
        assert told["errors"][0]["field"] == "log.bytes"
    assert recorder.row().log_end == 0


# -- progress ---------------------------------------------------------------------------------------------------------

def test_progress_is_written_and_shown(web: Web, operator: User, recorder: Recorder) -> None:
    recorder.say("report", {"progress": {"percent": 10, "sim_time": 1, "message": "go"}})
    recorder.say("report", {"progress": {"percent": 40.5, "sim_time": 12.25, "message": "half\u2028way"}})
    until(lambda: (recorder.row().progress or {}).get("percent") == 40.5)
    assert recorder.row().progress_at is not None
    assert operator.get(f"/instances/{recorder.job}")["progress"] == {
        "percent": 40.5, "sim_time": 12.25, "message": "half\u2028way"}


@pytest.mark.parametrize(("progress", "field"), [
    ({"percent": 101}, "progress.percent"), ({"percent": -1}, "progress.percent"),
    ({"percent": "1"}, "progress.percent"), ({"percent": True}, "progress.percent"),
    ({"message": "x" * 501}, "progress.message"), ({"eta": 1}, "progress.eta"),
    ([], "progress"), (7, "progress"),
])
def test_progress_that_is_none_is_refused(lonely: Web, progress: object, field: str) -> None:
    from webapp.api.resource import InvalidSpec, validate
    from webapp.internal import AttemptReport

    with pytest.raises(InvalidSpec) as caught:
        validate(AttemptReport, {"progress": progress})
    assert caught.value.errors[0].field == field


def test_numbers_that_are_none_are_refused(recorder: Recorder) -> None:
    for body in (b'{"progress": {"percent": NaN}}', b'{"progress": {"sim_time": 1e999}}'):
        response = recorder.call("POST", "report", data=body, content_type="application/json")
        problem(response, 400, "bad_json")


# -- uploads ----------------------------------------------------------------------------------------------------------

def put(url: str, body: bytes) -> str:
    with urlopen(Request(url, data=body, method="PUT"), timeout=60) as answer:
        return str(answer.headers["ETag"]).strip('"')


def test_urls_that_have_run_out_are_replaced_and_the_parts_stay(web: Web, recorder: Recorder) -> None:
    web.connections.store.make_bucket()
    path, first, second = "output/long.mcap", b"a" * (16 << 20), b"the rest"
    asked = {"path": path, "size": len(first) + len(second)}
    begun = recorder.say("uploads", asked)
    etags = [put(begun["urls"][0], first)]
    again = recorder.say("uploads", asked | {"upload_id": begun["upload_id"]})
    assert again["upload_id"] == begun["upload_id"]
    etags.append(put(again["urls"][1], second))
    done = recorder.say("uploads/complete", {"path": path, "upload_id": begun["upload_id"], "etags": etags})
    assert done == {"size": asked["size"]}


def test_a_file_is_uploaded_in_parts_and_put_together(web: Web, recorder: Recorder) -> None:
    web.connections.store.make_bucket()
    path, size = "output/bag ä/x_0.db3", (16 << 20) + 5
    begun = recorder.say("uploads", {"path": path, "size": size})
    assert (begun["part_size"], len(begun["urls"])) == (16 << 20, 2)
    etags = [put(begun["urls"][0], b"a" * (16 << 20)), put(begun["urls"][1], b"bcdef")]
    done = {"path": path, "upload_id": begun["upload_id"], "etags": etags}
    assert recorder.say("uploads/complete", done) == {"size": size}
    assert recorder.say("uploads/complete", done) == {"size": size}
    key = f"attempts/{recorder.job}/1/{path}"
    assert list(web.connections.store.keys(f"attempts/{recorder.job}/1/")) == [key]
    assert recorder.row().log_key is None


def test_the_whole_log_is_found_once_it_is_there(web: Web, operator: User, recorder: Recorder) -> None:
    web.connections.store.make_bucket()
    begun = recorder.say("uploads", {"path": "log.txt", "size": 0})
    etag = put(begun["urls"][0], b"")
    done = {"path": "log.txt", "upload_id": begun["upload_id"], "etags": [etag]}
    missing = recorder.call("POST", "uploads/complete", done | {"etags": ["x" * 32]})
    problem(missing, 409, "parts_missing")
    assert recorder.row().log_key is None
    recorder.say("uploads/complete", done)
    assert recorder.row().log_key == f"attempts/{recorder.job}/1/log.txt"
    assert operator.open("GET", f"/instances/{recorder.job}/logs").status_code == 302


BAD_PATHS = ["", "x", "output", "output/", "/output/x", "output//x", "output/./x", "output/../log.txt", "output/..",
             "log.txt/x", "../log.txt", "output/a\\b", "output/a\nb", "output/a\u0085b", "output/\u202ex",
             "output/" + "x" * 1020, "output/" + "ä" * 600, "facts.json"]


def test_a_path_elsewhere_is_refused(recorder: Recorder) -> None:
    for path in BAD_PATHS:
        for call, rest in (("uploads", {"size": 1}), ("uploads/complete", {"upload_id": "x", "etags": ["y"]})):
            told = recorder.say(call, {"path": path} | rest, 422)
            assert told["errors"][0]["field"] == "path", path
    for body in (rb'{"path": "output/\u0000", "size": 1}', rb'{"path": "output/\ud800", "size": 1}'):
        problem(recorder.call("POST", "uploads", data=body, content_type="application/json"), 400, "bad_json")


def test_a_size_that_is_none_is_refused(recorder: Recorder) -> None:
    for size in (-1, 1.5, "1", None, 6 << 40, True):
        assert recorder.say("uploads", {"path": "log.txt", "size": size}, 422)["errors"][0]["field"] == "size"


def test_with_storage_down_it_is_503(lonely: Web, web: Web, recorder: Recorder) -> None:
    object.__setattr__(web.parts.connections, "store", lonely.connections.store)
    response = recorder.call("POST", "uploads", {"path": "log.txt", "size": 1})
    problem(response, 503, "storage_unavailable")


# -- facts ------------------------------------------------------------------------------------------------------------

def test_facts_are_kept_whole(recorder: Recorder) -> None:
    facts = {"files": [{"name": "ä", "n": 2**60}], "big": "x" * (7 << 20)}
    recorder.say("facts", facts, 204, "PUT")
    assert recorder.row().facts == facts


def test_facts_that_are_none_are_refused(recorder: Recorder) -> None:
    deep, large = b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", b'{"a": "' + b"x" * (8 << 20) + b'"}'
    for body, status in ((b"[]", 422), (b"7", 422), (b"{", 400), (rb'{"a": "\u0000"}', 400), (b'{"a": NaN}', 400),
                         (deep, 400), (large, 413)):
        response = recorder.call("PUT", "facts", data=body, content_type="application/json")
        assert response.status_code == status, body[:20]
    assert recorder.row().facts is None


def test_facts_ring_when_they_are_waited_for(web: Web, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[object] = []
    monkeypatch.setattr(web.connections.lifecycle, "ring", rung.extend)
    recorder.say("facts", {}, 204, "PUT")
    assert rung == []
    web.move(recorder.job, State.RUNNING, State.COLLECTING, outcome="success")
    recorder.say("facts", {}, 204, "PUT")
    assert rung == [Work(recorder.job, State.COLLECTING)]
