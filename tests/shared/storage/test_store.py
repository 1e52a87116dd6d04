"""The store on a real S3 server: multipart uploads by presigned URLs, downloads, and what goes wrong."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from uuid import uuid4

import pytest

from shared.domain.errors import Conflict, NotFound, Unavailable
from shared.storage import store as module
from shared.storage.store import MIB, Store
from standalone.servers import Servers


@pytest.fixture(scope="module")
def store(servers: Servers) -> Iterator[Store]:
    store = Store(servers.s3.endpoint, servers.s3.access_key, servers.s3.secret_key, "test-store", secure=False)
    store.make_bucket()
    yield store


@pytest.fixture
def key() -> str:
    return f"tests/{uuid4()}/file with spaces é.bin"


def put(url: str, content: bytes) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, content, method="PUT"), timeout=30) as answer:
        etag: str = answer.headers["ETag"]
    return etag.strip('"')


def get(url: str) -> tuple[bytes, str]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read(), answer.headers["Content-Disposition"]


def refusal(url: str, content: bytes | None = None) -> int:
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(url) if content is None else put(url, content)
    refused.value.close()
    return refused.value.code


def upload(store: Store, key: str, content: bytes) -> None:
    begun = store.begin(key, len(content))
    parts = [content[start:start + begun.part_size] for start in range(0, max(1, len(content)), begun.part_size)]
    assert store.complete(key, begun.upload_id, [
        put(url, part) for url, part in zip(begun.urls, parts, strict=True)]) == len(content)


@pytest.mark.parametrize("content", [b"", b"x", b"12345678" * (2 * MIB + 1)], ids=["empty", "one byte", "two parts"])
def test_what_is_uploaded_in_parts_is_downloaded_whole(store: Store, key: str, content: bytes) -> None:
    upload(store, key, content)
    assert store.size(key) == len(content)
    assert get(store.download_url(key, "näme.db3"))[0] == content


def test_a_download_carries_the_files_name(store: Store, key: str) -> None:
    upload(store, key, b"x")
    assert get(store.download_url(key, "a b.db3"))[1] == "attachment; filename*=UTF-8''a%20b.db3"


def test_completing_twice_is_as_good_as_once(store: Store, key: str) -> None:
    begun = store.begin(key, 3)
    etags = [put(begun.urls[0], b"abc")]
    assert store.complete(key, begun.upload_id, etags) == 3
    assert store.complete(key, begun.upload_id, etags) == 3


def test_parts_are_listed_with_their_sizes_until_the_upload_is_over(store: Store, key: str) -> None:
    upload = store.create(key)
    assert store.parts(key, upload) == {}
    for number, content in ((1, b"x" * (5 << 20)), (2, b"rest")):
        put(store.part_url(key, upload, number), content)
    found = store.parts(key, upload)
    assert {number: size for number, (size, _) in found.items()} == {1: 5 << 20, 2: 4}
    assert store.complete(key, upload, [etag for _, (_, etag) in sorted(found.items())]) == (5 << 20) + 4
    with pytest.raises(NotFound):
        store.parts(key, upload)


def test_an_aborted_upload_is_gone_and_can_be_aborted_again(store: Store, key: str) -> None:
    upload = store.create(key)
    put(store.part_url(key, upload, 1), b"part")
    for _ in range(2):
        store.abort(key, upload)
    with pytest.raises(NotFound):
        store.parts(key, upload)
    with pytest.raises(NotFound):
        store.size(key)


def test_missing_parts_are_a_conflict(store: Store, key: str) -> None:
    begun = store.begin(key, 3)
    with pytest.raises((Conflict, NotFound)):
        store.complete(key, begun.upload_id, ["0" * 32])


def test_nothing_is_there_before_it_is_completed(store: Store, key: str) -> None:
    begun = store.begin(key, 3)
    put(begun.urls[0], b"abc")
    with pytest.raises(NotFound):
        store.size(key)


def test_a_url_serves_its_own_key_and_its_own_verb_only(store: Store, key: str) -> None:
    upload(store, key, b"abc")
    url = store.download_url(key, "x")
    assert refusal(url.replace("/tests/", "/other/")) == 403
    assert refusal(url.replace("X-Amz-Expires=900", "X-Amz-Expires=90000")) == 403
    assert refusal(url, b"other") == 403


def test_deleting_twice_is_as_good_as_once(store: Store, key: str) -> None:
    upload(store, key, b"abc")
    store.delete(key)
    store.delete(key)
    with pytest.raises(NotFound):
        store.size(key)


def test_part_sizes_grow_so_that_a_thousand_parts_are_enough(store: Store, key: str) -> None:
    begun = store.begin(key, 100 * 1024 * MIB)
    assert len(begun.urls) <= 1000
    assert begun.part_size >= 100 * MIB


def test_a_wrong_password_says_which_settings(servers: Servers) -> None:
    wrong = Store(servers.s3.endpoint, servers.s3.access_key, "not the secret", "test-store", secure=False)
    with pytest.raises(Unavailable) as refused:
        wrong.make_bucket()
    assert "MINIO_SECRET_KEY" in (refused.value.remedy or "")


def test_a_server_that_is_not_there_says_which_setting() -> None:
    with pytest.raises(Unavailable) as refused:
        Store("127.0.0.1:9", "a", "b", "bucket", secure=False).size("x")
    assert "MINIO_ENDPOINT" in (refused.value.remedy or "")


def test_a_bucket_that_is_not_there_fails_the_ping(servers: Servers, store: Store) -> None:
    store.ping()
    with pytest.raises(Unavailable):
        Store(servers.s3.endpoint, servers.s3.access_key, servers.s3.secret_key, "no-bucket", secure=False).ping()


def test_urls_go_to_the_public_endpoint(servers: Servers) -> None:
    public = Store(servers.s3.endpoint, servers.s3.access_key, servers.s3.secret_key, "files", secure=False,
                   public_endpoint="https://files.example.org")
    assert public.download_url("k", "n").startswith("https://files.example.org/files/k?")
    assert module.URL_LIFE.total_seconds() == 900


def test_calls_that_storage_does_not_answer_are_told_and_answers_are_not(servers: Servers, key: str) -> None:
    failed: list[str] = []
    good, bad = (Store(endpoint, servers.s3.access_key, servers.s3.secret_key, "test-store", secure=False,
                       failed=failed.append) for endpoint in (servers.s3.endpoint, "127.0.0.1:9"))
    with pytest.raises(NotFound):
        good.stat(key)
    good.abort(key, "no such upload")
    assert failed == []
    for call in (lambda: bad.size(key), bad.ping, lambda: list(bad.keys("x"))):
        with pytest.raises(Unavailable):
            call()
    assert failed == ["stat", "ping", "keys"]
