"""Parts of objects over HTTP: whoever reads recordings out of object storage has nothing but URLs. Used by the caged
programs that read: excerpt and player. Not for several threads at once.
"""

import http.client
import io
import time
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 20.0
# Before another try; there are as many more tries as pauses.
PAUSES_SECONDS = (0.1, 0.5)
# How much of a whole file is asked for at once.
PIECE_BYTES = 8 << 20


class SourceFailed(Exception):
    """The storage did not give what it was asked for. The text says what it did, without URLs, for those are keys."""


class TimedOut(SourceFailed):
    """The storage did not answer in time."""


class Source(NamedTuple):
    """A file: where it is, and how long it must be."""

    url: str
    size: int


class Connections:
    """Asks for URLs, over connections that are kept open. Follows no redirection."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], http.client.HTTPConnection] = {}

    def get(self, url: str, offset: int, length: int) -> bytes:
        """Exactly these bytes of what is at `url`. Raises SourceFailed."""
        wanted = f"bytes={offset}-{offset + length - 1}"
        status, stated, body = self._insist(url, {"Range": wanted}, length)
        if status == 206 and stated.startswith(f"bytes {offset}-") and len(body) == length:
            return body
        raise SourceFailed(f"status {status}, {len(body)} bytes {stated[:60]!r} for {wanted}")

    def get_all(self, url: str, most: int) -> bytes:
        """All of what is at `url`. Raises SourceFailed, also when that is more than `most` bytes."""
        status, _, body = self._insist(url, {}, most + 1)
        if status == 200 and len(body) <= most:
            return body
        raise SourceFailed(f"status {status}, at least {len(body)} bytes, where at most {most} were expected")

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def _insist(self, url: str, headers: Mapping[str, str], most: int) -> tuple[int, str, bytes]:
        """Status, content range and at most `most` bytes of the answer, after another try or two."""
        for pause in (*PAUSES_SECONDS, None):
            try:
                status, stated, body = self._ask(url, headers, most)
                if status < 500 or pause is None:
                    return status, stated, body
            except TimeoutError as error:
                self.close()
                if pause is None:
                    raise TimedOut("the storage does not answer") from error
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if pause is None:
                    raise SourceFailed(f"the storage cannot be reached: {error}") from error
            time.sleep(pause or 0)
        raise AssertionError("the last try returns or raises")

    def _ask(self, url: str, headers: Mapping[str, str], most: int) -> tuple[int, str, bytes]:
        where = urlsplit(url)
        connection = self._connection(where.scheme, where.netloc)
        connection.request("GET", f"{where.path or '/'}?{where.query}" if where.query else where.path or "/",
                           headers=headers)
        answer = connection.getresponse()
        body = answer.read(most)
        if answer.read(1) or answer.will_close:
            self._open.pop((where.scheme, where.netloc)).close()
        if len(body) < most and answer.length:
            raise http.client.IncompleteRead(body, answer.length)
        return answer.status, answer.headers.get("Content-Range", ""), body

    def _connection(self, scheme: str, netloc: str) -> http.client.HTTPConnection:
        if (scheme, netloc) not in self._open:
            make = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}.get(scheme)
            if make is None:
                raise SourceFailed(f"no URL of a kind that is read: {scheme[:20]!r}")
            self._open[scheme, netloc] = make(netloc, timeout=TIMEOUT_SECONDS)
        return self._open[scheme, netloc]


class HttpRanges:
    """The files of a recording, as workers.bags.fetching.Ranges. Both calls raise SourceFailed."""

    def __init__(self, files: Mapping[str, Source], connections: Connections) -> None:
        self._files, self._connections = files, connections

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Exactly `length` bytes."""
        source = self._source(name)
        if not 0 <= offset <= offset + length <= source.size:
            raise SourceFailed(f"{length} bytes at {offset} of {name}, which has {source.size}")
        return self._connections.get(source.url, offset, length) if length else b""

    def whole(self, name: str) -> BinaryIO:
        """The file from its beginning."""
        return io.BufferedReader(_Sequence(self, name, self._source(name).size), PIECE_BYTES)

    def _source(self, name: str) -> Source:
        if name not in self._files:
            raise SourceFailed(f"no URL for {name[:255]!r}")
        return self._files[name]


class _Sequence(io.RawIOBase):
    """A file read from its beginning to its end, piece by piece, so that a broken connection costs a piece."""

    def __init__(self, ranges: HttpRanges, name: str, size: int) -> None:
        self._ranges, self._name, self._size, self._at = ranges, name, size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what BufferedReader hands over
        piece = self._ranges.read(self._name, self._at, min(len(buffer), self._size - self._at))
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
