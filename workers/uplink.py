"""A recorder's or ingester's line to web: reports, uploads straight to object storage, and the facts. Standard library
only, for every attempt starts one. Speaks with the attempt's own token and knows nothing else."""

import hashlib
import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from workers.folders import open_plain

TIMEOUT_SECONDS = 20.0
REPORT_TIMEOUT_SECONDS = 2.0  # the program is not held to its limits while this lasts
LONGEST_PAUSE_SECONDS = 2.0
MOST_READINGS = 3  # of a file that changes while it is read
# How often object storage may say no, or forget what it was given, over all files of an attempt: two minutes. Past that
# it is no passing trouble, and each file is given up after a few times.
MOST_REFUSALS, FEWEST_TRIES = 60, 3

T = TypeVar("T")


class Failed(Exception):
    """It did not work this time; worth trying again. `status` is that of the answer, if there was one."""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class Refused(Exception):
    """Web, or time and again object storage, understood and will not have it; trying again would not help."""


class Over(Exception):
    """The attempt is not ours to speak for any more: another has begun, or it has been ended."""


class Gone(Exception):
    """What is to be fetched is not there."""


class Changed(Exception):
    """The file does not stay as it is for as long as it takes to read it."""


class Lost(Exception):
    """Object storage does not know of what was uploaded so far."""


class Uplink:
    """Calls web's internal routes. `grant`: job, attempt, token, and address as {"url"} or {"endpoints": file}."""

    def __init__(self, grant: dict[str, Any]) -> None:
        self._address: dict[str, str] = grant["address"]
        self._path = f"/internal/attempts/{grant['job']}/{grant['attempt']}"
        self._token: str = grant["token"]
        self._refusals_left = MOST_REFUSALS

    def report(self, report: dict[str, Any]) -> dict[str, Any]:
        """Tell progress and log, once; raises Failed, for there will be another report."""
        return self._call("POST", "/report", report, REPORT_TIMEOUT_SECONDS)

    def put_facts(self, facts: dict[str, Any]) -> None:
        """Tell what was found, until it is heard."""
        insist(lambda: self._call("PUT", "/facts", facts))

    def inputs(self) -> dict[str, Any]:
        """What this attempt works on, by URLs that live a quarter of an hour: `files` of an ingest are a list of name,
        size, sha256 and url; of a playback a mapping of names to size and url, with `index_url` beside."""
        return insist(lambda: self._call("GET", "/inputs", None))

    def tell_address(self, address: dict[str, str]) -> None:
        """Tell where this attempt's player listens, until it is heard."""
        insist(lambda: self._call("PUT", "/address", address))

    def upload(self, path: str, file: Path) -> tuple[int, str]:
        """Upload a plain file to the attempt's `path`, trying until it is there; its size in bytes and its sha256 in
        hex. Raises Refused when web will not have it or object storage says no time and again, Changed when it becomes
        shorter time and again, OSError.

        The file is read once, hashed on the way, a part at a time in memory. A part that does not arrive is sent again;
        all of them only where object storage has forgotten those before.
        """
        changes, losses = 0, 0
        while True:
            try:
                return self._upload(path, file)
            except Changed:
                changes += 1
                if changes == MOST_READINGS:
                    raise
            except Lost as lost:
                losses += 1
                self._refuse(str(lost), losses)
                print(f"{path} is uploaded anew: {lost}", file=sys.stderr, flush=True)
                time.sleep(LONGEST_PAUSE_SECONDS)

    def _refuse(self, said: str, times: int) -> None:
        """Count what object storage said of a file for so many times in a row; Refused when it is to be given up."""
        self._refusals_left -= 1
        if self._refusals_left < 0 and times >= FEWEST_TRIES:
            raise Refused(f"tried {times} times: {said}")

    def _upload(self, path: str, file: Path) -> tuple[int, str]:
        with open_plain(file) as source:
            size, digest, etags = os.fstat(source.fileno()).st_size, hashlib.sha256(), list[str]()
            upload = _Upload(partial(self._call, "POST"), self._refuse, path, size)
            for number in range(upload.parts):
                part = _exactly(source, min(upload.part_size, size - source.tell()))
                digest.update(part)
                etags.append(upload.put(number, part))
        upload.complete(etags)
        return size, digest.hexdigest()

    def _call(self, method: str, path: str, body: dict[str, Any] | None,
              timeout: float = TIMEOUT_SECONDS) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        url = self._base() + self._path + path
        content = None if body is None else json.dumps(body).encode()
        status, answer, _ = _request(method, url, content, headers, timeout)
        said = f"web answers {status}: {answer[:200]!r}"
        if status == 401 or b'"attempt_over"' in answer:
            raise Over(said)
        if status in (400, 413, 422):
            raise Refused(said)
        if status >= 300:
            raise Failed(said, status)
        return json.loads(answer) if answer else {}

    def _base(self) -> str:
        """Where web is; the file is read each time, for a restarted stack may have moved."""
        if "url" in self._address:
            return self._address["url"].rstrip("/")
        try:
            return str(json.loads(Path(self._address["endpoints"]).read_text())["web"]).rstrip("/")
        except (OSError, ValueError, KeyError) as error:
            raise Failed(f"where web is cannot be read: {error}") from error


def grant_of(control: Path, place: str | None = None) -> dict[str, Any]:
    """What this attempt's recorder may know: from the control folder, or from where only some can look."""
    grant: dict[str, Any] = json.loads(Path(place or control / "grant.json").read_text())
    return grant


def insist(deed: Callable[[], T]) -> T:
    """Do it until it works, with pauses that double up to two seconds. Over and Refused end it."""
    pause = 0.05
    while True:
        try:
            return deed()
        except Failed as error:
            print(f"trying again: {error}", file=sys.stderr, flush=True)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


class _Upload:
    """A multipart upload in progress; `refuse` hears of each no. Raises Lost when it has to begin anew."""

    def __init__(self, call: Callable[[str, dict[str, Any]], dict[str, Any]], refuse: Callable[[str, int], None],
                 path: str, size: int) -> None:
        self._call, self._refuse, self._path, self._size = call, refuse, path, size
        self._refused = 0  # times in a row
        begun = self._begin({})
        self._id, self.part_size, self._urls = begun["upload_id"], begun["part_size"], begun["urls"]
        self.parts = len(self._urls)

    def _begin(self, which: dict[str, str]) -> dict[str, Any]:
        return insist(lambda: self._call("/uploads", {"path": self._path, "size": self._size} | which))

    def put(self, number: int, part: bytes) -> str:
        """PUT a part, trying until it is there; its etag."""
        return insist(lambda: self._put(number, part))

    def _put(self, number: int, part: bytes) -> str:
        status, answer, headers = _request("PUT", self._urls[number], part, {}, TIMEOUT_SECONDS)
        if status == 200 and "etag" in headers:
            self._refused = 0
            return headers["etag"].strip('"')
        said = f"object storage answers {status}: {answer[:200]!r}"
        if status == 404:
            raise Lost(said)
        if 400 <= status < 500 and status not in (408, 429):
            self._refused += 1
            self._refuse(said, self._refused)
        if status in (400, 403):  # the time of its URLs has run out
            self._urls = self._begin({"upload_id": self._id})["urls"]
        raise Failed(said)

    def complete(self, etags: list[str]) -> None:
        """Have the parts put together; repeating it is as good as once."""
        size = insist(lambda: self._complete(etags))
        if size != self._size:
            raise Lost(f"{size} bytes are in object storage, not {self._size}")

    def _complete(self, etags: list[str]) -> int:
        said = {"path": self._path, "upload_id": self._id, "etags": etags}
        try:
            return int(self._call("/uploads/complete", said)["size"])
        except Failed as failed:
            if failed.status in (404, 409):  # no such upload, or not with these parts
                raise Lost(str(failed)) from failed
            raise


def _exactly(source: BinaryIO, size: int) -> bytes:
    part = source.read(size)
    if len(part) != size:
        raise Changed("it became shorter each time that it was read")
    return part


def _request(method: str, url: str, body: bytes | None, headers: dict[str, str],
             timeout: float) -> tuple[int, bytes, dict[str, str]]:
    with _asked(method, url, body, headers, timeout) as answer:
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}


@contextmanager
def fetching(url: str, offset: int) -> Iterator[http.client.HTTPResponse]:
    """The answer to a GET of the object at `url` from byte `offset` on, to be read piece by piece. Raises Gone when
    there is none, Failed for anything else that goes wrong, also inside the block."""
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    with _asked("GET", url, None, headers, TIMEOUT_SECONDS) as answer:
        if answer.status == 404:
            raise Gone("it is not in object storage")
        if answer.status != (206 if offset else 200):
            raise Failed(f"object storage answers {answer.status}: {answer.read(200)!r}")
        yield answer


@contextmanager
def _asked(method: str, url: str, body: bytes | None, headers: dict[str, str],
           timeout: float) -> Iterator[http.client.HTTPResponse]:
    where = urlsplit(url)
    make = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    connection = make(where.netloc, timeout=timeout)
    try:
        connection.request(method, url[url.index(where.netloc) + len(where.netloc):], body, headers)
        yield connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{where.netloc}: {error}") from error
    finally:
        connection.close()
