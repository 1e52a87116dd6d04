from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert

from shared.persistence.models import blobs, bundle_files, bundle_topics, bundles
from tests.webapp.web import User, Web, problem
from webapp.api.schemas.bundles import Bundle, BundleList

NAME = "run ä_0.db3"


def add_bundle(web: Web, owner: UUID, *, job: UUID | None = None, name: str = "run", **values: object) -> UUID:
    bundle, sha256 = uuid4(), uuid4().hex * 2
    key = f"blobs/{bundle}"
    with web.database.transaction() as tx:
        tx.execute(insert(bundles).values(**{
            "id": bundle, "name": name, "owner": owner, "visibility": "team", "labels": {}, "job": job, "attempt": 1,
            "state": "READY", "digest": "d" * 64, "storage": "sqlite3", "messages": 3, "start_ns": 2**60,
            "end_ns": 2**60, "duration_seconds": 0.0, "problems": [], "certificate": {"recovered": 3}} | values))
        tx.execute(insert(blobs).values(key=key, sha256=sha256, size=5, etag="e"))
        tx.execute(insert(bundle_files).values(
            bundle=bundle, name=NAME, key=key, sha256=sha256, size=5, role="original"))
        tx.execute(insert(bundle_topics).values(bundle=bundle, name="/scan", type="sensor_msgs/msg/LaserScan", count=3,
                                                decodable=True))
    web.connections.store.make_bucket()
    web.connections.store._client._execute("PUT", web.connections.store.bucket, key, body=b"bytes")
    return bundle


def test_a_bundle_tells_its_facts(web: Web, operator: User) -> None:
    [job] = web.jobs(operator.submit())
    bundle = add_bundle(web, operator.id, job=job)
    seen = operator.get(f"/bundles/{bundle}")
    Bundle.model_validate(seen)
    assert seen["start_ns"] == 2**60
    assert seen["files"][0]["name"] == NAME
    assert seen["topics"][0] | {"count": 3, "frequency_hz": None, "first_ns": None} == seen["topics"][0]
    assert seen["instance"] == str(job)
    assert operator.get(f"/instances/{job}")["bundles"] == [str(bundle)]
    assert operator.get("/bundles")["items"] == [seen]


def test_a_file_is_a_redirect_that_anyone_can_follow(web: Web, operator: User) -> None:
    bundle = add_bundle(web, operator.id)
    response = operator.open("GET", f"/bundles/{bundle}/files/{NAME}")
    assert response.status_code == 302
    assert "X-Amz-Signature" in parse_qs(urlsplit(response.headers["Location"]).query)
    with urlopen(response.headers["Location"], timeout=30) as file:
        assert file.read() == b"bytes"
        assert "attachment" in file.headers["content-disposition"]
    for name in ("other", "..", "%00", f"{NAME}x"):
        problem(operator.open("GET", f"/bundles/{bundle}/files/{name}"), 404, "not_found")


def test_each_file_says_where_it_is_had(web: Web, operator: User) -> None:
    bundle = add_bundle(web, operator.id)
    [file] = operator.get(f"/bundles/{bundle}")["files"]
    assert file["url"] == f"/api/v1/bundles/{bundle}/files/run%20%C3%A4_0.db3"
    with urlopen(operator.open("GET", file["url"]).headers["Location"], timeout=30) as found:
        assert found.read() == b"bytes"
    ticket = operator.post("/bundles", {"name": "b", "files": [{"name": "a.db3", "size": 1, "sha256": "0" * 64}]},
                           status=201)
    assert operator.get(f"/bundles/{ticket['id']}")["files"][0]["url"] is None  # it is not there yet


def test_the_redirect_leads_to_the_public_endpoint(web: Web, operator: User) -> None:
    bundle = add_bundle(web, operator.id)
    settings = web.parts.settings.model_copy(update={"minio_public_endpoint": "https://s3.example.com"})
    from shared.connections import Connections

    connections = Connections(settings, application="test", pool_size=1)
    try:
        assert connections.store.download_url("k", "n").startswith("https://s3.example.com/")
    finally:
        connections.close()
    assert bundle


def test_lists_go_page_by_page_and_can_be_narrowed(web: Web, operator: User) -> None:
    made = [add_bundle(web, operator.id, name=f"run {number}", labels={"n": str(number)},
                       state="DAMAGED" if number else "READY") for number in range(3)]
    page = operator.get("/bundles?limit=2")
    BundleList.model_validate(page)
    rest = operator.get(f"/bundles?limit=2&cursor={page['next']}")
    assert [item["id"] for item in page["items"] + rest["items"]] == [str(bundle) for bundle in made[::-1]]
    for query, found in {"state=READY": made[:1], "label=n:1": made[1:2], "name=RUN 2": made[2:],
                         f"owner={operator.id}": made[::-1], f"owner={uuid4()}": []}.items():
        seen = [item["id"] for item in operator.get(f"/bundles?{query}")["items"]]
        assert seen == [str(each) for each in found], query


def test_a_private_bundle_is_as_good_as_missing_to_others(web: Web, operator: User, viewer: User, admin: User) -> None:
    bundle = add_bundle(web, operator.id, visibility="private")
    for path in (f"/bundles/{bundle}", f"/bundles/{bundle}/files/{NAME}"):
        problem(viewer.open("GET", path), 404, "not_found")
        assert operator.open("GET", path).status_code == admin.open("GET", path).status_code < 400
    assert viewer.get("/bundles")["items"] == []


@pytest.mark.parametrize("path", ["", "/files/x"])
def test_what_is_not_there_is_404(viewer: User, path: str) -> None:
    problem(viewer.open("GET", f"/bundles/{uuid4()}{path}"), 404, "not_found")
