"""Where a player takes orders from web: GET /stand, GET /frames, POST /control, over HTTP on a free port of this
machine or pod, all with the player's own token. GET /foxglove/control and /foxglove/view become the WebSocket of a
viewer that may move the playback, and of one that may not."""

import hmac
import json
import secrets
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from workers import viewers
from workers.audience import Foxglove, Streams
from workers.deck import Deck

LARGEST_ORDER = 10_000
VIEWERS = 32  # that speak the Foxglove protocol, at once


class Desk(ThreadingHTTPServer):
    """Serves from a thread of its own. `stopped` is set once somebody orders the player to stop."""

    daemon_threads = True

    def __init__(self, deck: Deck, streams: Streams, foxglove: Foxglove, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), _Handler)
        self.deck, self.streams, self.foxglove = deck, streams, foxglove
        self.token = secrets.token_urlsafe(32)
        self.url = f"http://{host}:{self.server_port}"
        self.stopped = threading.Event()
        self.places = threading.BoundedSemaphore(VIEWERS)
        threading.Thread(target=self.serve_forever, name="desk", daemon=True).start()

    def stand(self) -> dict[str, Any]:
        """How the deck stands."""
        stand = self.deck.stand()
        return {"position_ns": stand.position_ns, "rate": stand.rate, "playing": stand.playing, "ended": stand.ended,
                "viewers": len(self.streams) + len(self.foxglove)}

    def obey(self, order: dict[str, Any]) -> bool:
        """Carry out an order, and tell Foxglove viewers of it; whether it was to stop, which is done once that is
        answered. Raises ValueError, KeyError, TypeError."""
        match order["action"]:
            case "play":
                self.deck.play()
            case "pause":
                self.deck.pause()
            case "seek":
                self.deck.seek(int(order["to_ns"]))
            case "rate":
                self.deck.set_rate(float(order["rate"]))
            case "step":
                self.deck.step()
            case "stop":
                return True
            case other:
                raise ValueError(str(other)[:100])
        self.foxglove.tell(did_seek=order["action"] == "seek")
        return False


class _Handler(BaseHTTPRequestHandler):
    server: Desk

    def do_GET(self) -> None:
        if not self._is_web():
            self.send_error(401)
        elif self.path == "/frames":
            self._stream()
        elif self.path == "/stand":
            self._answer(200, self.server.stand())
        elif self.path in ("/foxglove/control", "/foxglove/view"):
            self._show(self.server.foxglove.port(may_control=self.path == "/foxglove/control"))
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        if not self._is_web():
            self.send_error(401)
            return
        body = self.rfile.read(min(LARGEST_ORDER, int(self.headers.get("Content-Length", "0"))))
        try:
            is_last = self.server.obey(json.loads(body))
        except (ValueError, KeyError, TypeError) as error:
            self._answer(409, {"message": f"no such order: {error}"})
        else:
            self._answer(200, self.server.stand())
            if is_last:
                self.server.stopped.set()

    def _is_web(self) -> bool:
        return hmac.compare_digest(self.headers.get("Authorization", ""), f"Bearer {self.server.token}")

    def _answer(self, status: int, said: dict[str, Any]) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        stream = self.server.streams.join()
        try:
            for piece in stream.pieces():
                self.wfile.write(piece)
        except OSError:  # the viewer has gone
            return
        finally:
            self.server.streams.leave(stream)

    def _show(self, port: int) -> None:
        self.close_connection = True
        if not self.server.places.acquire(blocking=False):
            self._answer(503, {"message": f"{VIEWERS} viewers look by the Foxglove protocol, as many as may at once"})
            return
        try:
            headers = {name: self.headers[name] for name in viewers.HANDSHAKE if name in self.headers}
            with suppress(OSError):  # the viewer has gone
                viewers.join(port, headers, self.connection, lambda: self.rfile.read1(viewers.BLOCK))
        finally:
            self.server.places.release()

    def log_message(self, *_: Any) -> None:
        """Say nothing: the log is what the playback itself says."""
