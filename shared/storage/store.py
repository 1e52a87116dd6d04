"""The S3 bucket: multipart uploads, presigned URLs, sizes. Only plain S3 calls, so any S3 server will do."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote, urlsplit

import urllib3
from minio import Minio
from minio.datatypes import Part
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error

from shared.domain.errors import Conflict, NotFound, Unavailable

MIB = 1 << 20
PART_SIZE = 16 * MIB
URL_LIFE = timedelta(minutes=15)
REGION = "us-east-1"  # stated, so that signing never asks the server


@dataclass(frozen=True)
class Multipart:
    """An upload in progress: PUT each part to its URL (number i is urls[i - 1]), then complete it with the etags."""

    upload_id: str
    part_size: int
    urls: list[str]


def part_size_of(size: int) -> int:
    """In parts of how many bytes an object is uploaded: at most a thousand of them."""
    return max(PART_SIZE, -(-size // 1000))


def parts_of(size: int, part_size: int) -> int:
    """How many parts that makes; an empty object has one empty part."""
    return max(1, -(-size // part_size))


class Store:
    """One bucket. `public_endpoint` (a full URL) replaces the endpoint in URLs handed to clients; `failed` is told the
    name of each call that raises Unavailable."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str, bucket: str, *, secure: bool,
                 public_endpoint: str | None = None, connections: int = 10,
                 failed: Callable[[str], None] = lambda call: None) -> None:
        http = urllib3.PoolManager(
            maxsize=connections, timeout=urllib3.Timeout(connect=3, read=30), retries=urllib3.Retry(1, redirect=0))
        self._client = Minio(endpoint, access_key, secret_key, secure=secure, region=REGION, http_client=http)
        self._signer = self._client
        if public_endpoint is not None:
            public = urlsplit(public_endpoint)
            self._signer = Minio(public.netloc, access_key, secret_key, secure=public.scheme == "https", region=REGION)
        self.bucket = bucket
        self._failed = failed

    def make_bucket(self) -> None:
        """Make the bucket unless it is there."""
        with self._call("make_bucket"):
            if not self._client.bucket_exists(self.bucket):
                try:
                    self._client.make_bucket(self.bucket)
                except S3Error as error:
                    if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                        raise

    def begin(self, key: str, size: int, upload_id: str | None = None) -> Multipart:
        """Begin a multipart upload of `size` bytes, unless it has its id already, and sign its parts, for who is
        inside."""
        upload_id, part_size = upload_id or self.create(key), part_size_of(size)
        urls = [self._part_url(self._client, key, upload_id, number)
                for number in range(1, parts_of(size, part_size) + 1)]
        return Multipart(upload_id, part_size, urls)

    def create(self, key: str) -> str:
        """Begin a multipart upload; its id."""
        with self._call("create"):
            return self._client._create_multipart_upload(
                self.bucket, key, {"Content-Type": "application/octet-stream"})

    def abort(self, key: str, upload_id: str) -> None:
        """Forget a multipart upload and its parts; one that is over already is as good."""
        with suppress(NotFound), self._call("abort"):
            self._client._abort_multipart_upload(self.bucket, key, upload_id)

    def part_url(self, key: str, upload_id: str, number: int) -> str:
        """A URL that lets anyone PUT this part for a quarter of an hour."""
        return self._part_url(self._signer, key, upload_id, number)

    def _part_url(self, signer: Minio, key: str, upload_id: str, number: int) -> str:
        return signer.get_presigned_url("PUT", self.bucket, key, expires=URL_LIFE,
                                        extra_query_params={"partNumber": str(number), "uploadId": upload_id})

    def parts(self, key: str, upload_id: str) -> dict[int, tuple[int, str]]:
        """The parts that are there: number -> size in bytes, etag. NotFound when the upload is over or unknown."""
        found, marker = dict[int, tuple[int, str]](), None
        while True:
            with self._call("parts"):
                page = self._client._list_parts(self.bucket, key, upload_id, part_number_marker=marker)
            found |= {part.part_number: (part.size or 0, part.etag) for part in page.parts}
            marker = page.next_part_number_marker
            if not page.is_truncated or not marker:
                return found

    def complete(self, key: str, upload_id: str, etags: Sequence[str]) -> int:
        """Put the parts together; the object's size in bytes. Doing it twice is as good as once."""
        parts = [Part(number, etag) for number, etag in enumerate(etags, 1)]
        with self._call("complete"):
            try:
                self._client._complete_multipart_upload(self.bucket, key, upload_id, parts)
            except S3Error as error:
                if error.code != "NoSuchUpload":  # completed before, and the answer was lost
                    raise
        return self.size(key)

    def size(self, key: str) -> int:
        """The object's size in bytes. NotFound when there is none."""
        return self.stat(key)[0]

    def stat(self, key: str) -> tuple[int, str]:
        """The object's size in bytes and its etag, both by the server's own account. NotFound when there is none."""
        with self._call("stat"):
            found = self._client.stat_object(self.bucket, key)
            return found.size or 0, found.etag or ""

    def delete(self, key: str) -> None:
        """Remove the object, if it is there."""
        with self._call("delete"):
            self._client.remove_object(self.bucket, key)

    def delete_many(self, keys: Sequence[str]) -> list[str]:
        """Remove these objects, as far as they are there; those that the server would not remove."""
        with _translate_errors():
            return [error.name for error in self._client.remove_objects(self.bucket, map(DeleteObject, keys))
                    if error.code != "NoSuchKey" and error.name]

    def abort_all(self, prefix: str) -> None:
        """Forget the multipart uploads below `prefix`, as far as the server tells of them."""
        with _translate_errors():
            uploads = self._client._list_multipart_uploads(self.bucket, prefix=prefix).uploads
        for upload in uploads:
            self.abort(upload.object_name, upload.upload_id or "")

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that begin with `prefix`."""
        with self._call("keys"):
            for item in self._client.list_objects(self.bucket, prefix, recursive=True):
                if item.object_name:
                    yield item.object_name

    def source_url(self, key: str, life: timedelta = URL_LIFE) -> str:
        """A URL that lets one who is inside GET the object for so long."""
        return self._client.presigned_get_object(self.bucket, key, expires=life)

    def download_url(self, key: str, name: str, *, content_type: str = "application/octet-stream") -> str:
        """A URL that lets anyone GET the object for a quarter of an hour, as a file called `name`."""
        return self._signer.presigned_get_object(
            self.bucket, key, expires=URL_LIFE,
            response_headers={"response-content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
                              "response-content-type": content_type})

    def ping(self) -> None:
        """Return when the bucket is there and ours, raise Unavailable when not."""
        with self._call("ping"):
            if not self._client.bucket_exists(self.bucket):
                raise Unavailable(f"there is no bucket {self.bucket}", code="storage_unavailable",
                                  remedy="run the install step, or create the bucket of MINIO_BUCKET")

    @contextmanager
    def _call(self, name: str) -> Iterator[None]:
        try:
            with _translate_errors():
                yield
        except Unavailable:
            self._failed(name)
            raise


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        if error.code in ("NoSuchKey", "NoSuchUpload", "NotFound"):
            raise NotFound(f"nothing lies at {error.object_name or 'that key'}") from error
        if error.code in ("InvalidPart", "InvalidPartOrder", "EntityTooSmall"):
            raise Conflict(f"the parts do not make the object: {error.code}", code="parts_missing") from error
        raise Unavailable(f"object storage refused: {error.code}", code="storage_unavailable",
                          remedy="check MINIO_ACCESS_KEY, MINIO_SECRET_KEY and MINIO_BUCKET") from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise Unavailable(f"object storage does not answer: {type(error).__name__}", code="storage_unavailable",
                          remedy="see that the S3 server runs and that MINIO_ENDPOINT is right") from error
