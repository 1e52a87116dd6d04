"""GET /metrics over real servers: what Prometheus reads there, and what is left of it when they are down."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.domain.states import Kind, State
from shared.messaging.failures import KEY
from shared.persistence.queries import hold_lease
from shared.settings import WebSettings
from tests.waiting import until
from tests.webapp.web import User, Web
from webapp.metrics import readings

DOCUMENT = Path(__file__).parents[3] / "docs/monitoring.md"
SECONDS = "simyard_http_request_duration_seconds"


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "KEPT_SECONDS", 0.0)


class Scrape:
    """One answer of /metrics."""

    def __init__(self, web: Web) -> None:
        response = web.app.test_client().get("/metrics")
        assert response.status_code == 200
        assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
        self.families = {each.name: each for each in text_string_to_metric_families(response.get_data(as_text=True))}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """Of the one sample with these labels; None when there is none."""
        found = [sample.value for sample in self.samples if sample.name == name and sample.labels == labels]
        assert len(found) <= 1, f"{name} {labels} is there {len(found)} times"
        return found[0] if found else None

    def labels(self, name: str) -> set[str]:
        return {label for sample in self.samples if sample.name == name for label in sample.labels}


def test_jobs_are_told_by_kind_and_state_zeros_too(web: Web, operator: User) -> None:
    operator.submit(repeats=6)
    web.settle()
    scrape = Scrape(web)
    told = {(kind, state): scrape.value("simyard_jobs", kind=kind, state=state) for kind in Kind for state in State}
    assert told == dict.fromkeys(told, 0) | {(Kind.INSTANCE, State.STARTING): 4, (Kind.INSTANCE, State.QUEUED): 2}
    assert [scrape.value("simyard_queue_load", queue=queue) for queue in ("launch", "playback", "ingest", "upkeep")] \
        == [4, 0, 0, 0]
    assert scrape.value("simyard_queue_depth", kind="instance") == 2
    assert (scrape.value("simyard_slots", kind="instance"), scrape.value("simyard_slots_used", kind="instance")) \
        == (4, 4)


def test_the_load_falls_as_tasks_are_done_and_moves_on_to_upkeep(web: Web, operator: User) -> None:
    [job] = web.jobs(operator.submit())
    web.start(job)
    assert Scrape(web).value("simyard_queue_load", queue="launch") == 0
    web.move(job, State.RUNNING, State.COLLECTING, outcome="success")
    assert Scrape(web).value("simyard_queue_load", queue="upkeep") == 1


def test_phases_of_what_ended_are_timed(web: Web, operator: User) -> None:
    [job] = web.jobs(operator.submit())
    web.start(job)
    web.finish(job)
    scrape = Scrape(web)
    for phase in ("waiting", "starting", "running", "collecting"):
        labels = {"kind": "instance", "phase": phase}
        assert scrape.value("simyard_job_phase_seconds_count", **labels) == 1
        quantiles = [scrape.value("simyard_job_phase_seconds", quantile=str(each), **labels)
                     for each in (0.5, 0.95, 0.99)]
        assert quantiles == [scrape.value("simyard_job_phase_seconds_sum", **labels)] * 3
    assert scrape.value("simyard_job_phase_seconds_count", kind="ingest", phase="running") == 0


def test_who_leads_and_how_recorders_ended_are_told(web: Web, operator: User) -> None:
    assert Scrape(web).value("simyard_watcher_leads", host="") == 0
    [job] = web.jobs(operator.submit())
    web.start(job)
    web.finish(job)  # its recorder has said nothing
    with web.database.transaction() as tx:
        hold_lease(tx, "watcher", "a:1:2", timedelta(minutes=1))
    scrape = Scrape(web)
    assert scrape.value("simyard_watcher_leads", host="a") == 1
    assert [scrape.value("simyard_recorders", end=end) for end in ("well", "replaced", "failed")] == [0, 0, 1]


def test_requests_are_timed_by_the_rule_of_their_route(web: Web, viewer: User) -> None:
    for _ in range(3):
        viewer.get(f"/simulations/{uuid4()}", status=404)
    for path in ("/nowhere", "/.env", f"/{uuid4()}"):
        web.app.test_client().get(path)
    web.app.test_client().open("/up", method="BREW")
    scrape = Scrape(web)
    rule = "/api/v1/simulations/<uuid:id>"
    assert scrape.value(f"{SECONDS}_count", method="GET", route=rule, status="404") == 3
    assert scrape.value(f"{SECONDS}_bucket", method="GET", route=rule, status="404", le="+Inf") == 3
    assert scrape.value(f"{SECONDS}_count", method="GET", route="other", status="404") == 3
    assert scrape.value(f"{SECONDS}_count", method="other", route="other", status="405") == 1
    routes = {sample.labels["route"] for sample in scrape.samples if sample.name == f"{SECONDS}_count"}
    assert routes <= {rule.rule for rule in web.app.url_map.iter_rules()} | {"other"}


def test_a_stream_is_timed_until_it_begins_and_counted_while_it_lasts(web: Web, operator: User) -> None:
    simulation = operator.submit()
    response = operator.open("GET", f"/simulations/{simulation}/events")
    route = "/api/v1/simulations/<uuid:id>/events"
    scrape = Scrape(web)
    assert scrape.value(f"{SECONDS}_count", method="GET", route=route, status="200") == 1
    assert scrape.value("simyard_sse_streams") == 1
    response.close()
    assert Scrape(web).value("simyard_sse_streams") == 0


def test_connections_are_told_by_pool(web: Web) -> None:
    with web.database.transaction(), web.database.transaction(), web.database.single():
        scrape = Scrape(web)
        pools = {(pool, state): scrape.value("simyard_database_pool", pool=pool, state=state)
                 for pool in ("transaction", "single") for state in ("size", "checked_out")}
    assert pools == {("transaction", "size"): 10, ("transaction", "checked_out"): 2, ("single", "size"): 10,
                     ("single", "checked_out"): 1}


def test_failed_calls_of_every_process_are_told(
        make_web: Callable[[WebSettings], Web], web: Web, settings: WebSettings) -> None:
    web.connections.redis.delete(KEY)
    web.connections.failures.count("runtime", "start")
    broken = make_web(settings.model_copy(update={"minio_endpoint": "127.0.0.1:9"}))
    assert broken.app.test_client().get("/health/storage").status_code == 503

    def both() -> bool:
        scrape = Scrape(web)
        return [scrape.value("simyard_call_errors_total", part=part, call=call)
                for part, call in (("storage", "ping"), ("runtime", "start"))] == [1, 1]

    assert until(both)


def test_without_the_database_the_rest_is_told(
        make_web: Callable[[WebSettings], Web], settings: WebSettings) -> None:
    cut = make_web(settings.model_copy(update={
        "database_url": type(settings.database_url)("postgresql+psycopg2://nobody:x@127.0.0.1:9/none")}))
    scrape = Scrape(cut)
    assert (scrape.value("simyard_up", part="database"), scrape.value("simyard_up", part="redis")) == (0, 1)
    assert "simyard_jobs" not in scrape.families
    assert "simyard_call_errors" in scrape.families
    assert scrape.value("simyard_info", version="0.1.0", runtime="local") == 1


def test_without_any_server_it_answers_still(lonely: Web) -> None:
    scrape = Scrape(lonely)
    assert (scrape.value("simyard_up", part="database"), scrape.value("simyard_up", part="redis")) == (0, 0)
    assert scrape.value("simyard_sse_streams") == 0
    assert scrape.value("process_open_fds")


def rows_of_the_document() -> dict[str, tuple[str, set[str]]]:
    """Metric -> its type and labels, as the table of docs/monitoring.md has them."""
    found: dict[str, Any] = {}
    for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", DOCUMENT.read_text(), re.MULTILINE):
        found[name] = kind, set(re.findall(r"`(\w+)`", labels))
    return found


def test_the_document_lists_what_there_is_and_nothing_else(web: Web, operator: User) -> None:
    [job] = web.jobs(operator.submit())
    web.start(job)
    web.finish(job)
    web.connections.failures.count("storage", "stat")
    until(lambda: Scrape(web).labels("simyard_call_errors_total"))
    told = {}
    for family in Scrape(web).families.values():
        if not family.name.startswith("process_"):  # the client's own
            name = family.name + ("_total" if family.type == "counter" else "")
            told[name] = family.type, {label for sample in family.samples for label in sample.labels} - {"le"}
    assert rows_of_the_document() == told
