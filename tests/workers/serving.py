"""Serves a folder over HTTP with ranges, as object storage does, counts what is asked for, and fails as it is told."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class Storage(ThreadingHTTPServer):
    """`asked` are (name, first byte, bytes) in order. `faults` are taken one a request: a status, 'cut' or 'drop'."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, int, int]] = []
        self.faults: list[int | str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{quote(name)}?signature=secret"

    @property
    def sent(self) -> int:
        """Bytes that were sent of files."""
        return sum(size for _, _, size in self.asked)

    def request(self, index: str, folder: str = "", **changes: Any) -> dict[str, Any]:
        """What the reader is asked for all of the recording in a subfolder, but for `changes`."""
        files = {
            path.name: {"url": self.url(path.relative_to(self.folder).as_posix()), "size": path.stat().st_size}
            for path in sorted((self.folder / folder).iterdir())
            if path.is_file()
        }
        return {
            "index_url": self.url(index),
            "files": files,
            "name": "night run",
            "start_ns": -(2**63),
            "end_ns": 2**63 - 1,
            "topics": None,
            "latched": False,
            "as": "messages",
        } | changes


class Handler(BaseHTTPRequestHandler):
    """GET with or without a range."""

    server: Storage
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.server.folder / unquote(urlsplit(self.path).path.lstrip("/"))
        fault = self.server.faults.pop(0) if self.server.faults else None
        if fault == "drop":
            self.close_connection = True
            return
        if isinstance(fault, int) or not path.is_file():
            self._head(fault if isinstance(fault, int) else 404, 0)
            return
        self._send(path, cut=fault == "cut")

    def _send(self, path: Path, cut: bool) -> None:
        size = path.stat().st_size
        wanted = RANGE.fullmatch(self.headers.get("Range", ""))
        first, last = (int(wanted[1]), min(int(wanted[2]), size - 1)) if wanted else (0, size - 1)
        length = last - first + 1
        self.server.asked.append((path.relative_to(self.server.folder).as_posix(), first, length))
        self._head(206 if wanted else 200, length, f"bytes {first}-{last}/{size}" if wanted else None)
        with path.open("rb") as file:
            file.seek(first)
            left = length // 2 if cut else length
            while left and (block := file.read(min(left, 1 << 20))):
                self.wfile.write(block)
                left -= len(block)
        if cut:
            self.close_connection = True

    def _head(self, status: int, length: int, stretch: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        if stretch:
            self.send_header("Content-Range", stretch)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def served(folder: Path) -> Iterator[Storage]:
    """Object storage with the files below a folder."""
    with Storage(folder) as storage:
        threading.Thread(target=storage.serve_forever, daemon=True).start()
        try:
            yield storage
        finally:
            storage.shutdown()
