"""One connection to the API server: reads requests, asks the registry, and writes answers and streams."""

import json
import select
import socket
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.cluster import podlogs, schema
from tests.cluster.faults import Answer, Call
from tests.cluster.refusals import KINDS, Refusal, bad_request, expired, forbidden, no_such_path
from tests.cluster.selectors import select_fields, select_labels
from tests.cluster.store import Version
from tests.cluster.watches import Selection, Watch, bookmark

if TYPE_CHECKING:
    from tests.cluster.apiserver import ApiServer

MAX_BODY = 3 << 20
_VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "PUT": "update"}
_DOCUMENTS: dict[str, dict[str, Any]] = {
    "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.2", "gitCommit": "", "gitTreeState": "clean",
                 "buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.26", "compiler": "gc",
                 "platform": "linux/amd64"},
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [
        {"name": "namespaces", "singularName": "namespace", "namespaced": False, "kind": "Namespace",
         "verbs": ["create", "delete", "get", "list", "patch", "watch"]},
        {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod",
         "verbs": ["create", "delete", "get", "list", "patch", "watch"]},
        {"name": "pods/log", "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get"]},
        {"name": "pods/status", "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get", "patch"]}]},
    "/readyz": {"status": "ok"},
}


class HungUp(Exception):
    """The connection is to be closed without another word."""


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1; everything up to the answer is in `_serve`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    answer: Answer = "given"

    @property
    def api(self) -> "ApiServer":
        api: ApiServer = self.server.api  # type: ignore[attr-defined]
        return api

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PATCH(self) -> None:
        self._serve("PATCH")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def _serve(self, method: str) -> None:
        try:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.api.wait_while_hanging() or not self.api.running:
                raise HungUp
            self._route(method, raw)
        except Refusal as refusal:
            self._refuse(refusal)
        except (HungUp, ConnectionError):
            self.close_connection = True

    def _route(self, method: str, raw: bytes) -> None:
        parts = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        call = self._parse_call(method, parts.path)
        self.api.calls.append(call)
        answer = self.api.faults.take(call)
        self._authorize(call)
        if not call.resource:
            self._send(200, json.dumps(_DOCUMENTS[parts.path.rstrip("/")]).encode())
            return
        self.answer = answer
        if len(raw) > MAX_BODY:
            raise Refusal(413, "RequestEntityTooLarge", f"Request entity too large: limit is {MAX_BODY}")
        getattr(self, f"_{call.verb}")(call, raw)

    def _parse_call(self, method: str, path: str) -> Call:
        if path.rstrip("/") in _DOCUMENTS and method == "GET":
            return Call("get", "", "", "", "")
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[:2] != ["api", "v1"] or len(parts) > 7:
            raise no_such_path()
        match parts[2:]:
            case ["namespaces", namespace, "pods", *rest]:
                resource = "pods"
            case ["namespaces", *rest]:
                resource, namespace = "namespaces", ""
            case ["pods"]:
                resource, namespace, rest = "pods", "", []
            case _:
                raise no_such_path()
        name, subresource = [*rest, "", ""][:2]
        if subresource and (resource, subresource) not in (("pods", "log"), ("pods", "status")):
            raise no_such_path()
        return Call(self._verb(method, bool(name)), resource, subresource, namespace, name)

    def _verb(self, method: str, named: bool) -> str:
        if method == "GET":
            watching = self.query.get("watch", "").lower() in ("true", "1")
            return "get" if named else "watch" if watching else "list"
        if named == (method == "POST") or method == "PUT":
            raise Refusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        return _VERBS[method]

    def _authorize(self, call: Call) -> None:
        if self.api.token is not None and self.headers.get("Authorization") != f"Bearer {self.api.token}":
            raise Refusal(401, "Unauthorized", "Unauthorized")
        what = f"{call.resource}/{call.subresource}" if call.subresource else call.resource
        if not call.resource or self.api.allowed is None or (call.verb, what) in self.api.allowed:
            return
        namespace = call.namespace or (call.name if call.resource == "namespaces" else "")
        where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
        raise forbidden(call.resource, call.name, f'User "{self.api.user}" cannot {call.verb} resource "{what}" in API '
                        f'group ""{where}')

    def _create(self, call: Call, raw: bytes) -> None:
        if self._media_type() not in ("application/json", ""):
            raise Refusal(415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted "
                          "media types include: application/json, application/yaml, "
                          "application/vnd.kubernetes.protobuf")
        time.sleep(self.api.create_seconds)
        version = self.api.registry.create(
            call.resource, call.namespace or None, _parse(raw), strict=self._is_strict(),
            dry_run=self.query.get("dryRun") == "All")
        self._send(201, version.document)

    def _get(self, call: Call, raw: bytes) -> None:
        version = self.api.registry.get(call.resource, call.namespace, call.name)
        if call.subresource == "log":
            self._send_log(version)
        else:
            self._send(200, version.document)

    def _patch(self, call: Call, raw: bytes) -> None:
        self._refuse_dry_run()
        version = self.api.registry.patch(
            call.resource, call.namespace, call.name, self._media_type(), _parse(raw),
            status=call.subresource == "status", strict=self._is_strict())
        self._send(200, version.document)

    def _delete(self, call: Call, raw: bytes) -> None:
        self._refuse_dry_run()
        options = schema.shape_options(_parse(raw) if raw else {})
        if "dryRun" in options:
            raise bad_request("this server knows dryRun of create only")
        grace = options.get("gracePeriodSeconds", self._number("gracePeriodSeconds"))
        conditions = options.get("preconditions") or {}
        version = self.api.registry.delete(
            call.resource, call.namespace, call.name, grace_seconds=grace, uid=conditions.get("uid"),
            resource_version=conditions.get("resourceVersion"))
        self._send(200, version.document)

    def _list(self, call: Call, raw: bytes) -> None:
        self._check_revision()
        if self.query.get("continue") and self.query.get("resourceVersion") not in (None, "", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        if self.query.get("resourceVersionMatch") == "Exact" and (
                self.query.get("resourceVersion") != str(self.api.registry.store.revision)):
            raise expired("The resourceVersion for the provided list is too old.")
        found, revision, following, left = self.api.registry.page(
            self._selection(call), self._number("limit") or 0, self.query.get("continue", ""))
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if following:
            metadata |= {"continue": following, **({} if left is None else {"remainingItemCount": left})}
        head = {"kind": f"{KINDS[call.resource]}List", "apiVersion": "v1", "metadata": metadata}
        items = b",".join(version.item for version in found)
        self._send(200, json.dumps(head).encode()[:-1] + b',"items":[' + items + b"]}")

    def _watch(self, call: Call, raw: bytes) -> None:
        if "sendInitialEvents" in self.query:
            raise bad_request("sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
        selection, since = self._selection(call), self._revision()
        try:
            with self.api.registry.store.watch(selection, since or None) as watch:
                self._begin_stream("application/json")
                self._send_events(watch)
        except Refusal as gone:
            if self.api.faults.gone_as == "status":
                raise
            self._begin_stream("application/json")
            self._chunk(json.dumps({"type": "ERROR", "object": gone.body()}).encode() + b"\n")
        self._end_stream()

    def _send_events(self, watch: Watch) -> None:
        seconds = self._number("timeoutSeconds") or 1800
        bookmarks = self.query.get("allowWatchBookmarks", "").lower() in ("true", "1")
        now = time.monotonic()
        end, mark = now + seconds, now + self.api.bookmark_seconds
        while now < end:
            lines = watch.take(min(end - now, mark - now if bookmarks else 1800, 0.5))
            now = time.monotonic()
            if self.api.wait_while_hanging() or not self.api.running or self._is_left():
                raise HungUp
            if lines is None:
                return
            if lines:
                self._chunk(b"".join(lines))
            elif bookmarks and now >= min(mark, end) and (told := watch.told) is not None:
                self._chunk(bookmark(watch.selection.resource, told))
            mark = now + self.api.bookmark_seconds if now >= mark else mark

    def _selection(self, call: Call) -> Selection:
        labels, fields = self.query.get("labelSelector", ""), self.query.get("fieldSelector", "")
        return Selection(call.resource, call.namespace or None, select_labels(labels), select_fields(fields),
                         is_narrow=bool(labels or fields))

    def _revision(self) -> int:
        text = self.query.get("resourceVersion") or "0"
        if not text.isdigit():
            raise bad_request(f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": '
                              "invalid syntax")
        return int(text)

    def _check_revision(self) -> None:
        """Of a list: a watch from a revision of the future waits for it without a word."""
        asked, current = self._revision(), self.api.registry.store.revision
        if asked > current:
            raise Refusal(504, "Timeout", f"Timeout: Too large resource version: {asked}, current: {current}",
                          retry_after=1)

    def _send_log(self, pod: Version) -> None:
        if unknown := {"previous", "sinceSeconds", "sinceTime", "timestamps"} & set(self.query):
            raise bad_request(f"the logs of this server know nothing of {', '.join(unknown)}")
        container = podlogs.choose_container(pod.body, self.query.get("container", ""))
        path, _ = self.api.logs(pod.body, container)
        first = podlogs.find_start(path, self.api.log_limit, self._number("tailLines"))
        if self.query.get("follow", "").lower() not in ("true", "1"):
            self._send(200, podlogs.read(path, first, self._number("limitBytes")), "text/plain")
            return
        self._begin_stream("text/plain")
        for block in podlogs.follow(path, first, lambda: self.api.logs(pod.body, container)[1]):
            if self._is_left() or not self.api.running:
                raise HungUp
            if block:
                self._chunk(block)
        self._end_stream()

    def _number(self, name: str) -> int | None:
        text = self.query.get(name, "")
        if text and not text.removeprefix("-").isdigit():
            raise bad_request(f"{name}: strconv.ParseInt: parsing {text!r}: invalid syntax")
        return int(text) if text else None

    def _media_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip()

    def _is_strict(self) -> bool:
        return self.query.get("fieldValidation") == "Strict"

    def _refuse_dry_run(self) -> None:
        if "dryRun" in self.query:
            raise bad_request("this server knows dryRun of create only")

    def _is_left(self) -> bool:
        """Whether the client has hung up."""
        if not select.select([self.connection], [], [], 0)[0]:
            return False
        return not self.connection.recv(1, socket.MSG_PEEK)

    def _refuse(self, refusal: Refusal) -> None:
        after = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
        self.answer = "given"
        if refusal.is_plain:
            self._send(refusal.code, refusal.message.encode() + b"\n", "text/plain; charset=utf-8", **after)
        else:
            self._send(refusal.code, json.dumps(refusal.body()).encode(), **after)

    def _send(self, code: int, body: bytes, media_type: str = "application/json", **headers: str) -> None:
        while self.answer == "stalled" and self.api.running and not self._is_left():
            time.sleep(0.01)
        if self.answer != "given":
            raise HungUp
        self.send_response_only(code)
        self.send_header("Date", self.date_time_string())
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _begin_stream(self, media_type: str) -> None:
        # What a slow client leaves in here is not counted as its slowness.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        self.send_response_only(200)
        self.send_header("Date", self.date_time_string())
        self.send_header("Content-Type", media_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _end_stream(self) -> None:
        self.wfile.write(b"0\r\n\r\n")


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from None
