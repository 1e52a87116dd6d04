"""What a request may be at most: taken at the limit, refused by field one past it, and ten times past it."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.webapp.web import User, problem

MIB = 1 << 20
FILE = {"name": "a.db3", "size": 1, "sha256": "0" * 64}


def name() -> str:
    return f"t{uuid4().hex}"


def simulation(user: User, **fields: Any) -> tuple[str, dict[str, Any]]:
    return "/simulations?dry_run=true", {"template": user.template()} | fields


def template(user: User, **fields: Any) -> tuple[str, dict[str, Any]]:
    return "/templates", {"name": name(), "command": ["/bin/true"]} | fields


def token(user: User, **fields: Any) -> tuple[str, dict[str, Any]]:
    return "/auth/tokens", {"name": "t", "scopes": ["read"]} | fields


def bundle(user: User, **fields: Any) -> tuple[str, dict[str, Any]]:
    return "/bundles", {"name": "b", "files": [FILE]} | fields


Asked = Callable[[User, int], tuple[str, dict[str, Any]]]

LIMITS: dict[str, tuple[int, Asked]] = {
    "name of a simulation": (200, lambda user, size: simulation(user, name="x" * size)),
    "labels": (50, lambda user, size: simulation(user, labels={f"k{n}": "v" for n in range(size)})),
    "name of a label": (63, lambda user, size: simulation(user, labels={"k" * size: "v"})),
    "value of a label": (200, lambda user, size: simulation(user, labels={"k": "v" * size})),
    "variables": (100, lambda user, size: simulation(user, env={f"V{n}": "" for n in range(size)})),
    "name of a variable": (128, lambda user, size: simulation(user, env={"V" * size: ""})),
    "value of a variable": (4096, lambda user, size: simulation(user, env={"V": "x" * size})),
    "repeats": (100_000, lambda user, size: simulation(user, repeats=size)),
    "samples": (100_000, lambda user, size: simulation(user, method="random", samples=size)),
    "values of a grid": (100_000, lambda user, size: simulation(user, parameters={"a": {"grid": [0] * size}})),
    "values of a range": (100_000, lambda user, size: simulation(user, parameters={"a": {"range": [1, size, 1]}})),
    "seed": (2**31 - 1, lambda user, size: simulation(user, seed=size)),
    "seconds to run": (86_400, lambda user, size: simulation(user, limits={"run_seconds": size})),
    "seconds to queue": (31_536_000, lambda user, size: simulation(user, limits={"queue_seconds": size})),
    "name of a template": (63, lambda user, size: template(user, name=(name() + "x" * 640)[:size])),
    "description": (1000, lambda user, size: template(user, description="x" * size)),
    "words of a command": (256, lambda user, size: template(user, command=["x"] * size)),
    "a word of a command": (4096, lambda user, size: template(user, command=["x" * size])),
    "memory": (65_536, lambda user, size: template(user, resources={"memory_mb": size})),
    "attempts": (20, lambda user, size: template(user, retry={"max_attempts": size})),
    "grace": (3600, lambda user, size: template(user, stop={"grace_seconds": size})),
    "bytes of a schema": (65_536, lambda user, size: template(user, parameters={
        "type": "object", "description": "x" * (size - 37)})),
    "name of a token": (200, lambda user, size: token(user, name="x" * size)),
    "scopes": (20, lambda user, size: token(user, scopes=["read"] * size)),
    "name of a bundle": (200, lambda user, size: bundle(user, name="x" * size)),
    "bytes of a bundle": (5 << 40, lambda user, size: bundle(user, files=[FILE | {"size": size}])),
    "name of a file": (255, lambda user, size: bundle(user, files=[FILE | {"name": "x" * (size - 4) + ".db3"}])),
    "bytes of a file's name": (255, lambda user, size: bundle(user, files=[FILE | {
        "name": "x" * ((size - 4) % 2) + "ä" * ((size - 4) // 2) + ".db3"}])),
}


@pytest.mark.parametrize("what", LIMITS)
def test_a_limit_holds_at_it_past_it_and_far_past_it(operator: User, what: str) -> None:
    limit, asked = LIMITS[what]
    path, body = asked(operator, limit)
    response = operator.open("POST", path, json=body)
    assert response.status_code in (200, 201), response.get_data(as_text=True)
    assert response.get_json(force=True).get("accepted", True), response.get_data(as_text=True)
    for size in (limit + 1, 10 * limit):
        path, body = asked(operator, size)
        response = operator.open("POST", path, json=body)
        if "dry_run" in path and response.status_code == 200:
            told = response.get_json()
            assert told["accepted"] is False and told["refused"][0]["field"], size
        elif response.status_code == 413:
            assert size > limit + 1, "what is one past a limit is told by its field"
        else:
            assert problem(response, 422, response.get_json(force=True)["code"])["errors"], size


@pytest.mark.parametrize(("size", "status"), [(MIB, 200), (MIB + 1, 413), (10 * MIB, 413)])
def test_a_body_has_a_mebibyte_at_most(operator: User, size: int, status: int) -> None:
    body = f'{{"template": "{operator.template()}"}}'.encode()
    padded = body + b" " * (size - len(body))
    response = operator.open("POST", "/simulations?dry_run=true", data=padded, content_type="application/json")
    assert response.status_code == status


@pytest.mark.parametrize("path", ["/simulations", "/instances", "/templates", "/bundles", "/auth/tokens"])
@pytest.mark.parametrize(("limit", "status"), [(1, 200), (200, 200), (201, 422), (2000, 422), (0, 422), (-1, 422)])
def test_a_page_has_200_items_at_most(operator: User, path: str, limit: int, status: int) -> None:
    operator.get(f"{path}?limit={limit}", status=status)
