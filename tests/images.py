"""A registry of container images as the distribution specification has it, over HTTP, and ways for it to be bad."""

import base64
import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

A, B, C = (f"sha256:{each * 64}" for each in "abc")
CERTIFICATE = Path(__file__).parent / "webapp" / "images" / "localhost.pem"


OCI, DOCKER = "OCI", "Docker"
KINDS = {  # the types of manifest and configuration
    OCI: ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json"),
    DOCKER: ("application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.container.image.v1+json")}


@dataclass
class Asked:
    """One request, as it came."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class ImageRegistry:
    """`images`: digests by `repository:tag`; `contents`: manifests and blobs by digest; `places`: where blobs are said
    to lie, by digest. With `realm` it wants a token of there, which itself gives at /token; with
    `login` (name:password) nobody else gets one, or without a realm is let in. `bad` answers in its place."""

    images: dict[str, str] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    realm: str | None = None
    login: str | None = None
    bad: Callable[[BaseHTTPRequestHandler], None] | None = None
    asked: list[Asked] = field(default_factory=list)
    host: str = ""
    closing: threading.Event = field(default_factory=threading.Event)

    def keep(self, content: Any) -> str:
        """The digest of this content, which is JSON unless it is bytes."""
        kept = content if isinstance(content, bytes) else json.dumps(content).encode()
        digest = f"sha256:{hashlib.sha256(kept).hexdigest()}"
        self.contents[digest] = kept
        return digest

    def push(self, name: str, content: Any) -> str:
        """Keep a manifest as the one behind `repository:tag`; its digest."""
        self.images[name] = self.keep(content)
        return self.images[name]

    def image(self, config: Any = None, *, kind: str = OCI, **fields: Any) -> dict[str, Any]:
        """The manifest of an image with this configuration, which is kept; `fields`: ENTRYPOINT and CMD otherwise."""
        config = self.keep({"architecture": "amd64", "os": "linux", "config": fields} if config is None else config)
        manifest, configuration = KINDS[kind]
        return {"schemaVersion": 2, "mediaType": manifest, "layers": [],
                "config": {"mediaType": configuration, "digest": config, "size": len(self.contents[config])}}

    def token(self, scope: str) -> str:
        return f"token-of-{scope}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(Asked(handler.command, handler.path, dict(handler.headers)))
        url = urlsplit(handler.path)
        if self.bad is not None:
            self.bad(handler)
        elif url.path == "/token":
            self._give_token(handler, parse_qs(url.query))
        else:
            self._show(handler, url.path)

    def _give_token(self, handler: BaseHTTPRequestHandler, query: dict[str, list[str]]) -> None:
        if self.login and handler.headers.get("Authorization") != self._basic():
            reply(handler, 401)
        else:
            reply(handler, 200, json.dumps({"token": self.token(query["scope"][0])}).encode())

    def _show(self, handler: BaseHTTPRequestHandler, path: str) -> None:
        repository, _, tag = path.removeprefix("/v2/").rsplit("/", 2)
        shown = handler.headers.get("Authorization")
        if self.realm and shown != f"Bearer {self.token(f'repository:{repository}:pull')}":
            return reply(handler, 401, **{"WWW-Authenticate": f'Bearer realm="{self.realm}",service="tests"'})
        if self.login and not self.realm and shown != self._basic():
            return reply(handler, 401, **{"WWW-Authenticate": 'Basic realm="tests"'})
        if tag in self.places:
            return reply(handler, 307, Location=self.places[tag])
        if tag in self.contents:
            return reply(handler, 200, self.contents[tag])
        found = self.images.get(f"{repository}:{tag}")
        return reply(handler, 404) if found is None else reply(handler, 200, **{"Docker-Content-Digest": found})

    def _basic(self) -> str:
        return f"Basic {base64.b64encode((self.login or '').encode()).decode()}"


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in ({"Content-Length": str(len(body))} | headers).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients of these tests leave in the middle of an answer."""


@contextmanager
def serving(registry: ImageRegistry, *, tls: bool = False) -> Iterator[ImageRegistry]:
    """It listens at `host` during the block."""
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(OSError):
                registry.answer(self)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        registry.host = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield registry
        finally:
            registry.closing.set()
            server.shutdown()
            thread.join()


# -- bad ways -------------------------------------------------------------------------------------------------------

def says(status: int, body: bytes = b"", **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Always this."""
    return lambda handler: reply(handler, status, body, **{name.replace("_", "-"): value
                                                           for name, value in headers.items()})


def sends(raw: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """These bytes, and hangs up."""
    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(raw)
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_WR)
    return send


def never(registry: ImageRegistry) -> Callable[[BaseHTTPRequestHandler], None]:
    """No answer while the registry serves."""
    return lambda handler: registry.closing.wait(60) and None


def dribbles(registry: ImageRegistry) -> Callable[[BaseHTTPRequestHandler], None]:
    """A byte at a time, so that no wait of a client for the next one is long; without an end."""
    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
        while not registry.closing.wait(0.02):
            handler.wfile.write(b"X")
    return send
