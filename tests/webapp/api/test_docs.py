import importlib
import json
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
from pydantic import BaseModel

from shared.domain import specs
from tests.webapp.auth.test_permissions import ROUTES
from tests.webapp.test_idempotency import CREATING
from tests.webapp.web import Web
from webapp import openapi
from webapp.api import schemas
from webapp.api.resource import validate

MODULES = [specs, *(importlib.import_module(f"{schemas.__name__}.{each.name}")
                    for each in pkgutil.iter_modules(schemas.__path__))]
SHAPES = [(name, found) for module in MODULES for name, found in vars(module).items()
          if isinstance(found, type) and issubclass(found, BaseModel) and found.__module__ == module.__name__]


def walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from walk(each)


def test_describes_every_route_of_the_api_and_no_other(lonely: Web) -> None:
    described = lonely.app.test_client().get("/openapi.json").get_json()
    assert described["openapi"].startswith("3.1")
    found = {f"{method.upper()} {path}" for path, item in described["paths"].items() for method in item}
    assert found == {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route) for route in ROUTES if " /api/" in route}


def test_the_description_is_whole(lonely: Web) -> None:
    described = lonely.app.test_client().get("/openapi.json").get_json()
    schemas = described["components"]["schemas"]
    for node in walk(described):
        if isinstance(node.get("$ref"), str):
            assert node["$ref"].removeprefix("#/components/schemas/") in schemas
    for path, item in described["paths"].items():
        for method, operation in item.items():
            assert operation["summary"], path
            names = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
            assert names == set(re.findall(r"{(\w+)}", path)), path
            open_to_all = path.endswith(("/auth/login", "/auth/refresh"))
            assert ("security" in operation) is not open_to_all, (method, path)
    assert described["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    ids = [operation["operationId"] for item in described["paths"].values() for operation in item.values()]
    assert len(set(ids)) == len(ids)


def shows_its_values(schema: Any) -> bool:
    """Whether it has an example, or needs none: booleans, enums, constants, references."""
    if isinstance(schema, list):
        return any(shows_its_values(each) for each in schema)
    if not isinstance(schema, dict):
        return False
    if schema.keys() & {"example", "enum", "const", "$ref"} or schema.get("type") == "boolean":
        return True
    return any(shows_its_values(schema[part]) for part in ("anyOf", "items", "additionalProperties") if part in schema)


def test_every_field_is_described_with_an_example(lonely: Web) -> None:
    described = lonely.app.test_client().get("/openapi.json").get_json()
    fields = [(f"{name}.{field}", schema.get("description"), schema)
              for name, shape in described["components"]["schemas"].items()
              for field, schema in shape.get("properties", {}).items()]
    parameters = [(f"{method} {path} {each['name']}", each.get("description"), [each, each["schema"]])
                  for path, item in described["paths"].items() for method, operation in item.items()
                  for each in operation.get("parameters", [])]
    assert len(fields) > 250 and len(parameters) > 80
    assert [where for where, text, _ in fields + parameters if not text] == []
    assert [where for where, _, schema in fields + parameters if not shows_its_values(schema)] == []


def test_the_shapes_are_json_schemas_and_their_examples_fit_them(lonely: Web) -> None:
    described = lonely.app.test_client().get("/openapi.json").get_json()
    fields = [(f"{name}.{field}", schema) for name, shape in described["components"]["schemas"].items()
              for field, schema in [("", shape), *shape.get("properties", {}).items()]]
    parameters = [(f"{method} {path} {each['name']}", each["schema"]) for path, item in described["paths"].items()
                  for method, operation in item.items() for each in operation.get("parameters", [])]
    for where, schema in fields + parameters:
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema)
        if "example" in schema:
            fits = jsonschema_rs.Draft202012Validator(schema | {"components": described["components"]},
                                                      validate_formats=True)
            assert [error.message for error in fits.iter_errors(schema["example"])] == [], where


def shown(schema: dict[str, Any], shapes: dict[str, Any]) -> Any:
    """What Swagger UI shows of it: its example, or those of its fields."""
    if "$ref" in schema:
        schema = shapes[schema["$ref"].removeprefix("#/components/schemas/")]
    for word in ("example", "default"):
        if word in schema:
            return schema[word]
    if "enum" in schema:
        return schema["enum"][0]
    if "properties" in schema:
        return {name: shown(field, shapes) for name, field in schema["properties"].items()}
    assert schema["type"] == "boolean", schema
    return True


def test_every_body_is_shown_as_it_can_be_sent(lonely: Web) -> None:
    described = lonely.app.test_client().get("/openapi.json").get_json()
    bodies = {operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
              for item in described["paths"].values() for operation in item.values() if "requestBody" in operation}
    assert {"Login", "TemplateSpec", "SimulationSpec", "Announcement"} < bodies
    shapes = described["components"]["schemas"]
    for name in bodies:
        validate(dict(SHAPES)[name], shown(shapes[name], shapes))


def test_a_change_documents_no_defaults_for_what_is_not_stated_stays(lonely: Web) -> None:
    described = lonely.app.test_client().get("/openapi.json").get_json()
    shapes = described["components"]["schemas"]
    changes = [operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
               for item in described["paths"].values() for method, operation in item.items()
               if method == "patch"]
    assert sorted(changes) == ["BundleChange", "UserChanges"]
    assert [name for name in changes for field in shapes[name]["properties"].values() if "default" in field] == []


def test_headers_are_described_where_they_are(lonely: Web) -> None:
    described = lonely.app.test_client().get("/openapi.json").get_json()
    sent: dict[str, set[str]] = {}
    told: dict[str, set[str]] = {}
    for path, item in described["paths"].items():
        for method, operation in item.items():
            where = f"{method.upper()} {path.removeprefix('/api/v1')}"
            for each in operation.get("parameters", []):
                if each["in"] == "header":
                    sent.setdefault(each["name"], set()).add(where)
            for status, answer in operation["responses"].items():
                for name in answer.get("headers", {}):
                    told.setdefault(name, set()).add(where)
                assert (status in ("429", "503")) is ("Retry-After" in answer.get("headers", {})), where
    creating = {f"POST {path}" for path in CREATING}
    assert sent == {"Idempotency-Key": creating, "If-None-Match": {"GET /simulations/{id}/status"}}
    assert told["Idempotent-Replayed"] == creating
    assert told["ETag"] == sent["If-None-Match"]
    assert told["Location"] == creating - {"POST /auth/tokens"} | {
        "GET /instances/{id}/logs", "GET /instances/{id}/files/{name}", "GET /bundles/{id}/files/{name}"}


def test_no_two_shapes_have_one_name(lonely: Web) -> None:
    described = lonely.app.test_client().get("/openapi.json").get_json()["components"]["schemas"]
    names = [name for name, _ in SHAPES]
    assert [name for name, count in Counter(names).items() if count > 1 and name in described] == []


def test_problems_are_described_as_they_are(lonely: Web) -> None:
    client = lonely.app.test_client()
    described = client.get("/openapi.json").get_json()
    schema = {"$ref": "#/components/schemas/Problem", "components": described["components"]}
    jsonschema_rs.validate(schema, client.get("/api/v1/simulations").get_json(force=True))


def test_the_page_needs_nothing_from_elsewhere(lonely: Web) -> None:
    client = lonely.app.test_client()
    page = client.get("/docs")
    assert page.mimetype == "text/html"
    text = page.get_data(as_text=True)
    wanted = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert len(wanted) == 4
    assert not re.search(r"<script>|onload=|style=", text)
    for url in wanted:
        assert "//" not in url
        response = client.get("/" + url)
        assert response.status_code == 200
        response.close()
    assert client.get("/docs/assets/../../plugins.py").status_code == 404


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value of the document with where it is."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, f"{path} > {key}" if path else key)
    elif isinstance(node, list) and node:
        for place, value in enumerate(node):
            yield from leaves(value, f"{path}[{place}]")
    else:
        yield path, json.dumps(node)


def changes(before: Any, after: Any) -> list[str]:
    """What was removed, added and changed, a line each."""
    old, new = dict(leaves(before)), dict(leaves(after))
    return [*(f"- {path}: {old[path]}" for path in old if path not in new),
            *(f"+ {path}: {new[path]}" for path in new if path not in old),
            *(f"~ {path}: {old[path]} -> {new[path]}" for path in old if path in new and old[path] != new[path])]


def test_the_committed_description_is_that_of_the_api() -> None:
    kept = json.loads((Path(__file__).parents[3] / "docs" / "openapi.json").read_text())
    made = json.loads(openapi.text())
    told = changes(kept, made)
    assert told == [], "the API has changed; if it was meant to, run `make openapi`:\n" + "\n".join(told[:100])


def test_a_change_of_the_description_is_told_by_where_it_is() -> None:
    before = {"paths": {"/a": {"get": {}}, "/b": {"get": {"summary": "x"}}}}
    after = {"paths": {"/a": {"get": {}}, "/b": {"get": {"summary": "y"}, "post": {}}}}
    assert changes(before, after) == [
        "+ paths > /b > post: {}", '~ paths > /b > get > summary: "x" -> "y"']
    assert changes(after, before) == [
        "- paths > /b > post: {}", '~ paths > /b > get > summary: "y" -> "x"']


def test_every_refusal_is_described_by_its_own_name(lonely: Web) -> None:
    described = lonely.app.test_client().get("/openapi.json").get_json()
    seen = {(status, answer["description"]) for item in described["paths"].values() for operation in item.values()
            for status, answer in operation["responses"].items()}
    assert ("400", "Bad Request") in seen and ("503", "Service Unavailable") in seen
    assert len(seen) == len({status for status, _ in seen}) == len({description for _, description in seen})
