"""How web speaks to a player, at the address that the player itself has told. Used by playbacks and relays."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from shared.domain.errors import IllegalTransition, Unavailable

CALL_SECONDS = 5.0


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
