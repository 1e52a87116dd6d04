"""What `GET /metrics` answers. Hooks tell of every request; the rest is asked for at the scrape."""

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from shared.connections import Connections
from shared.settings import WebSettings
from webapp.metrics.gauges import Gauges
from webapp.metrics.requests import Requests
from webapp.streams.hub import Hub

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Metrics:
    """The metrics of one application."""

    def __init__(self, settings: WebSettings, connections: Connections, hub: Hub) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # else a series more for each route
        self._registry = CollectorRegistry()
        self.requests = Requests(self._registry)
        self._registry.register(Gauges(settings, connections, hub))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """All of them, in CONTENT_TYPE. Never fails: what is not known is left out."""
        return generate_latest(self._registry)
