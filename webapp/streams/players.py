"""How web speaks to a player, at the address that the player itself has told. Used by playbacks, relays and tunnels."""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from shared.domain.errors import IllegalTransition, Unavailable
from webapp.streams import websockets

CALL_SECONDS = 5.0
BLOCK = 1 << 16
LARGEST_HEAD = 1 << 14


def order(address: dict[str, Any], path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    """Ask the player; how it stands then. Unavailable when it is silent."""
    try:
        with asked(address, "GET" if body is None else "POST", path, body, CALL_SECONDS) as answer:
            said: dict[str, Any] = json.loads(answer.read(100_000))
            if answer.status != http.client.OK:
                raise IllegalTransition(str(said.get("message")), code="refused_by_player")
            return said
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unavailable(f"the player does not answer: {error}", code="player_unavailable",
                          remedy="try again in a moment") from error


@contextmanager
def asked(address: dict[str, Any], method: str, path: str, body: dict[str, Any] | None,
           timeout: float) -> Iterator[http.client.HTTPResponse]:
    """The player's answer, to be read within the block."""
    where = urlsplit(address["url"])
    connection = http.client.HTTPConnection(where.netloc, timeout=timeout)
    try:
        connection.request(method, path, None if body is None else json.dumps(body).encode(),
                           {"Authorization": f"Bearer {address['token']}", "Content-Type": "application/json"})
        yield connection.getresponse()
    finally:
        connection.close()


class Player(NamedTuple):
    """A player that has said yes: the connection, what it has sent already, and its headers in lower case."""

    connection: socket.socket
    first: bytes
    headers: dict[str, str]


def knock(address: dict[str, Any], path: str, headers: Mapping[str, str]) -> Player:
    """Ask the player for a WebSocket, with these headers of the viewer's handshake. Unavailable when it gives none."""
    where = urlsplit(address["url"])
    told = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    try:
        connection = socket.create_connection((where.hostname or "", where.port or 80), CALL_SECONDS)
        try:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer "
                               f"{address['token']}\r\n{told}\r\n".encode("latin-1"))
            status, found, first = _answer(connection)
            _check(status, found, headers["Sec-WebSocket-Key"])
        except BaseException:
            connection.close()
            raise
    except OSError as error:
        raise Unavailable(f"the player does not answer: {error}", code="player_unavailable",
                          remedy="try again in a moment") from error
    return Player(connection, first, found)


def _answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status and headers of the answer, and what came after them."""
    data = b""
    while b"\r\n\r\n" not in data and len(data) <= LARGEST_HEAD:
        more = connection.recv(BLOCK)
        if not more:
            break
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(maxsplit=2)
    status = int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0
    pairs = (line.partition(":") for line in lines)
    return status, {name.strip().lower(): value.strip() for name, _, value in pairs}, rest


def _check(status: int, headers: Mapping[str, str], key: str) -> None:
    """Unavailable unless it is a WebSocket by which this key was read: what a player says of where it is is not to be
    relied on."""
    if status == 503:
        raise Unavailable("as many viewers look at this playback by the Foxglove protocol as may at once",
                          code="too_many_viewers", remedy="come again later, or look at its stream")
    if status != 101 or headers.get("sec-websocket-accept") != websockets.accept(key):
        raise Unavailable(f"the player answers {status}, and no WebSocket", code="player_unavailable",
                          remedy="try again in a moment")
