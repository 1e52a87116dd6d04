"""Cookies, for browsers: set by a login, believed only for what our own pages send."""

from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from tests.webapp.web import API, PASSWORD, User, Web, problem

CSRF = "X-CSRF-TOKEN"


def browser(web: Web, user: User) -> FlaskClient:
    """A client that has logged in and keeps its cookies."""
    client = web.app.test_client()
    response = client.post(f"{API}/auth/login", json={"email": user.email, "password": PASSWORD})
    assert response.status_code == 200
    return client


def csrf(client: FlaskClient) -> dict[str, str]:
    cookie = client.get_cookie("csrf_access_token")
    assert cookie is not None
    return {CSRF: cookie.value}


def test_a_login_sets_cookies_that_scripts_and_other_sites_do_not_get(web: Web, viewer: User) -> None:
    response = web.app.test_client().post(
        f"{API}/auth/login", json={"email": viewer.email, "password": PASSWORD}, base_url="https://localhost")
    cookies = {each.split("=")[0]: each for each in response.headers.getlist("Set-Cookie")}
    assert set(cookies) == {"access_token_cookie", "refresh_token_cookie", "csrf_access_token"}
    for name, cookie in cookies.items():
        assert "SameSite=Strict" in cookie and "Secure" in cookie
        assert ("HttpOnly" in cookie) == (name != "csrf_access_token")
    assert f"Path={API}/auth/refresh" in cookies["refresh_token_cookie"]


def test_a_cookie_is_enough_to_read(web: Web, viewer: User) -> None:
    assert browser(web, viewer).get(f"{API}/auth/me").get_json()["id"] == str(viewer.id)


def test_what_changes_something_needs_the_header(web: Web, operator: User) -> None:
    client, template = browser(web, operator), operator.template()
    body = {"template": template}
    problem(client.post(f"{API}/simulations", json=body), 403, "csrf")
    problem(client.post(f"{API}/simulations", json=body, headers={CSRF: "x"}), 403, "csrf")
    problem(client.post(f"{API}/simulations", json=body, headers={CSRF: "ä"}), 403, "csrf")
    other = csrf(browser(web, operator))
    problem(client.post(f"{API}/simulations", json=body, headers=other), 403, "csrf")
    assert client.post(f"{API}/simulations", json=body, headers=csrf(client)).status_code == 202


def test_another_sites_page_is_refused_even_with_the_header(web: Web, operator: User) -> None:
    client = browser(web, operator)
    for origin, status in (("https://evil.example", 403), ("null", 403), ("http://localhost", 204)):
        response = client.post(f"{API}/auth/logout-all", headers=csrf(client) | {"Origin": origin})
        assert response.status_code == status, origin


def test_what_was_not_sent_by_our_pages_is_in_the_trail_of_the_user(web: Web, operator: User, admin: User) -> None:
    client = browser(web, operator)
    problem(client.post(f"{API}/templates", json={}), 403, "csrf")
    elsewhere = csrf(client) | {"Origin": "https://evil.example"}
    problem(client.post(f"{API}/auth/logout-all", headers=elsewhere), 403, "csrf")
    entries = admin.get(f"/audit?user={operator.id}")["items"]
    assert [(entry["path"], entry["status"]) for entry in entries] == [
        (f"{API}/auth/logout-all", 403), (f"{API}/templates", 403)]


def test_a_bearer_token_needs_no_header(web: Web, operator: User) -> None:
    operator.submit()


def test_header_and_cookie_of_different_users_are_refused(web: Web, viewer: User, operator: User) -> None:
    client = browser(web, viewer)
    told = client.get(f"{API}/auth/me", headers={"Authorization": f"Bearer {operator.access}"})
    problem(told, 400, "two_users")
    mine = client.get(f"{API}/auth/me", headers={"Authorization": f"Bearer {viewer.access}"})
    assert mine.get_json()["id"] == str(viewer.id)


def test_a_void_cookie_beside_a_good_header_is_nobody(web: Web, viewer: User) -> None:
    client = web.app.test_client()
    client.set_cookie("access_token_cookie", "x.y.z")
    assert client.get(f"{API}/auth/me", headers=viewer.headers({})).status_code == 200
    problem(client.get(f"{API}/auth/me"), 401, "unauthenticated")


def test_a_browser_refreshes_by_its_cookie(web: Web, viewer: User) -> None:
    client = browser(web, viewer)
    problem(client.post(f"{API}/auth/refresh", json={}), 403, "csrf")
    before = client.get_cookie("access_token_cookie")
    assert client.post(f"{API}/auth/refresh", json={}, headers=csrf(client)).status_code == 200
    after = client.get_cookie("access_token_cookie")
    assert before and after and before.value != after.value
    assert client.get(f"{API}/auth/me").status_code == 200


def test_without_token_or_cookie_nothing_is_refreshed(web: Web) -> None:
    problem(web.app.test_client().post(f"{API}/auth/refresh", json={}), 401, "unauthenticated")


def test_logging_out_takes_the_cookies_away(web: Web, viewer: User) -> None:
    client = browser(web, viewer)
    assert client.post(f"{API}/auth/logout", headers=csrf(client)).status_code == 204
    assert client.get_cookie("access_token_cookie") is None
    assert client.get_cookie("refresh_token_cookie", path=f"{API}/auth/refresh") is None
    problem(client.get(f"{API}/auth/me"), 401, "unauthenticated")


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Basic dTpw", "Bearer a b", "token", ""])
def test_a_malformed_header_is_no_token(web: Web, viewer: User, header: str) -> None:
    problem(web.app.test_client().get(f"{API}/auth/me", headers={"Authorization": header}), 401, "unauthenticated")


def test_logging_out_everywhere_ends_every_login(web: Web, viewer: User) -> None:
    client, other = browser(web, viewer), web.app.test_client()
    viewer.post("/auth/logout-all", status=204)
    problem(viewer.open("GET", "/auth/me"), 401, "token_revoked")
    problem(client.get(f"{API}/auth/me"), 401, "token_revoked")
    problem(other.post(f"{API}/auth/refresh", json={"refresh_token": viewer.refresh}), 401, "token_revoked")
    assert browser(web, viewer).get(f"{API}/auth/me").status_code == 200


def test_another_process_hears_of_it_within_half_a_minute(
        web: Web, viewer: User, make_web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_web(web.parts.settings)
    get = other.app.test_client().get
    assert get(f"{API}/auth/me", headers=viewer.headers({})).status_code == 200
    viewer.post("/auth/logout-all", status=204)
    expires, account = other.parts.accounts._cache[UUID(str(viewer.id))]
    assert account is not None
    monkeypatch.setattr("webapp.auth.accounts.time.monotonic", lambda: expires)
    problem(get(f"{API}/auth/me", headers=viewer.headers({})), 401, "token_revoked")
