"""Uploading a recording: announced, put in parts, completed."""

import hashlib
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from shared.persistence.models import bundles, jobs
from shared.storage import keys
from tests.webapp.web import User, Web, problem
from webapp.api.schemas.bundles import Bundle, Ingest, Ticket


def file(name: str = "run_0.db3", content: bytes = b"content") -> dict[str, Any]:
    return {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def put(url: str, content: bytes) -> str:
    with urlopen(Request(url, content, method="PUT"), timeout=30) as answer:
        return str(answer.headers["ETag"])


def announce(user: User, *files: dict[str, Any], status: int = 201, **options: Any) -> Any:
    return user.post("/bundles", {"name": "field run", "files": list(files) or [file()]}, status=status, **options)


@pytest.fixture(autouse=True)
def bucket(request: pytest.FixtureRequest) -> None:
    if "web" in request.fixturenames:
        request.getfixturevalue("web").connections.store.make_bucket()


def test_an_upload_goes_straight_to_storage_and_is_then_looked_into(web: Web, operator: User) -> None:
    ticket = announce(operator, file(), file("metadata.yaml", b""))
    Ticket.model_validate(ticket)
    assert (ticket["state"], ticket["part_size"]) == ("UPLOADING", 16 << 20)
    assert [upload["name"] for upload in ticket["uploads"]] == ["run_0.db3", "metadata.yaml"]
    for upload, content in zip(ticket["uploads"], (b"content", b""), strict=True):
        put(upload["parts"][0]["url"], content)
    assert operator.get(f"/bundles/{ticket['id']}/uploads")["uploads"] == []
    done = operator.post(f"/bundles/{ticket['id']}/complete", status=202)
    Ingest.model_validate(done)
    assert (done["bundle"], done["state"]) == (ticket["id"], "INGESTING")
    assert operator.post(f"/bundles/{ticket['id']}/complete", status=200) == done
    assert web.connections.store.size(keys.uploaded_file(UUID(ticket["id"]), 0)) == 7
    seen = operator.get(f"/bundles/{ticket['id']}")
    Bundle.model_validate(seen)
    assert [(each["name"], each["size"]) for each in seen["files"]] == [("metadata.yaml", 0), ("run_0.db3", 7)]
    with web.database.transaction() as tx:
        job = tx.execute(select(jobs).where(jobs.c.id == UUID(done["job"]))).one()
    assert (job.kind, job.simulation, job.bundle) == ("ingest", None, UUID(ticket["id"]))


def test_what_is_missing_is_named_and_can_be_sent_after_a_cut(operator: User) -> None:
    ticket = announce(operator, file("a.mcap"), file("b.mcap", b"other"))
    put(ticket["uploads"][0]["parts"][0]["url"], b"content")
    seen = problem(operator.open("POST", f"/bundles/{ticket['id']}/complete"), 409, "parts_missing")
    assert [error["field"] for error in seen["errors"]] == ["files.b.mcap.parts.1"]
    fresh = operator.get(f"/bundles/{ticket['id']}/uploads")
    assert [upload["name"] for upload in fresh["uploads"]] == ["b.mcap"]
    put(fresh["uploads"][0]["parts"][0]["url"], b"other")
    operator.post(f"/bundles/{ticket['id']}/complete", status=202)


def test_a_part_of_another_size_is_as_good_as_missing(operator: User) -> None:
    ticket = announce(operator)
    put(ticket["uploads"][0]["parts"][0]["url"], b"too much of it")
    seen = problem(operator.open("POST", f"/bundles/{ticket['id']}/complete"), 409, "parts_missing")
    assert seen["errors"] == [{"field": "files.run_0.db3.parts.1", "message": "has 14 bytes, not 7"}]


def test_many_parts_come_a_thousand_at_a_time(operator: User) -> None:
    huge = {"name": "huge.mcap", "size": 30 << 30, "sha256": "0" * 64}
    ticket = announce(operator, huge, huge | {"name": "huge2.mcap"})
    assert ticket["part_size"] == -(-(30 << 30) // 1000)
    assert sum(len(upload["parts"]) for upload in ticket["uploads"]) == 1000


def test_a_finished_object_takes_no_late_part(operator: User) -> None:
    ticket = announce(operator)
    url = ticket["uploads"][0]["parts"][0]["url"]
    put(url, b"content")
    operator.post(f"/bundles/{ticket['id']}/complete", status=202)
    with pytest.raises(HTTPError):
        put(url, b"evilbyt")


def test_a_completion_that_was_cut_goes_on(web: Web, operator: User) -> None:
    ticket = announce(operator)
    etag = put(ticket["uploads"][0]["parts"][0]["url"], b"content")
    with web.database.transaction() as tx:
        from shared.persistence.bundles import announced

        (known,) = announced(tx, UUID(ticket["id"]))
    web.connections.store.complete(keys.uploaded_file(UUID(ticket["id"]), 0), known.upload_id, [etag.strip('"')])
    operator.post(f"/bundles/{ticket['id']}/complete", status=202)


def test_content_that_the_caller_may_read_is_not_uploaded_again(web: Web, operator: User, viewer: User) -> None:
    first = announce(operator)
    for state, status in (("READY", 200), ("DAMAGED", 200), ("REJECTED", 201), ("FAILED", 201)):
        with web.database.transaction() as tx:
            tx.execute(update(bundles).where(bundles.c.id == UUID(first["id"])).values(state=state))
        again = announce(operator, status=status)
        assert (again["id"] == first["id"]) is (status == 200)
        assert bool(again["uploads"]) is (status == 201)


def test_anothers_private_content_is_not_given_away(web: Web, operator: User) -> None:
    first = announce(operator)
    with web.database.transaction() as tx:
        tx.execute(update(bundles).where(bundles.c.id == UUID(first["id"])).values(state="READY", visibility="private"))
    assert announce(web.user("operator"))["id"] != first["id"]
    assert announce(operator, status=200)["id"] == first["id"]


def test_the_same_announcement_under_one_key_is_one_bundle(operator: User) -> None:
    key = {"headers": {"Idempotency-Key": "k1"}}
    assert announce(operator, **key) == announce(operator, **key)


def test_only_its_owner_or_an_admin_goes_on_with_an_upload(web: Web, operator: User, admin: User) -> None:
    ticket = announce(operator)
    stranger = web.user("operator")
    for method, path in (("GET", "uploads"), ("POST", "complete")):
        problem(stranger.open(method, f"/bundles/{ticket['id']}/{path}"), 403, "forbidden")
        problem(operator.open(method, f"/bundles/{uuid4()}/{path}"), 404, "not_found")
    assert admin.get(f"/bundles/{ticket['id']}/uploads")["uploads"]


@pytest.mark.parametrize("name", [
    "", ".", "a.txt", "a/b.db3", "..\\b.db3", "a\n.db3", "xmetadata.yaml", "a.db3.gz", "ä" * 126 + ".db3", "a.DB3"])
def test_a_name_that_no_recording_has_is_refused(operator: User, name: str) -> None:
    body = {"name": "n", "files": [file("ok.db3"), file(name)]}
    seen = problem(operator.open("POST", "/bundles", json=body), 422, "invalid")
    assert seen["errors"][0]["field"] == "files.1.name"


@pytest.mark.parametrize("name", ["a.db3", "metadata.yaml", "metadata.yaml.zstd", "a.db3-wal", "a.db3-shm.zstd",
                                  "a.mcap", "a.bag", "a.bag.active", "a b ä.mcap.zstd", "ä" * 125 + ".db3"])
def test_every_name_of_the_contract_is_taken(operator: User, name: str) -> None:
    assert announce(operator, file("ok.db3"), file(name))["uploads"][1]["name"] == name


@pytest.mark.parametrize(("change", "field"), [
    ({"files": []}, "files"), ({"files": [file("metadata.yaml")]}, "files"), ({"files": [file(), file()]}, "files"),
    ({"name": ""}, "name"), ({"files": [file() | {"size": -1}]}, "files.0.size"), ({"x": 1}, "x"),
    ({"files": [file() | {"sha256": "A" * 64}]}, "files.0.sha256"),
    ({"files": [file() | {"size": 1.5}]}, "files.0.size"),
    ({"files": [file(f"{n}.db3") for n in range(1001)]}, "files")])
def test_a_wrong_announcement_names_the_field(operator: User, change: dict[str, Any], field: str) -> None:
    body = {"name": "n", "files": [file()]} | change
    seen = problem(operator.open("POST", "/bundles", json=body), 422, "invalid")
    assert seen["errors"][0]["field"] == field


def test_storage_that_is_down_is_said(web: Web, operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    from minio import Minio

    monkeypatch.setattr(web.connections.store, "_client", Minio("127.0.0.1:9", "k", "s", secure=False, region="x"))
    problem(operator.open("POST", "/bundles", json={"name": "n", "files": [file()]}), 503, "storage_unavailable")
