"""Traces of a whole stack, as a collector receives them."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.stack import Stack
from tests.waiting import until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass(frozen=True)
class Span:
    service: str
    name: str
    trace: str
    id: str
    parent: str


class Collector:
    """Takes spans over OTLP/HTTP on a free port of the loopback."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                collector.take(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            [service] = [each.value.string_value for each in resource.resource.attributes if each.key == "service.name"]
            self.spans += [Span(service, span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                           for scope in resource.scope_spans for span in scope.spans]

    def find(self, service: str, name: str, trace: str) -> Span | None:
        return next((span for span in self.spans if (span.service, span.name, span.trace) == (service, name, trace)),
                    None)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def test_one_trace_goes_from_a_request_through_the_broker_into_a_task(collector: Collector, tmp_path: Path) -> None:
    with Stack(tmp_path / "data", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="50") as stack:
        made = stack.post("/simulations", {"template": stack.template("/bin/true")}, status=202,
                          traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
        assert [instance["state"] for instance in stack.ended(made["id"])] == ["SUCCEEDED"]
        request = until(lambda: collector.find("simyard-web", "POST /api/v1/simulations", TRACE))
        task = until(lambda: collector.find("simyard-worker", "run/simyard.launch", TRACE))
        assert until(lambda: [span for span in collector.spans if span.service == "simyard-watcher"])
    assert request.parent == "00f067aa0ba902b7"
    sent = collector.find("simyard-web", "apply_async/simyard.launch", TRACE)
    assert sent is not None
    assert (sent.parent, task.parent) == (request.id, sent.id)
    kinds = {(span.service, span.name.split()[0]) for span in collector.spans if span.trace == TRACE}
    assert kinds >= {("simyard-web", "INSERT"), ("simyard-web", "LPUSH"), ("simyard-worker", "UPDATE")}
    written = [json.loads(line) for line in (tmp_path / "data/logs/web.log").read_text().splitlines() if "{" in line]
    [line] = [line for line in written if "POST /api/v1/simulations 202" in line["message"]]
    assert line["trace"] == TRACE
