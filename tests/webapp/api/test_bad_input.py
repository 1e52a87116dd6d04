"""Everything that can be wrong with a request ends in a problem document that names it, and writes nothing."""

import io
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import Table, func, select

from shared.persistence import models
from shared.persistence.models import simulations, templates
from shared.settings import WebSettings
from tests.webapp.web import API, User, Web, make_settings, problem

JSON = {"content_type": "application/json"}
MIB = 1 << 20


def count(web: Web) -> tuple[int, ...]:
    with web.database.transaction() as tx:
        return tuple(tx.execute(select(func.count()).select_from(table)).scalar_one()
                     for table in (simulations, templates))


BODIES: dict[str, tuple[dict[str, Any], int, str]] = {
    "no body": ({}, 400, "bad_json"),
    "empty": (JSON | {"data": b""}, 400, "bad_json"),
    "broken": (JSON | {"data": b'{"template": '}, 400, "bad_json"),
    "not UTF-8": (JSON | {"data": b'{"template": "\xff"}'}, 400, "bad_json"),
    "NaN": (JSON | {"data": b'{"template": "t", "parameters": {"a": NaN}}'}, 400, "bad_json"),
    "infinite": (JSON | {"data": b'{"template": "t", "parameters": {"a": 1e999}}'}, 400, "bad_json"),
    "a key twice": (JSON | {"data": b'{"template": "t", "template": "u"}'}, 400, "bad_json"),
    "NUL": (JSON | {"data": rb'{"template": "t", "name": "a\u0000b"}'}, 400, "bad_json"),
    "NUL as key": (JSON | {"data": rb'{"template": "t", "parameters": {"a\u0000": 1}}'}, 400, "bad_json"),
    "half a pair": (JSON | {"data": rb'{"template": "t", "name": "\ud800"}'}, 400, "bad_json"),
    "1,000 deep": (JSON | {"data": b"[" * 1000 + b"]" * 1000}, 400, "bad_json"),
    "1,000 deep inside": (
        JSON | {"data": b'{"template": "t", "parameters": ' + b"[" * 1000 + b"]" * 1000 + b"}"}, 400, "bad_json"),
    "100,000 deep": (JSON | {"data": b'{"a":' * 100_000}, 400, "bad_json"),
    "a list": ({"json": []}, 422, "invalid"),
    "a string": ({"json": "x"}, 422, "invalid"),
    "null": (JSON | {"data": b"null"}, 422, "invalid"),
    "a number": (JSON | {"data": b"7"}, 422, "invalid"),
    "no content type": ({"data": b'{"template": "t"}'}, 415, "unsupported_media_type"),
    "a form": ({"data": {"template": "t"}}, 415, "unsupported_media_type"),
    "text": ({"data": b"{}", "content_type": "text/plain"}, 415, "unsupported_media_type"),
    "too large": (JSON | {"data": b'{"template": "' + b"t" * MIB + b'"}'}, 413, "too_large"),
    "far too large": (JSON | {"data": b" " * (9 * MIB)}, 413, "too_large"),
}


def test_a_body_that_cannot_be_read_is_refused_and_nothing_is_written(web: Web, operator: User) -> None:
    before = count(web)
    for what, (options, status, code) in BODIES.items():
        for path in ("/simulations", "/templates"):
            response = operator.open("POST", path, **options)
            assert response.status_code == status, (what, response.get_data())
            problem(response, status, code)
    assert count(web) == before


def test_a_chunked_body_has_the_same_limit(operator: User) -> None:
    response = operator.client.post(
        f"{API}/simulations", headers=operator.headers({}), content_type="application/json",
        environ_overrides={"wsgi.input": io.BytesIO(b" " * 2 * MIB), "wsgi.input_terminated": True,
                           "HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""})
    problem(response, 413, "too_large")


SPECS: dict[str, tuple[dict[str, Any], str]] = {
    "no template": ({"template": None}, "template"),
    "an unknown template": ({"template": "none"}, "template"),
    "an unknown version": ({"template": "{t}@99"}, "template"),
    "version 0": ({"template": "{t}@0"}, "template"),
    "a huge version": ({"template": "{t}@999999999"}, "template"),
    "no name at all": ({"template": "../etc"}, "template"),
    "an unknown field": ({"paramters": {}}, "paramters"),
    "a column of ours": ({"state": "SUCCEEDED"}, "state"),
    "an owner": ({"owner": "x"}, "owner"),
    "a parameter outside its schema": ({"parameters": {"speed": 9}}, "parameters.speed"),
    "an unknown parameter": ({"parameters": {"sped": 1}}, "parameters.sped"),
    "one outside in a grid": ({"parameters": {"speed": {"grid": [1, 9]}}}, "parameters.speed"),
    "parameters as a list": ({"parameters": [1]}, "parameters"),
    "a malformed range": ({"parameters": {"speed": {"range": [1, 2]}}}, "parameters.speed"),
    "a sweep over the ceiling": ({"parameters": {"speed": {"grid": [1] * 200}}, "repeats": 10}, "parameters"),
    "repeats over the ceiling": ({"repeats": 2000}, "parameters"),
    "no repeats": ({"repeats": 0}, "repeats"),
    "negative repeats": ({"repeats": -1}, "repeats"),
    "true repeats": ({"repeats": True}, "repeats"),
    "a negative limit": ({"limits": {"run_seconds": -1}}, "limits.run_seconds"),
    "a limit of zero": ({"limits": {"run_seconds": 0}}, "limits.run_seconds"),
    "a textual limit": ({"limits": {"run_seconds": "60"}}, "limits.run_seconds"),
    "an unknown limit": ({"limits": {"run": 1}}, "limits.run"),
    "a limit over the ceiling": ({"limits": {"run_seconds": 1000}}, "limits.run_seconds"),
    "a seed out of range": ({"seed": 2**31}, "seed"),
    "a negative seed": ({"seed": -1}, "seed"),
    "an unknown method": ({"method": "sobol"}, "method"),
    "random without samples": ({"method": "random"}, "samples"),
    "a hypercube without samples": ({"method": "latin_hypercube", "samples": None}, "samples"),
    "a grid with samples": ({"samples": 3}, "samples"),
    "a list with samples": ({"method": "list", "points": [{}], "samples": 3}, "samples"),
    "no samples": ({"method": "random", "samples": 0}, "samples"),
    "true samples": ({"method": "random", "samples": True}, "samples"),
    "samples over the ceiling": ({"method": "random", "samples": 501, "repeats": 2}, "samples"),
    "no choices": ({"method": "random", "samples": 3, "parameters": {"speed": []}}, "parameters.speed"),
    "one outside drawn": ({"method": "random", "samples": 9, "parameters": {"speed": {"uniform": [3, 4]}}},
                          "parameters.speed"),
    "points without list": ({"points": [{}]}, "points"),
    "list without points": ({"method": "list"}, "points"),
    "no points": ({"method": "list", "points": []}, "points"),
    "an unknown priority": ({"priority": "urgent"}, "priority"),
    "an unknown visibility": ({"visibility": "public"}, "visibility"),
    "no parallelism": ({"max_parallel": 0}, "max_parallel"),
    "inputs": ({"inputs": ["2f1c6f6e-0000-4000-8000-000000000000"]}, "inputs"),
    "an image": ({"image": "robot:1"}, "image"),
    "a bad label": ({"labels": {"a b": "x"}}, "labels.a b"),
    "a textual label list": ({"labels": ["a"]}, "labels"),
    "a number as label": ({"labels": {"a": 1}}, "labels.a"),
    "a reserved variable": ({"env": {"SIMYARD_SEED": "1"}}, "env"),
    "a bad variable": ({"env": {"1A": "x"}}, "env.1A"),
    "an empty name": ({"name": ""}, "name"),
    "a long name": ({"name": "x" * 201}, "name"),
}


def test_each_wrong_field_is_named(make_web: Callable[[WebSettings], Web], settings: WebSettings) -> None:
    web = make_web(settings.model_copy(update={"max_instances_per_simulation": 1000, "max_run_seconds": 600.0}))
    operator = web.user("operator")
    template = operator.template(parameters={"type": "object", "additionalProperties": False, "properties": {
        "speed": {"type": "number", "maximum": 2}}})
    before = count(web)
    for what, (fields, field) in SPECS.items():
        body = {"template": template} | fields
        if isinstance(body["template"], str):
            body["template"] = body["template"].replace("{t}", template)
        response = operator.open("POST", "/simulations", json=body)
        assert response.status_code == 422, (what, response.get_data())
        found = [error["field"] for error in response.get_json(force=True)["errors"]]
        assert any(name == field or name.startswith(field + ".") for name in found), (what, found)
    assert count(web) == before


def test_the_ceiling_is_told_with_the_number(make_web: Callable[[WebSettings], Web], settings: WebSettings) -> None:
    operator = make_web(settings.model_copy(update={"max_instances_per_simulation": 5})).user("operator")
    told = operator.post("/simulations", {"template": operator.template(), "repeats": 6}, status=422)
    assert told["code"] == "too_many_instances"
    assert "6 instances" in told["detail"] and "5" in told["detail"]
    assert "MAX_INSTANCES_PER_SIMULATION" in told["remedy"]


TEMPLATES: dict[str, tuple[dict[str, Any], str]] = {
    "neither image nor command": ({"command": None}, "command"),
    "an empty command": ({"command": []}, "command"),
    "an empty program": ({"command": [""]}, "command"),
    "a command line": ({"command": "/bin/true"}, "command"),
    "a number in the command": ({"command": ["/bin/true", 1]}, "command.1"),
    "a bad name": ({"name": "Not A Name"}, "name"),
    "an image without limits": ({"command": None, "image": "robot:1"}, "resources.memory_mb"),
    "negative memory": ({"resources": {"memory_mb": -1}}, "resources.memory_mb"),
    "an unknown resource": ({"resources": {"ram": 1}}, "resources.ram"),
    "an unknown signal": ({"stop": {"signal": "SIGKILL"}}, "stop.signal"),
    "an unknown reason": ({"retry": {"on": ["boredom"]}}, "retry.on.0"),
    "no schema": ({"parameters": {"type": "flaot"}}, "parameters.type"),
    "another dialect": ({"parameters": {"$schema": "x", "type": "object"}}, "parameters.$schema"),
    "a remote reference": ({"parameters": {"type": "object", "$ref": "http://127.0.0.1:9/"}}, "parameters"),
    "a default outside": ({"parameters": {"type": "object", "properties": {"a": {"type": "number", "default": "x"}}}},
                          "parameters.properties.a.default"),
    "a version": ({"version": 3}, "version"),
}


def test_each_wrong_field_of_a_template_is_named(web: Web, operator: User) -> None:
    before = count(web)
    for what, (fields, field) in TEMPLATES.items():
        response = operator.open("POST", "/templates", json={"name": "t", "command": ["/bin/true"]} | fields)
        assert response.status_code == 422, (what, response.get_data())
        assert field in [error["field"] for error in response.get_json(force=True)["errors"]], what
    assert count(web) == before


QUERIES: dict[str, tuple[int, str]] = {
    "/simulations?limit=0": (422, "limit"),
    f"/simulations/{uuid4()}/results?format=xlsx": (422, "format"),
    f"/simulations/{uuid4()}/results?limit=1": (422, "limit"),
    "/simulations?limit=201": (422, "limit"),
    "/simulations?limit=ten": (422, "limit"),
    "/simulations?limit=1&limit=2": (422, "limit"),
    "/simulations?state=DONE": (422, "state.0"),
    "/simulations?owner=me": (422, "owner"),
    "/simulations?label=nocolon": (422, "label.0"),
    "/simulations?label=:x": (422, "label.0"),
    "/simulations?colour=red": (422, "colour"),
    "/simulations?name=%00": (422, "name"),
    "/simulations?template=A%20B": (422, "template"),
    "/bundles?state=RUNNING": (422, "state.0"),
    "/bundles?template=x": (422, "template"),
    "/templates?state=RUNNING": (422, "state"),
    "/instances/{id}/logs?tail=-1": (422, "tail"),
    "/instances/{id}/logs?attempt=0": (422, "attempt"),
    "/instances/{id}/logs?follow=perhaps": (422, "follow"),
    "/simulations/{id}/status?x=1": (422, "x"),
    "/auth/me?x=1": (422, "x"),
}
CURSORS = ["x", "%00", "bnVsbA", "WzBd", "W10", "eyJhIjoxfQ", "WzEsMl0", "ä", "WyIyMDI2IiwgIngiXQ", "AAAA" * 10]


def test_each_wrong_query_parameter_is_named(operator: User) -> None:
    for query, (status, field) in QUERIES.items():
        response = operator.open("GET", query.replace("{id}", "2f1c6f6e-0000-4000-8000-000000000000"))
        assert response.status_code == status, (query, response.get_data())
        assert [error["field"] for error in response.get_json(force=True)["errors"]] == [field], query


def test_a_cursor_that_is_none_of_ours_is_400(operator: User) -> None:
    simulation = operator.submit()
    for path in ("/simulations", "/instances", "/bundles", "/templates", f"/simulations/{simulation}/instances"):
        for cursor in CURSORS:
            response = operator.open("GET", f"{path}?cursor={cursor}")
            if cursor == "%00":
                problem(response, 422, "invalid")
            elif (cursor, path.endswith("/instances") and path != "/instances") != ("WzBd", True):
                problem(response, 400, "bad_cursor")


@pytest.mark.parametrize(("method", "path", "status", "code"), [
    ("GET", "/nowhere", 404, "not_found"),
    ("GET", "/api/v1/nowhere", 404, "not_found"),
    ("GET", "/api/v1/simulations/7", 404, "not_found"),
    ("GET", "/api/v1/simulations/x/status", 404, "not_found"),
    ("DELETE", "/api/v1/simulations", 405, "method_not_allowed"),
    ("POST", "/", 405, "method_not_allowed"),
    ("GET", "/internal/attempts/x/1/report", 404, "not_found"),
])
def test_what_there_is_not_is_a_problem_too(lonely: Web, method: str, path: str, status: int, code: str) -> None:
    response = lonely.app.test_client().open(path, method=method)
    problem(response, status, code)
    assert ("Allow" in response.headers) is (status == 405)


def test_names_in_paths_cannot_hurt(viewer: User) -> None:
    for name in ("%00", "a%00b", "..", "%2e%2e", "'; DROP TABLE users", "%ff", "%ed%a0%80", "x" * 5000):
        problem(viewer.open("GET", f"/templates/{name}"), 404, "not_found")
    for number in ("0", "99999999999999999999", "-1", "x"):
        problem(viewer.open("GET", f"/templates/a/versions/{number}"), 404, "not_found")


def test_a_bad_idempotency_key_is_400(operator: User) -> None:
    for key in ("", " ", "a b", "x" * 256, "ä"):
        response = operator.open("POST", "/simulations", json={"template": "t"}, headers={"Idempotency-Key": key})
        problem(response, 400, "bad_request")


def test_with_every_server_down_it_is_503_and_says_which(lonely: Web) -> None:
    client = lonely.app.test_client()
    response = client.post(f"{API}/auth/login", json={"email": "a@b", "password": "x"})
    told = problem(response, 503, "redis_unavailable")
    assert told["retryable"] and "REDIS_URL" in told["remedy"]
    assert int(response.headers["Retry-After"]) > 0


def test_with_redis_down_a_submission_is_accepted_all_the_same(
        make_web: Callable[[WebSettings], Web], settings: WebSettings, operator: User) -> None:
    cut = make_web(settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:9/0")}))
    operator.client = cut.app.test_client()
    simulation = operator.submit()
    cut.settle()
    assert operator.get(f"/simulations/{simulation}/status")["counts"]["STARTING"] == 1


def test_an_unexpected_error_shows_no_trace(lonely: Web, caplog: pytest.LogCaptureFixture) -> None:
    app: Flask = lonely.app
    app.view_functions["plain.greeting"] = lambda: 1 / 0
    response = app.test_client().get("/", headers={"X-Request-Id": "abc-1"})
    problem(response, 500, "internal_error")
    assert "ZeroDivisionError" in caplog.text
    assert response.headers["X-Request-Id"] == "abc-1"


def test_a_missing_secret_stops_the_process_naming_it() -> None:
    with pytest.raises(ValueError, match="SECRET_KEY"):
        make_settings(secret_key="short")


FILE = {"name": "a.db3", "size": 1, "sha256": "0" * 64}
CREATING: dict[str, tuple[dict[str, Any], list[Table]]] = {
    "/simulations": ({"template": "t"}, [models.simulations, models.jobs]),
    "/simulations/{id}/retry": ({}, [models.simulations, models.jobs]),
    "/templates": ({"name": "t", "command": ["/bin/true"]}, [models.templates, models.template_versions]),
    "/bundles": ({"name": "b", "files": [FILE]}, [models.bundles, models.bundle_uploads]),
    "/playbacks": ({"bundle": str(uuid4())}, [models.jobs, models.attempts, models.bundles]),
    "/auth/tokens": ({"name": "t", "scopes": ["read"]}, [models.api_tokens, models.users]),
    "/auth/login": ({"email": "a@b", "password": "x"}, [models.users]),
}


@pytest.mark.parametrize("path", CREATING)
def test_no_column_can_be_slipped_in(web: Web, operator: User, path: str) -> None:
    body, tables = CREATING[path]
    document = web.app.api_doc
    schema = document["paths"][API + path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    fields = document["components"]["schemas"][schema.rsplit("/", 1)[-1]]["properties"]
    columns = {column.name for table in tables for column in table.c} - set(fields)
    assert {"id", "created_at"} <= columns
    for column in sorted(columns):
        told = operator.post(path.format(id=uuid4()), body | {column: 1}, status=422)
        message = {each["field"]: each["message"] for each in told["errors"]}[column]
        assert message.startswith("there is no such field; "), column
