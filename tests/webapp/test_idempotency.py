"""Every route that creates, with an Idempotency-Key."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Table, func, select

from shared.persistence.models import api_tokens, bundles, idempotency_keys, jobs, templates, users
from tests.webapp.api.test_bundles import add_bundle
from tests.webapp.web import API, PASSWORD_HASH, User, Web, make_settings, problem
from webapp.api.schemas.users import NewUser
from webapp.idempotency import key_of_request

KEY = {"Idempotency-Key": "k"}
FILE = {"name": "a.db3", "size": 1, "sha256": "0" * 64}
ADA = {"email": "ada@example.com", "password": "long enough", "max_queued": 7}
TOKEN = {"name": "ci", "scopes": ["read"], "expires_at": "2099-01-01T02:00:00+02:00"}

Body = Callable[[Web, User], dict[str, Any]]

CREATING: dict[str, tuple[Table, Body]] = {  # path: what counts the made ones, a body
    "/simulations": (jobs, lambda web, user: {"template": user.template()}),
    "/templates": (templates, lambda web, user: {"name": "t", "command": ["/bin/true"]}),
    "/bundles": (bundles, lambda web, user: {"name": "b", "files": [FILE]}),
    "/playbacks": (jobs, lambda web, user: {"bundle": str(add_bundle(web, user.id, index_key="index"))}),
    "/users": (users, lambda web, user: ADA),
    "/auth/tokens": (api_tokens, lambda web, user: TOKEN),
}


def count(web: Web, table: Table) -> int:
    with web.database.transaction() as tx:
        found: int = tx.execute(select(func.count()).select_from(table)).scalar_one()
    return found


@pytest.mark.parametrize("path", CREATING)
def test_many_at_once_with_one_key_make_one(
        web: Web, admin: User, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.api.users.hash_password", lambda _: PASSWORD_HASH)  # 50 of them need 2 GB
    table, body_of = CREATING[path]
    body, headers = body_of(web, admin), admin.headers({}) | KEY
    before = count(web, table)

    def post(_: int) -> tuple[int, Any, bool]:
        response = web.app.test_client().post(API + path, json=body, headers=headers)
        return response.status_code, response.get_json(), "Idempotent-Replayed" in response.headers

    with ThreadPoolExecutor(50) as threads:
        found = list(threads.map(post, range(50)))
    assert found[0][0] in (201, 202), found[0]
    assert all(each[:2] == found[0][:2] for each in found)
    assert [replayed for *_, replayed in found].count(False) == 1
    assert count(web, table) == before + 1


@pytest.mark.parametrize("path", CREATING)
def test_who_waited_for_the_first_request_is_told_that_his_is_a_replay(
        web: Web, admin: User, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = CREATING[path][1](web, admin)
    monkeypatch.setattr("webapp.idempotency.Key.known", lambda *_: None)  # as when the first is still under way
    first, again = (admin.open("POST", path, json=body, headers=KEY) for _ in range(2))
    assert first.status_code in (201, 202)
    assert (first.status_code, first.get_json()) == (again.status_code, again.get_json())
    assert first.headers.get("Location") == again.headers.get("Location")
    assert ["Idempotent-Replayed" in each.headers for each in (first, again)] == [False, True]


@pytest.mark.parametrize(("path", "change"), [
    ("/users", {"password": "another one"}), ("/auth/tokens", {"expires_at": None})])
def test_a_key_with_another_body_is_refused_and_makes_nothing(
        web: Web, admin: User, path: str, change: dict[str, Any]) -> None:
    table, body_of = CREATING[path]
    body = body_of(web, admin)
    admin.post(path, body, status=201, headers=KEY)
    before = count(web, table)
    problem(admin.open("POST", path, json=body | change, headers=KEY), 422, "idempotency_mismatch")
    assert count(web, table) == before


def test_a_refusal_leaves_the_key_unused(admin: User, viewer: User) -> None:
    body = {"email": viewer.email, "password": "long enough"}
    problem(admin.open("POST", "/users", json=body, headers=KEY), 409, "name_taken")
    admin.post("/users", body | {"email": "free@example.com"}, status=201, headers=KEY)


def test_a_new_user_is_answered_as_it_is_found(admin: User) -> None:
    made = admin.post("/users", ADA, status=201, headers=KEY)
    assert admin.get(f"/users/{made['id']}") == made


def test_a_token_is_answered_again_and_kept_nowhere(web: Web, operator: User) -> None:
    first, again = (operator.post("/auth/tokens", TOKEN, status=201, headers=KEY) for _ in range(2))
    assert first == again
    assert operator.get("/auth/tokens")["items"] == [{name: first[name] for name in first if name != "token"}]
    program = User(operator.id, operator.email, operator.role, web.app.test_client(), first["token"], "")
    assert program.get("/auth/me")["token"]["id"] == first["id"]
    with web.database.transaction() as tx:
        kept = str([tx.execute(select(table)).all() for table in (idempotency_keys, api_tokens)])
    assert first["id"] in kept
    assert first["token"].removeprefix("simyard_") not in kept


def test_the_token_of_a_replay_is_dead_when_it_was_deleted(web: Web, operator: User) -> None:
    first = operator.post("/auth/tokens", TOKEN, status=201, headers=KEY)
    operator.delete(f"/auth/tokens/{first['id']}")
    assert operator.post("/auth/tokens", TOKEN, status=201, headers=KEY) == first
    assert operator.get("/auth/tokens")["items"] == []
    program = User(operator.id, operator.email, operator.role, web.app.test_client(), first["token"], "")
    problem(program.open("GET", "/auth/me"), 401, "token_expired")


def test_what_is_kept_of_a_request_needs_the_secret_key_to_check_a_guess(lonely: Web) -> None:
    def kept(secret: str, body: dict[str, Any]) -> str:
        with lonely.app.test_request_context(f"{API}/users", method="POST", headers=KEY):
            key = key_of_request(make_settings(secret_key=secret), UUID(int=1), NewUser.model_validate(body))
        assert key is not None
        return key.request

    assert kept("a" * 32, ADA) == kept("a" * 32, dict(reversed(ADA.items())))
    assert len({kept("a" * 32, ADA), kept("b" * 32, ADA), kept("a" * 32, ADA | {"password": "a guess of it"})}) == 3
