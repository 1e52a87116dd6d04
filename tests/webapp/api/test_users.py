from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, insert, select, update

from shared.persistence.models import bundles, jobs, users
from tests.webapp.web import API, User, Web, problem
from webapp.api.schemas import users as schemas
from webapp.auth.throttle import FREE_BY_ACCOUNT


def new(admin: User, **fields: Any) -> Any:
    body = {"email": f"{uuid4().hex}@example.com", "password": "long enough"} | fields
    return admin.post("/users", body, status=201)


def login(web: Web, email: str, password: str) -> Any:
    return web.app.test_client().post(f"{API}/auth/login", json={"email": email, "password": password})


def test_a_new_user_can_log_in(web: Web, admin: User) -> None:
    made = new(admin, email="Ada@Example.com", role="operator")
    schemas.User.model_validate(made)
    assert (made["email"], made["role"], made["disabled"]) == ("ada@example.com", "operator", False)
    assert login(web, "ada@example.com", "long enough").status_code == 200
    assert admin.get(f"/users/{made['id']}") == made


def test_a_user_without_a_role_may_read(admin: User) -> None:
    assert new(admin)["role"] == "viewer"


def test_an_address_is_taken_once(admin: User) -> None:
    made = new(admin)
    told = admin.post("/users", {"email": made["email"].upper(), "password": "long enough"}, status=409)
    assert (told["code"], told["errors"][0]["field"]) == ("name_taken", "email")


def test_users_are_listed_newest_first_and_found(web: Web, admin: User) -> None:
    made = [new(admin, role="operator") for _ in range(3)]
    page = admin.get("/users?role=operator&limit=2")
    schemas.UserList.model_validate(page)
    rest = admin.get(f"/users?role=operator&limit=2&cursor={page['next']}")
    assert page["items"] + rest["items"] == made[::-1]
    assert admin.get(f"/users?email={made[0]['email'][:20]}")["items"] == [made[0]]


def test_a_role_counts_at_once(web: Web, admin: User, viewer: User) -> None:
    viewer.post("/templates", {"name": "x", "command": ["/bin/true"]}, status=403)
    assert admin.patch(f"/users/{viewer.id}", {"role": "operator"})["role"] == "operator"
    viewer.template()


def test_another_password_ends_all_logins(web: Web, admin: User, viewer: User) -> None:
    admin.patch(f"/users/{viewer.id}", {"password": "another one"})
    problem(viewer.open("GET", "/auth/me"), 401, "token_revoked")
    assert login(web, viewer.email, "another one").status_code == 200


def test_who_is_disabled_is_out_and_can_come_back(web: Web, admin: User, operator: User) -> None:
    token = operator.post("/auth/tokens", {"name": "ci", "scopes": ["read"]}, status=201)["token"]
    assert admin.patch(f"/users/{operator.id}", {"disabled": True})["disabled"]
    operator.get("/auth/me", status=401)
    told = web.app.test_client().get(f"{API}/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert told.status_code == 401
    problem(login(web, operator.email, "a password"), 401, "bad_credentials")
    admin.patch(f"/users/{operator.id}", {"disabled": False})
    assert login(web, operator.email, "a password").status_code == 200


def test_what_is_not_stated_stays(admin: User) -> None:
    made = new(admin, role="operator", max_running=3, max_stored_bytes=10**12)
    assert admin.patch(f"/users/{made['id']}", {}) == made
    assert admin.patch(f"/users/{made['id']}", {"max_running": None}) == made | {"max_running": None}


def test_a_deleted_user_leaves_his_things(web: Web, admin: User, operator: User) -> None:
    simulation = operator.submit()
    token = operator.post("/auth/tokens", {"name": "ci", "scopes": ["read"]}, status=201)["token"]
    admin.delete(f"/users/{operator.id}")
    assert admin.get(f"/simulations/{simulation}")["id"] == simulation
    operator.get("/auth/me", status=401)
    told = web.app.test_client().get(f"{API}/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert told.status_code == 401
    problem(login(web, operator.email, "a password"), 401, "bad_credentials")
    told = web.app.test_client().post(f"{API}/auth/refresh", json={"refresh_token": operator.refresh})
    assert told.status_code == 401
    assert operator.email not in [each["email"] for each in admin.get("/users")["items"]]
    admin.delete(f"/users/{operator.id}", status=404)
    admin.get(f"/users/{operator.id}", status=404)
    admin.patch(f"/users/{operator.id}", {"role": "viewer"}, status=404)


def test_the_address_of_a_deleted_user_is_free_at_once_and_what_was_his_is_not_the_next_ones(
        web: Web, admin: User, operator: User) -> None:
    simulation = operator.submit(visibility="private")
    admin.delete(f"/users/{operator.id}")
    made = new(admin, email=operator.email, role="operator")
    assert made["id"] != str(operator.id)
    pair = login(web, operator.email, "long enough").get_json(force=True)
    heir = User(made["id"], made["email"], "operator", web.app.test_client(), pair["access_token"], "")
    heir.get(f"/simulations/{simulation}", status=404)
    admin.post("/users", {"email": operator.email, "password": "long enough"}, status=409)


def test_deleting_a_user_waits_for_none_of_his_jobs(web: Web, admin: User, operator: User) -> None:
    [job] = web.jobs(operator.submit())
    web.settle()
    with web.database.transaction() as tx:  # as an end does: first the job, then a bundle of its owner
        tx.execute(select(jobs.c.id).where(jobs.c.id == job).with_for_update(key_share=True))
        tx.execute(insert(bundles).values(
            id=uuid4(), name="b", owner=operator.id, visibility="team", state="READY", digest="d"))
        admin.delete(f"/users/{operator.id}")
    admin.get(f"/users/{operator.id}", status=404)


def test_there_is_always_an_admin(web: Web, admin: User) -> None:
    with web.database.transaction() as tx:
        tx.execute(update(users).where(users.c.id != admin.id).values(role="viewer"))
    for change in ({"role": "operator"}, {"disabled": True}):
        assert admin.patch(f"/users/{admin.id}", change, status=409)["code"] == "last_admin"
    assert admin.delete(f"/users/{admin.id}", status=409)["code"] == "last_admin"
    second = web.user("admin")
    admin.patch(f"/users/{admin.id}", {"role": "operator"})
    assert second.delete(f"/users/{second.id}", status=409)["code"] == "last_admin"


@pytest.mark.parametrize("body", [
    {"email": "x", "password": "long enough"}, {"email": "a@b", "password": "short"}, {"email": "a@b"},
    {"email": "a@b", "password": "long enough", "role": "god"},
    {"email": "a@b", "password": "long enough", "max_running": -1},
    {"email": "a@b", "password": "long enough", "max_running": "4"},
    *({"email": "a@b", "password": "long enough", column: "x"} for column in sorted(
        {column.name for column in users.c} - {"email", "role", "max_running", "max_queued", "max_stored_bytes"}))])
def test_a_malformed_user_is_refused_and_no_column_is_slipped_in(web: Web, admin: User, body: dict[str, Any]) -> None:
    assert admin.post("/users", body, status=422)["errors"]
    with web.database.transaction() as tx:
        assert tx.execute(select(func.count()).select_from(users)).scalar_one() == 1


def test_a_user_shows_no_secret(admin: User, operator: User) -> None:
    assert not {"password", "password_hash", "session_version"} & set(admin.get(f"/users/{operator.id}"))


# -- the audit trail --------------------------------------------------------------------------------------------------

def test_what_was_done_is_found_in_the_trail(web: Web, admin: User, operator: User) -> None:
    template = operator.template()
    operator.open("POST", "/users", json={})
    admin.patch(f"/users/{operator.id}", {"role": "viewer", "password": "a new secret"})
    page = admin.get("/audit")
    schemas.AuditList.model_validate(page)
    changed, refused, made = page["items"]
    assert (made["path"], made["status"], made["user"]) == (f"{API}/templates", 201, str(operator.id))
    assert (refused["path"], refused["status"]) == (f"{API}/users", 403)
    assert changed["detail"] == {"role": "viewer", "password": "changed"}
    assert (changed["email"], changed["method"]) == (admin.email, "PATCH")
    assert "a new secret" not in str(page) and template not in str(page)
    assert changed["number"] > refused["number"] > made["number"]


def test_tries_to_log_in_are_in_the_trail(web: Web, admin: User, viewer: User) -> None:
    login(web, viewer.email, "wrong")
    login(web, viewer.email, "a password")
    good, bad = admin.get(f"/audit?path={API}/auth")["items"]
    assert (bad["status"], bad["user"]) == (401, None)
    assert bad["detail"] == {"email": viewer.email, "refused": "bad_credentials"}
    assert (good["status"], good["address"]) == (200, "127.0.0.1")
    assert "wrong" not in str(bad) and "a password" not in str(good)


def test_reading_and_bad_requests_are_not_in_the_trail(admin: User, operator: User) -> None:
    operator.get("/simulations")
    operator.post("/simulations", {}, status=422)
    operator.post(f"/simulations/{uuid4()}/cancel", status=404)
    assert admin.get(f"/audit?user={operator.id}")["items"] == []


def test_a_refused_request_to_any_path_is_in_the_trail(admin: User, viewer: User) -> None:
    problem(viewer.open("DELETE", "/templates/a%00b%ff"), 403, "forbidden")
    [entry] = admin.get("/audit")["items"]
    assert (entry["path"], entry["status"]) == (f"{API}/templates/a\ufffdb\ufffd", 403)


def test_what_keeps_an_entry_from_being_written_keeps_no_request(
        operator: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no entry")

    monkeypatch.setattr("webapp.audit.writes.add_audit", fail)
    operator.template()
    assert "not written to the audit trail" in caplog.text and "ValueError: no entry" in caplog.text


def test_who_has_to_wait_does_not_fill_the_trail(
        web: Web, admin: User, operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.auth.throttle.FIRST_WAIT_SECONDS", 1000)
    monkeypatch.setattr("webapp.auth.throttle.LONGEST_WAIT_SECONDS", 1000)
    admin.patch(f"/users/{operator.id}", {"max_queued": 0})
    template, before = operator.template(), admin.get("/audit")["items"]
    operator.post("/simulations", {"template": template}, status=429)
    assert admin.get("/audit")["items"] == before
    email = f"{uuid4()}@example.com"
    codes = [login(web, email, "wrong").status_code for _ in range(FREE_BY_ACCOUNT + 2)]
    assert codes == [401] * FREE_BY_ACCOUNT + [429] * 2
    tries = admin.get(f"/audit?path={API}/auth/login")["items"]
    assert [(item["status"], item["detail"]) for item in tries] == [
        (401, {"email": email, "refused": "bad_credentials"})] * FREE_BY_ACCOUNT


def test_the_trail_is_read_page_by_page(admin: User, operator: User) -> None:
    for _ in range(3):
        operator.template()
    first = admin.get(f"/audit?user={operator.id}&limit=2")
    second = admin.get(f"/audit?user={operator.id}&limit=2&cursor={first['next']}")
    assert len(first["items"]) == 2 and len(second["items"]) == 1 and second["next"] is None
    problem(admin.open("GET", "/audit?cursor=eyJ4Ijox"), 400, "bad_cursor")


def test_a_program_is_told_by_its_token(admin: User, operator: User) -> None:
    token = operator.post("/auth/tokens", {"name": "ci", "scopes": ["write"]}, status=201)
    User(operator.id, operator.email, "operator", operator.client, token["token"], "").template()
    assert admin.get("/audit")["items"][0]["token"] == token["id"]


def test_a_refused_refresh_is_in_the_trail_of_the_user_and_a_good_one_is_not(
        web: Web, admin: User, viewer: User) -> None:
    client = web.app.test_client()

    def refresh(token: str) -> Any:
        return client.post(f"{API}/auth/refresh", json={"refresh_token": token}).get_json(force=True)

    refresh(refresh(viewer.refresh)["refresh_token"])
    assert refresh(viewer.refresh)["code"] == "token_reused"
    assert refresh(viewer.refresh)["code"] == "token_expired"  # the login is gone: nobody's any more
    [entry] = admin.get("/audit")["items"]
    assert (entry["path"], entry["status"], entry["user"]) == (f"{API}/auth/refresh", 401, str(viewer.id))
    assert (entry["email"], entry["detail"]) == (viewer.email, {"refused": "token_reused"})


def test_a_refresh_by_cookie_from_elsewhere_is_in_the_trail_of_the_user(web: Web, admin: User, viewer: User) -> None:
    client = web.app.test_client()
    client.post(f"{API}/auth/login", json={"email": viewer.email, "password": "a password"})
    problem(client.post(f"{API}/auth/refresh", json={}), 403, "csrf")
    problem(client.post(f"{API}/templates", json={}), 403, "csrf")
    acting, refreshing, _ = admin.get("/audit")["items"]
    for entry, path in ((refreshing, "/auth/refresh"), (acting, "/templates")):
        assert (entry["path"], entry["status"], entry["user"]) == (API + path, 403, str(viewer.id))
        assert entry["detail"] == {"refused": "csrf"}


def test_what_is_forged_fills_no_trail(web: Web, admin: User, viewer: User) -> None:
    client = web.app.test_client()
    for token in ("x", viewer.refresh[:-1] + "x", viewer.access):
        problem(client.post(f"{API}/auth/refresh", json={"refresh_token": token}), 401, "unauthenticated")
    assert admin.get("/audit")["items"] == []
