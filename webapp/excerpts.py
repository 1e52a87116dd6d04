"""Moments of a bundle: what is asked for is put into words here, read by the reader process, and passed through.

Web opens no object itself: the reader gets URLs for exactly the files of a bundle that the caller may read."""

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from shared.domain.errors import Conflict, FieldError, InvalidSpec, Unavailable
from shared.domain.states import BundleState
from shared.settings import WebSettings
from shared.storage.store import URL_LIFE, Store
from webapp.queries.bundles import Source

BLOCK = 1 << 16
EXCERPT_LIFE = timedelta(hours=12)  # a reader cannot ask for others, and a slow client takes its time
ANSWER_SECONDS = 90.0  # until the first byte, and between two
INT64 = 2**63
_TIME = re.compile(r"(?P<ns>-?[0-9]{1,19})|\+(?P<seconds>[0-9]{1,12}(?:\.[0-9]{1,9})?)")


@dataclass(frozen=True)
class Wanted:
    """Which part of a bundle, as it was asked for: times as text, topics separated by commas."""

    start: str | None
    end: str | None
    topics: str | None


def question(source: Source, wanted: Wanted, store: Store, form: str) -> dict[str, Any]:
    """What the reader is asked. InvalidSpec names the parameter that cannot be, Conflict says why nothing is read."""
    bundle = source.bundle
    readable(source)
    topics = topics_of(source, None if wanted.topics is None else wanted.topics.split(","))
    start, end = nanoseconds("start", wanted.start, bundle.start_ns), nanoseconds("end", wanted.end, bundle.start_ns)
    return {
        "name": bundle.name, "as": form, "topics": topics, "latched": form != "messages",
        "start_ns": -INT64 if start is None else start, "end_ns": INT64 - 1 if end is None else end,
    } | urls_of(source, store, EXCERPT_LIFE)


def urls_of(source: Source, store: Store, life: timedelta = URL_LIFE) -> dict[str, Any]:
    """Where whoever is inside reads the bundle's index and files, for so long."""
    return {"index_url": store.source_url(source.bundle.index_key, life),
            "files": {file.name: {"url": store.source_url(file.key, life), "size": file.size}
                      for file in source.files}}


def readable(source: Source) -> None:
    """Conflict unless the bundle's messages can be read."""
    bundle = source.bundle
    if bundle.state not in (BundleState.READY, BundleState.DAMAGED) or bundle.index_key is None:
        raise Conflict(f"bundle {bundle.id} is {bundle.state} and cannot be read", code="bundle_not_readable",
                       remedy="see its state and problems")


def topics_of(source: Source, wanted: list[str] | None) -> list[str] | None:
    """The topics asked for, all of which the bundle has."""
    if unknown := [name for name in wanted or () if name not in source.topics]:
        raise _wrong("topics", f"there is no topic {unknown[0][:200]}")
    return wanted


def nanoseconds(name: str, text: str | int | None, origin: int | None) -> int | None:
    """An int64 time: nanoseconds as they are, or +seconds from the bundle's start."""
    if text is None or isinstance(text, int):
        return text
    match = _TIME.fullmatch(text)
    if match is None:
        raise _wrong(name, "must be nanoseconds, or +seconds from the bundle's start")
    if match["ns"]:
        value = int(match["ns"])
    else:
        whole, _, fraction = match["seconds"].partition(".")
        value = (origin or 0) + int(whole) * 10**9 + int(fraction.ljust(9, "0"))
    if not -INT64 <= value < INT64:
        raise _wrong(name, "is no time that fits 64 bits")
    return value


def _wrong(field: str, message: str) -> InvalidSpec:
    return InvalidSpec(f"not valid: {field}", code="invalid", errors=[FieldError(field, message)])


def ask(settings: WebSettings, asked: dict[str, Any]) -> Iterator[bytes]:
    """The reader's answer, piece by piece; it has begun well when this returns. A failure later breaks it: the
    iterator raises, and whoever passes it on must not end cleanly. Closing it ends the reading."""
    connection = _connect(settings)
    with ExitStack() as undo:
        undo.callback(connection.close)
        try:
            connection.request("POST", "/excerpts", json.dumps(asked).encode(), {
                "Authorization": f"Bearer {settings.simyard_reader_token.get_secret_value()}",
                "Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise _refusal(answer)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"the reader does not answer: {error}", code="reader_unavailable",
                              remedy="see that the reader runs and that SIMYARD_READER_URL is right") from error
        undo.pop_all()
    return _pieces(connection, answer)


def _connect(settings: WebSettings) -> http.client.HTTPConnection:
    where = urlsplit(settings.simyard_reader_url)
    make = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    return make(where.netloc, timeout=ANSWER_SECONDS)


def _refusal(answer: http.client.HTTPResponse) -> Exception:
    said: dict[str, Any] = {}
    with suppress(ValueError):
        said = dict(json.loads(answer.read(10_000)))
    message, code = str(said.get("message", f"the reader answers {answer.status}")), str(said.get("code", "reader"))
    if answer.status == 422:
        return InvalidSpec(message, code=code)
    return Unavailable(message, code="reader_unavailable", remedy="try again in a moment")


def _pieces(connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while block := answer.read1(BLOCK):
            yield block
    finally:
        connection.close()
