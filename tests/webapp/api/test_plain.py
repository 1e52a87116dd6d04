import re
from collections.abc import Callable

import pytest

from shared.settings import WebSettings
from tests.webapp.web import Web

HEALTHY = {"/health/redis": {"status": "healthy", "redis": "connected"},
           "/health/db": {"status": "healthy", "database": "connected"},
           "/health/storage": {"status": "healthy", "storage": "connected"},
           "/health/ready": {"status": "healthy", "database": "connected"}}


def test_greets_as_it_always_did(lonely: Web) -> None:
    assert lonely.app.test_client().get("/").get_json() == {"message": "Robot Simulator Backend API"}


def test_is_healthy_with_its_servers(web: Web) -> None:
    web.connections.store.make_bucket()
    for path, body in HEALTHY.items():
        response = web.app.test_client().get(path)
        assert (response.status_code, response.get_json()) == (200, body), path


def test_is_unhealthy_without_them_but_alive(lonely: Web) -> None:
    client = lonely.app.test_client()
    for path, body in HEALTHY.items():
        response = client.get(path)
        assert response.status_code == 503, path
        assert response.get_json() == {name: "unhealthy" if name == "status" else "disconnected" for name in body}
    for path in ("/health/live", "/health", "/up"):
        assert (client.get(path).status_code, client.get(path).get_json()) == (200, {"status": "healthy"})


def test_a_bucket_that_is_missing_or_refuses_us_is_unhealthy(
        make_web: Callable[[WebSettings], Web], settings: WebSettings) -> None:
    for change in ({"minio_bucket": "nobody-made-this"}, {"minio_secret_key": type(settings.secret_key)("wrong" * 4)}):
        client = make_web(settings.model_copy(update=change)).app.test_client()
        assert client.get("/health/storage").status_code == 503


def test_ready_needs_the_database_alone(make_web: Callable[[WebSettings], Web], settings: WebSettings) -> None:
    cut = make_web(settings.model_copy(update={"redis_url": type(settings.secret_key)("redis://127.0.0.1:9/0")}))
    client = cut.app.test_client()
    assert client.get("/health/ready").status_code == 200
    assert client.get("/health/redis").status_code == 503


@pytest.mark.parametrize(("given", "kept"), [
    ("abc-1.x_Y", True), ("a b", False), ("x" * 65, False), ("a\u00e4", False)])
def test_a_sane_request_id_is_kept_any_other_replaced(lonely: Web, given: str, kept: bool) -> None:
    answered = lonely.app.test_client().get("/up", headers={"X-Request-Id": given}).headers["X-Request-Id"]
    assert (answered == given) is kept
    assert kept or re.fullmatch("[0-9a-f]{32}", answered)


def test_every_answer_carries_the_headers_that_keep_browsers_safe(lonely: Web) -> None:
    for path in ("/", "/docs", "/nowhere", "/api/v1/simulations", "/openapi.json"):
        headers = lonely.app.test_client().get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"]
