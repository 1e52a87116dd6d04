"""Fetches files out of object storage by URL and holds them against what they must be. Used by the ingester, and by
what brings a simulator its inputs."""

import hashlib
import http.client
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers.uplink import Failed, Gone, fetching

BLOCK = 1 << 20
PAUSE_SECONDS = 1.0


class Unsound(Exception):
    """What lies in object storage is not what was announced. The text says which file, and how."""


def fetch(file: dict[str, Any], target: Path, tell: Callable[[int], object],
          fresh_url: Callable[[], str]) -> dict[str, Any]:
    """Fetch one file (name, size, sha256, url), going on where a connection broke; its path, size, sha256 and etag.
    `tell` hears how many bytes more are here. Raises Unsound."""
    digest, etag, url = hashlib.sha256(), None, file["url"]
    with target.open("wb") as out:
        while etag is None or out.tell() < file["size"]:
            try:
                with fetching(url, out.tell()) as answer:
                    etag = _same(file, answer, out.tell(), etag)
                    while block := answer.read(BLOCK):
                        digest.update(block)
                        out.write(block)
                        tell(len(block))
                if out.tell() < file["size"]:
                    raise Failed("the connection was cut")
            except Gone as error:
                raise Unsound(f"{file['name']}: {error}") from error
            except Failed as error:
                print(f"{file['name']} is fetched on from byte {out.tell()}: {error}", file=sys.stderr, flush=True)
                time.sleep(PAUSE_SECONDS)
                url = fresh_url()
    if digest.hexdigest() != file["sha256"]:
        raise Unsound(f"{file['name']}: its sha256 is {digest.hexdigest()}, announced was {file['sha256']}")
    return {"path": file["name"], "size": file["size"], "sha256": file["sha256"], "etag": etag}


def _same(file: dict[str, Any], answer: http.client.HTTPResponse, offset: int, etag: str | None) -> str:
    """The etag of the object that answers, which has to be the announced size, and the same as before."""
    size = offset + int(answer.getheader("Content-Length", "0"))
    if size != file["size"]:
        raise Unsound(f"{file['name']}: it has {size} bytes, announced were {file['size']}")
    found = answer.getheader("ETag", "").strip('"')
    if etag not in (None, found):
        raise Unsound(f"{file['name']}: it was overwritten while it was read")
    return found
