"""The log line of a request and the ids on it."""

import json
import logging
from collections.abc import Callable
from uuid import uuid4

import pytest

from shared.logs import JsonFormatter
from tests.webapp.web import Web, make_settings
from webapp import hooks

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(JsonFormatter())
    return caplog


def test_every_line_of_a_request_has_its_ids(lonely: Web, lines: pytest.LogCaptureFixture) -> None:
    job = uuid4()
    response = lonely.app.test_client().post(
        f"/internal/attempts/{job}/2/report", json={}, headers={
            "X-Request-Id": "mine", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "Authorization": "Bearer x"})
    assert response.status_code == 503
    said = [json.loads(line) for line in lines.text.splitlines()]
    assert [line["logger"] for line in said] == ["webapp.problems"]
    for line in said:
        assert (line["request"], line["trace"], line["job"], line["attempt"]) == ("mine", TRACE, str(job), "2")


def test_ids_of_one_request_are_not_on_the_lines_of_the_next(lonely: Web, lines: pytest.LogCaptureFixture) -> None:
    client = lonely.app.test_client()
    client.get("/nowhere", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "X-Request-Id": "first"})
    client.get("/nowhere", headers={"traceparent": "nonsense", "X-Request-Id": "second"})
    first, second = (json.loads(line) for line in lines.text.splitlines())
    assert (first["request"], first["trace"]) == ("first", TRACE)
    assert second["request"] == "second"
    assert "trace" not in second


def test_a_proxy_that_is_not_stated_is_warned_of_once(
        make_web: Callable[..., Web], lines: pytest.LogCaptureFixture) -> None:
    hooks._warn_of_a_proxy.cache_clear()
    for proxies, headers, warned in ((1, {"X-Forwarded-For": "192.0.2.1"}, 0), (0, {}, 0),
                                     (0, {"X-Forwarded-For": "192.0.2.1"}, 1), (0, {"X-Forwarded-For": "x"}, 1)):
        make_web(make_settings(trusted_proxies=proxies)).app.test_client().get("/up", headers=headers)
        assert lines.text.count("TRUSTED_PROXIES") == warned
