import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from shared.persistence.models import api_tokens
from tests.webapp.web import API, User, Web, problem
from webapp import writes
from webapp.api.schemas.auth import ApiToken, MadeToken, Me
from webapp.auth.api_tokens import RESOURCES, SCOPE, allows, smallest


def made(user: User, *scopes: str, **fields: Any) -> User:
    """The user as seen by his program, which has such a token."""
    token = user.post("/auth/tokens", {"name": "ci", "scopes": list(scopes)} | fields, status=201)
    MadeToken.model_validate_json(str(token).replace("'", '"').replace("None", "null"))
    return User(user.id, user.email, user.role, user.client, token["token"], token["id"])


def test_a_token_is_shown_once_and_kept_as_a_digest(web: Web, operator: User) -> None:
    program = made(operator, "read")
    assert program.access.startswith("simyard_") and len(program.access) > 50
    [listed] = operator.get("/auth/tokens")["items"]
    ApiToken.model_validate(listed)
    assert program.access not in str(listed)
    with web.database.transaction() as tx:
        assert program.access not in str(tx.execute(select(api_tokens)).all())


def test_a_program_acts_as_its_owner_within_its_scopes(web: Web, operator: User) -> None:
    template = operator.template()
    program = made(operator, "simulations:write")
    simulation = program.submit(template)
    assert program.get(f"/simulations/{simulation}")["owner"] == str(operator.id)
    program.get("/instances")
    assert program.get("/auth/me")["id"] == str(operator.id)
    problem(program.open("GET", "/templates"), 403, "scope")
    problem(program.open("GET", "/bundles"), 403, "scope")
    reader = made(operator, "read")
    reader.get("/templates")
    problem(reader.open("POST", f"/simulations/{simulation}/cancel"), 403, "scope")


def test_no_token_has_more_than_its_owner(web: Web, viewer: User, operator: User) -> None:
    problem(made(viewer, "write").open("POST", "/templates", json={}), 403, "forbidden")
    problem(made(operator, "admin").open("GET", "/users"), 403, "forbidden")


def test_an_admins_token_is_an_operators_unless_it_says_otherwise(web: Web, admin: User, operator: User) -> None:
    hidden = operator.submit(visibility="private")
    problem(made(admin, "read", "write").open("GET", f"/simulations/{hidden}"), 404, "not_found")
    problem(made(admin, "read", "write").open("GET", "/users"), 403, "scope")
    program = made(admin, "admin")
    program.get(f"/simulations/{hidden}")
    program.get("/users")


def test_a_program_can_neither_make_tokens_nor_log_out(operator: User) -> None:
    program = made(operator, "admin")
    for method, path in (("POST", "/auth/tokens"), ("GET", "/auth/tokens"), ("POST", "/auth/logout"),
                         ("POST", "/auth/logout-all"), ("DELETE", f"/auth/tokens/{program.refresh}")):
        problem(program.open(method, path), 403, "login_needed")


def test_a_deleted_token_is_void(web: Web, operator: User) -> None:
    program = made(operator, "read")
    program.get("/auth/me")
    operator.delete(f"/auth/tokens/{program.refresh}")
    problem(program.open("GET", "/auth/me"), 401, "token_expired")
    operator.delete(f"/auth/tokens/{program.refresh}", status=404)


def test_a_token_that_is_deleted_while_it_is_looked_up_is_void(
        web: Web, operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    program, use_token = made(operator, "read"), writes.use_token

    def late(tx: Any, digest: str) -> Any:
        row = use_token(tx, digest)
        monkeypatch.undo()
        operator.delete(f"/auth/tokens/{program.refresh}")
        return row

    monkeypatch.setattr("webapp.auth.api_tokens.writes.use_token", late)
    web.parts.api_tokens.identify(program.access)
    problem(program.open("GET", "/auth/me"), 401, "token_expired")


def test_nobody_deletes_anothers_token(operator: User, admin: User) -> None:
    program = made(operator, "read")
    admin.delete(f"/auth/tokens/{program.refresh}", status=404)
    program.get("/auth/me")


def test_a_token_expires(web: Web, operator: User) -> None:
    program = made(operator, "read", expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    program.get("/auth/me")
    with web.database.transaction() as tx:
        tx.execute(update(api_tokens).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    web.parts.api_tokens._cache.clear()
    problem(program.open("GET", "/auth/me"), 401, "token_expired")


def test_its_use_is_written_down(operator: User) -> None:
    program = made(operator, "read")
    assert operator.get("/auth/tokens")["items"][0]["last_used_at"] is None
    program.get("/auth/me")
    assert operator.get("/auth/tokens")["items"][0]["last_used_at"]


@pytest.mark.parametrize("fields", [
    {"scopes": []}, {"scopes": ["all"]}, {"scopes": ["users:write"]}, {"scopes": ["simulations:admin"]},
    {"scopes": "read"}, {"name": ""}, {"expires_at": "2001-01-01T00:00:00Z"}, {"expires_at": "2101-01-01T00:00:00"},
    {"expires_at": "soon"}, {"token": "mine"}])
def test_a_malformed_token_is_refused_by_field(operator: User, fields: dict[str, Any]) -> None:
    told = operator.post("/auth/tokens", {"name": "ci", "scopes": ["read"]} | fields, status=422)
    assert told["errors"][0]["field"].split(".")[0] == next(iter(fields))


@pytest.mark.parametrize("token", ["simyard_", "simyard_x", "simyard_" + "a" * 43, "simyard_" + "a" * 44,
                                   "simyard_" + "a" * 42 + "\u00e4"])
def test_what_only_looks_like_a_token_is_refused(web: Web, token: str) -> None:
    told = web.app.test_client().get(f"{API}/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert told.status_code == 401


@pytest.mark.parametrize(("scopes", "resource", "role", "allowed"), [
    (["read"], "bundles", "viewer", True), (["read"], "bundles", "operator", False),
    (["write"], "bundles", "viewer", True), (["write"], "bundles", "operator", True),
    (["write"], "users", "admin", False), (["admin"], "users", "admin", True), (["admin"], "bundles", "viewer", True),
    (["bundles:read"], "bundles", "viewer", True), (["bundles:read"], "simulations", "viewer", False),
    (["bundles:write"], "bundles", "operator", True), (["bundles:write"], "templates", "operator", False)])
def test_what_scopes_open(scopes: list[str], resource: str, role: str, allowed: bool) -> None:
    assert allows(scopes, resource, role) is allowed


def test_a_program_is_told_what_it_may_and_for_how_long(admin: User) -> None:
    program = made(admin, "simulations:write", "templates:read", expires_at="2099-01-01T00:00:00Z")
    me = program.get("/auth/me")
    Me.model_validate(me)
    assert me["role"] == program.get("/auth/verify")["role"] == "operator"
    assert me["token"] == {"id": program.refresh, "name": "ci", "scopes": ["simulations:write", "templates:read"],
                           "expires_at": "2099-01-01T00:00:00.000000Z"}


def test_who_lacks_a_scope_is_told_which(operator: User) -> None:
    program = made(operator, "simulations:write", "templates:read")
    for method, path, needed in (("GET", "/bundles", "bundles:read"), ("POST", "/templates", "templates:write"),
                                 ("GET", "/users", "admin"), ("POST", "/playbacks", "playbacks:write")):
        told = problem(program.open(method, path, json={}), 403, "forbidden" if needed == "admin" else "scope")
        if needed != "admin":
            assert f"the scope {needed}" in told["detail"]
            assert "simulations:write, templates:read" in told["detail"] and needed in told["remedy"]


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
@pytest.mark.parametrize("resource", RESOURCES)
def test_the_scope_that_is_named_would_do_and_is_the_smallest(role: str, resource: str) -> None:
    named = smallest(resource, role)
    assert allows([named], resource, role)
    assert not any(allows([named], other, role) for other in RESOURCES if other != resource) or named == "admin"
    assert re.fullmatch(SCOPE, named)
