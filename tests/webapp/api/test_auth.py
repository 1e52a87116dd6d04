import gc
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, update

from shared.persistence.models import users
from tests.webapp.web import API, PASSWORD, User, Web, problem
from webapp.problems import Unauthenticated
from webapp.queries import users as queries


def login(web: Web, email: str, password: str = PASSWORD):  # type: ignore[no-untyped-def]
    return web.app.test_client().post(f"{API}/auth/login", json={"email": email, "password": password})


def test_logging_in_gives_a_pair_that_works(web: Web, operator: User) -> None:
    response = login(web, operator.email)
    assert response.status_code == 200
    pair = response.get_json()
    assert set(pair) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (pair["token_type"], pair["expires_in"]) == ("bearer", 1800)
    assert response.headers["Cache-Control"] == "no-store"
    operator.access = pair["access_token"]
    assert operator.get("/auth/me")["email"] == operator.email


def test_the_address_is_taken_without_regard_to_case(web: Web) -> None:
    web.user("viewer", "ada@example.com")
    assert login(web, " Ada@Example.COM ").status_code == 200


def test_a_wrong_password_and_an_unknown_user_are_told_alike(web: Web, viewer: User) -> None:
    wrong = problem(login(web, viewer.email, "wrong"), 401, "bad_credentials")
    assert wrong == problem(login(web, "nobody@example.com"), 401, "bad_credentials")


def test_no_refused_login_is_kept_in_memory(web: Web, viewer: User) -> None:
    problem(login(web, viewer.email, "wrong"), 401, "bad_credentials")
    viewer.post("/auth/logout", status=204)
    viewer.get("/auth/me", status=401)
    gc.collect()
    kept = [each.code for each in gc.get_objects() if isinstance(each, Unauthenticated)]
    assert not {"bad_credentials", "token_revoked"} & set(kept)


@pytest.mark.parametrize("body", [
    {}, {"email": "a@b"}, {"email": "a@b", "password": 7}, {"email": "a@b", "password": "x", "role": "admin"},
    {"email": "a@b", "password": "x" * 2000}, {"email": None, "password": "x"},
])
def test_a_malformed_login_names_its_fields(lonely: Web, body: object) -> None:
    response = lonely.app.test_client().post(f"{API}/auth/login", json=body)
    assert problem(response, 422, "invalid")["errors"]


def test_logging_out_ends_that_login_alone(web: Web, viewer: User) -> None:
    other = login(web, viewer.email).get_json()
    assert viewer.post("/auth/logout", status=204) is None
    client = web.app.test_client()
    refused = client.post(f"{API}/auth/refresh", json={"refresh_token": viewer.refresh})
    problem(refused, 401, "token_expired")
    problem(viewer.open("GET", "/auth/me"), 401, "token_revoked")
    viewer.access = other["access_token"]
    viewer.get("/auth/me")
    assert client.post(f"{API}/auth/refresh", json={"refresh_token": other["refresh_token"]}).status_code == 200


def expire_caches(web: Web) -> None:
    """As if half a minute had passed."""
    web.parts.accounts._cache.clear()


def test_a_deleted_user_loses_access(web: Web, viewer: User) -> None:
    with web.database.transaction() as tx:
        tx.execute(delete(users).where(users.c.id == viewer.id))
    expire_caches(web)
    viewer.get("/auth/me", status=401)
    refused = web.app.test_client().post(f"{API}/auth/refresh", json={"refresh_token": viewer.refresh})
    problem(refused, 401, "unauthenticated")


def test_who_is_disabled_while_he_is_looked_up_is_not_kept_as_he_was(
        web: Web, admin: User, viewer: User, monkeypatch: pytest.MonkeyPatch) -> None:
    by_id = queries.by_id

    def late(tx: Any, user: UUID) -> Any:
        row = by_id(tx, user)
        monkeypatch.undo()
        admin.patch(f"/users/{viewer.id}", {"disabled": True})
        return row

    monkeypatch.setattr("webapp.auth.accounts.users.by_id", late)
    web.parts.accounts.read(viewer.id)
    viewer.get("/auth/me", status=401)


def test_a_changed_role_counts_not_the_tokens(web: Web, admin: User) -> None:
    with web.database.transaction() as tx:
        tx.execute(update(users).where(users.c.id == admin.id).values(role="viewer"))
    expire_caches(web)
    assert admin.get("/auth/me")["role"] == "viewer"
    admin.post("/simulations", {"template": "x"}, status=403)


def test_me_shows_no_secret(viewer: User) -> None:
    me = viewer.get("/auth/me")
    assert set(me) == {"id", "email", "role", "created_at", "quota", "token"}
    assert me["token"] is None
    assert UUID(me["id"]) == viewer.id


def test_json_ends_with_its_line(web: Web, viewer: User, operator: User) -> None:
    simulation = operator.submit()
    for path in ("/auth/me", "/simulations", f"/simulations/{simulation}", f"/simulations/{simulation}/status",
                 f"/simulations/{simulation}/results", "/templates/none"):
        assert viewer.open("GET", path).get_data().endswith(b"}\n"), path
    for path in ("/", "/health/live", "/health/db"):
        assert web.app.test_client().get(path).get_data().endswith(b"}\n"), path


def test_what_is_no_access_token_is_told_in_our_words(web: Web) -> None:
    client = web.app.test_client()
    for token in ("x", "x.y.z", "a.b", "ü"):
        told = problem(client.get(f"{API}/auth/me", headers={"Authorization": f"Bearer {token}"}),
                       401, "unauthenticated")
        assert told["detail"] == "this is no access token of ours"
