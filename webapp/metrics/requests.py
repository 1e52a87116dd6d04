"""How long requests took, by route. Hooks call `observe` after every one, so it must cost next to nothing."""

from http import HTTPMethod

from prometheus_client import CollectorRegistry, Histogram

METHODS = frozenset(HTTPMethod)
BUCKETS = (.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10)
OTHER = "other"  # so that what strangers make up makes no new series


class Requests:
    """A histogram of seconds by method, route and status."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "simyard_http_request_duration_seconds",
            "Seconds until the answer began, by the route's rule; a stream's end is not waited for.",
            ("method", "route", "status"), buckets=BUCKETS, registry=registry)
        self._series: dict[tuple[str, str, int], Histogram] = {}  # found quicker than by labels()

    def observe(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """A request was answered. `route`: the rule it matched, None when it matched none."""
        key = method if method in METHODS else OTHER, route or OTHER, status
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._seconds.labels(*key)
        series.observe(seconds)
