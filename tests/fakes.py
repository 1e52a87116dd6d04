"""In-memory twins of the doors. tests/contract runs one suite over each twin and the real thing."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from workers.runtimes.base import Launch, Name, Observation, Recorder, Run, Seen


class FakeLaunch:
    def __init__(self, runtime: "FakeRuntime", name: Name) -> None:
        self._runtime, self._name = runtime, name

    def go(self) -> None:
        self._runtime.begin(self._name)

    def abandon(self) -> None:
        if self._runtime.observe(self._name).seen == Seen.STARTING:
            self._runtime.things[self._name] = Observation(Seen.ABSENT, never_started=True)


class FakeRuntime:
    """Understands `/bin/sh -c "exit N"` and programs that run until they are signalled."""

    host, boot, keeps = "fake", "fake", True

    def __init__(self) -> None:
        self.things: dict[Name, Observation] = {}
        self.runs: dict[Name, Run] = {}
        self.started: list[Name] = []
        self.quarantined: list[Name] = []
        self._hinted: set[Name] = set()

    def start(self, run: Run) -> Launch | None:
        known = self.things.get(run.name)
        if known is not None and not known.never_started:
            return None
        self.runs[run.name] = run
        self.things[run.name] = Observation(Seen.STARTING, recorder=Recorder.WORKING)
        return FakeLaunch(self, run.name)

    def begin(self, name: Name) -> None:
        self.started.append(name)
        self.things[name] = Observation(Seen.RUNNING, recorder=Recorder.WORKING)
        self._hinted.add(name)
        word = self.runs[name].program.command[-1]
        if word.startswith("exit "):
            self.end(name, int(word.split()[1]))

    def end(self, name: Name, code: int, **fields: Any) -> None:
        self.things[name] = Observation(Seen.ENDED, exit_code=code, recorder=Recorder.DONE, **fields)
        self._hinted.add(name)

    def observe(self, name: Name) -> Observation:
        return self.things.get(name, Observation(Seen.ABSENT))

    def stop(self, name: Name, signal_number: int) -> bool:
        if self.observe(name).seen != Seen.RUNNING:
            return False
        self.end(name, 128 + signal_number)
        return True

    def kill(self, name: Name) -> None:
        if self.observe(name).seen in (Seen.STARTING, Seen.RUNNING):
            self.things[name] = Observation(Seen.ABSENT)

    def salvage(self, run: Run) -> bool:
        return run.name in self.things

    def remove(self, name: Name) -> None:
        self.things.pop(name, None)

    def quarantine(self, name: Name) -> None:
        self.quarantined.append(name)
        self.things.pop(name, None)

    def names(self) -> Iterable[Name]:
        return list(self.things)

    def hints(self, timeout_seconds: float) -> set[Name]:
        hinted, self._hinted = self._hinted, set()
        return hinted

    def close(self) -> None:
        pass


class FakeWeb:
    """What a recorder talks to: web's internal routes and an S3 that takes parts, on a free port of the loopback."""

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.reports: list[dict[str, Any]] = []
        self.log_end = 0
        self.facts: dict[str, Any] | None = None
        self.objects: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.failures = 0  # so many requests are answered with 503 first
        self.over = False
        self.faults: dict[str, list[int]] = {}  # next statuses, by a part's URL, or verb and file
        self.refuses: Callable[[dict[str, Any]], bool] = lambda facts: False
        self.before_upload: Callable[[str], object] = lambda path: None
        self.part_size = 16 << 20
        self.inputs: list[dict[str, Any]] = []  # what an ingester is to fetch; urls are added
        self.sources: dict[str, bytes] = {}  # by name, as they lie in object storage
        self.cuts = 0  # so many answers of sources end in their middle
        self.refuse_once = False  # as a URL whose time has run out is
        self.address: dict[str, str] = {}  # of a player
        self.heard = threading.Event()  # the facts have come
        self._parts: dict[str, dict[int, bytes]] = {}
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._answer()

            do_PUT = do_POST

            def do_GET(self) -> None:
                if self.path.startswith("/s3/"):
                    self._serve(unquote(self.path[4:]))
                else:
                    self._answer()

            def _serve(self, name: str) -> None:
                content = web.sources.get(name)
                if content is None or web.refuse_once:
                    self.send_error(404 if content is None else 403)
                    web.refuse_once = False
                    return
                wanted = self.headers.get("range")
                start, _, stop = (wanted or "bytes=0-").removeprefix("bytes=").partition("-")
                first = int(start)
                whole, content = len(content), content[:int(stop) + 1 if stop else None]
                self.send_response(206 if wanted else 200)
                self.send_header("Content-Length", str(len(content) - first))
                if wanted:
                    self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{whole}")
                self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
                self.end_headers()
                web.calls.append(f"{self.path} from {first}")
                if web.cuts:
                    web.cuts -= 1
                    self.wfile.write(content[first:first + max(1, (len(content) - first) // 2)])
                    self.close_connection = True
                else:
                    self.wfile.write(content[first:])

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                status, answer, headers = web.answer(self.path, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(address, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "FakeWeb":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        self.calls.append(path)
        if self.failures:
            self.failures -= 1
            return 503, b"", {}
        where = urlsplit(path)
        said = {} if where.path.startswith("/s3/") else json.loads(body or b"{}")
        if faults := self.faults.get(f"{where.path.rsplit('/', 1)[1]} {said['path']}" if "path" in said else path):
            return faults.pop(0), b"", {}
        if where.path.startswith("/s3/"):
            return self._put_part(where.path[4:], parse_qs(where.query), body)
        if self.over:
            return 409, b'{"code": "attempt_over"}', {}
        return self._internal(where.path.rsplit("/", 1)[1], said)

    def _put_part(self, key: str, query: dict[str, list[str]], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        self._parts.setdefault(key, {})[int(query["partNumber"][0])] = body
        return 200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}

    def _internal(self, verb: str, said: dict[str, Any]) -> tuple[int, bytes, dict[str, str]]:
        answer: dict[str, Any] = {}
        if verb == "report":
            self.reports.append(said)
            log = said["log"]
            if log:
                self.log_end = log["offset"] + log["skipped"] + log["bytes"]
            answer = {"log_end": self.log_end}
        elif verb == "uploads":
            self.before_upload(said["path"])
            if "upload_id" not in said:
                self._parts[said["path"]] = {}
            count = max(1, -(-said["size"] // self.part_size))
            answer = {"upload_id": "u", "part_size": self.part_size, "urls": [
                f"{self.url}/s3/{said['path']}?partNumber={number}" for number in range(1, count + 1)]}
        elif verb == "complete":
            parts = self._parts[said["path"]]
            self.objects[said["path"]] = b"".join(parts[number] for number in sorted(parts))
            answer = {"size": len(self.objects[said["path"]])}
        elif verb == "inputs":
            answer = {"files": [file | {"url": f"{self.url}/s3/{quote(file['name'])}"} for file in self.inputs]} \
                if self.inputs else {"index_url": f"{self.url}/s3/index", "files": {
                    name: {"url": f"{self.url}/s3/{quote(name)}", "size": len(content)}
                    for name, content in self.sources.items() if name != "index"}}
        elif verb == "address":
            self.address = said
        elif verb == "facts" and self.refuses(said):
            return 422, b"", {}
        elif verb == "facts":
            self.facts = said
            self.heard.set()
        return 200, json.dumps(answer).encode(), {}
