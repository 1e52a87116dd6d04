import base64
import itertools
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from flask_jwt_extended import create_access_token, create_refresh_token
from pydantic import SecretStr

from shared.settings import WebSettings
from tests.webapp.web import API, NOWHERE, SECRET, User, Web, problem


def refresh(web: Web, token: str, status: int = 200) -> Any:
    response = web.app.test_client().post(f"{API}/auth/refresh", json={"refresh_token": token})
    assert response.status_code == status, response.get_data(as_text=True)
    return response.get_json(force=True)


def spend(web: Web, family: str, **changes: int) -> None:
    """Change what Redis knows of the family."""
    web.connections.redis.hset(f"simyard:refresh:{family}", mapping=changes)


# -- refresh tokens -------------------------------------------------------------------------------------------------

def test_a_refresh_token_gives_the_next_pair(web: Web, viewer: User) -> None:
    first = refresh(web, viewer.refresh)
    second = refresh(web, first["refresh_token"])
    assert len({viewer.refresh, first["refresh_token"], second["refresh_token"]}) == 3
    assert set(second) == {"access_token", "refresh_token", "token_type", "expires_in"}
    viewer.access = second["access_token"]
    assert viewer.get("/auth/me")["id"] == str(viewer.id)


def test_spent_again_at_once_it_gives_the_same_successor(web: Web, viewer: User) -> None:
    successor = refresh(web, viewer.refresh)["refresh_token"]
    assert refresh(web, viewer.refresh)["refresh_token"] == successor
    refresh(web, successor)


def test_spent_again_after_its_successor_was_used_the_login_is_void(web: Web, viewer: User) -> None:
    successor = refresh(web, viewer.refresh)["refresh_token"]
    third = refresh(web, successor)["refresh_token"]
    assert refresh(web, viewer.refresh, 401)["code"] == "token_reused"
    assert refresh(web, third, 401)["code"] == "token_expired"


def test_spent_again_after_ten_seconds_the_login_is_void(web: Web, viewer: User) -> None:
    successor = refresh(web, viewer.refresh)["refresh_token"]
    family = successor.split(".")[0]
    rotated = int(web.connections.redis.hget(f"simyard:refresh:{family}", "rotated") or 0)
    spend(web, family, rotated=rotated - 10_001)
    assert refresh(web, viewer.refresh, 401)["code"] == "token_reused"
    assert refresh(web, successor, 401)["code"] == "token_expired"


def test_fifty_at_once_make_one_lineage(web: Web, viewer: User) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(refresh(web, viewer.refresh)["refresh_token"]))
               for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 50
    assert len(set(found)) == 1


def test_an_emptied_redis_means_logging_in_again(web: Web, viewer: User) -> None:
    web.connections.redis.flushall()
    assert refresh(web, viewer.refresh, 401)["code"] == "token_expired"
    assert viewer.get("/auth/me")["role"] == "viewer"


def test_redis_keeps_no_secret(web: Web, viewer: User) -> None:
    family, _, mac = viewer.refresh.split(".")
    assert mac not in str(web.connections.redis.hgetall(f"simyard:refresh:{family}"))


def test_a_family_that_is_not_whole_means_logging_in_again(web: Web) -> None:
    for field, value in itertools.product(("user", "current", "rotated", "version"), (None, "", "x", "1.5")):
        user = web.user("viewer")
        key = f"simyard:refresh:{user.refresh.split('.')[0]}"
        if value is None:
            web.connections.redis.hdel(key, field)
        else:
            web.connections.redis.hset(key, field, value)
        assert refresh(web, user.refresh, 401)["code"] == "token_expired", (field, value)


def test_without_the_database_nothing_is_spent(
        web: Web, viewer: User, settings: WebSettings, make_web: Callable[[WebSettings], Web]) -> None:
    key = f"simyard:refresh:{viewer.refresh.split('.')[0]}"
    before = web.connections.redis.hgetall(key)
    cut = make_web(settings.model_copy(update={"database_url": SecretStr(NOWHERE["database_url"])}))
    told = cut.app.test_client().post(f"{API}/auth/refresh", json={"refresh_token": viewer.refresh})
    problem(told, 503, "database_unavailable")
    assert web.connections.redis.hgetall(key) == before
    refresh(web, viewer.refresh)


FORGERIES: list[Callable[[str], str]] = [
    lambda token: "", lambda token: "x", lambda token: token + "a", lambda token: token[:-1],
    lambda token: token.replace(".1.", ".2."), lambda token: "0" * 32 + token[32:],
    lambda token: token.replace(".", "\n"), lambda token: "é" + token[1:],
]


def test_a_forged_refresh_token_is_refused(web: Web, viewer: User) -> None:
    for forge in FORGERIES:
        assert refresh(web, forge(viewer.refresh), 401)["code"] == "unauthenticated"
    refresh(web, viewer.refresh)


def test_an_access_token_is_no_refresh_token_nor_the_reverse(web: Web, viewer: User) -> None:
    refresh(web, viewer.access, 401)
    viewer.access = viewer.refresh
    viewer.get("/auth/me", status=401)


# -- access tokens --------------------------------------------------------------------------------------------------

def signed(web: Web, user: User, *, key: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    """The user's token with other claims (None: without the claim)."""
    claims = jwt.decode(user.access, options={"verify_signature": False})
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, key, algorithm)


def unsigned(user: User, algorithm: str) -> str:
    header, payload, _ = user.access.split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": algorithm, "typ": "JWT"}).encode()).rstrip(b"=").decode()
    return f"{header}.{payload}."


BAD: dict[str, Callable[[Web, User], str]] = {
    "none at all": lambda web, user: "",
    "no token": lambda web, user: "x",
    "two parts": lambda web, user: "a.b",
    "four parts": lambda web, user: user.access + ".x",
    "not base64": lambda web, user: "ä.ö.ü",
    "a list as header": lambda web, user: "W10." + user.access.split(".", 1)[1],
    "a megabyte": lambda web, user: "a" * 60_000 + "." + "b" * 100 + ".c",
    "another signature": lambda web, user: user.access[:-4] + ("AAAA" if user.access[-4:] != "AAAA" else "BBBB"),
    "another key": lambda web, user: signed(web, user, key="another key of thirty-two bytes!"),
    "another algorithm": lambda web, user: signed(web, user, algorithm="HS512", key=SECRET * 2),
    "alg none": lambda web, user: unsigned(user, "none"),
    "alg nOnE": lambda web, user: unsigned(user, "nOnE"),
    "expired": lambda web, user: signed(web, user, exp=1),
    "not yet": lambda web, user: signed(web, user, nbf=4_000_000_000),
    "no end": lambda web, user: signed(web, user, exp=None),
    "no subject": lambda web, user: signed(web, user, sub=None),
    "a number as subject": lambda web, user: signed(web, user, sub=7),
    "no uuid as subject": lambda web, user: signed(web, user, sub="admin"),
    "another issuer": lambda web, user: signed(web, user, iss="elsewhere"),
    "no issuer": lambda web, user: signed(web, user, iss=None),
    "another audience": lambda web, user: signed(web, user, aud="elsewhere"),
    "no audience": lambda web, user: signed(web, user, aud=None),
    "no family": lambda web, user: signed(web, user, family=None),
    "a refresh type": lambda web, user: signed(web, user, type="refresh"),
    "a list as type": lambda web, user: signed(web, user, type=["access"]),
}


def test_a_token_that_is_not_ours_or_not_now_is_401(web: Web, viewer: User) -> None:
    for kind, forge in BAD.items():
        headers = {"Authorization": f"Bearer {forge(web, viewer)}"}
        response = viewer.client.get(f"{API}/auth/me", headers=headers)
        assert response.status_code == 401, kind
        problem(response, 401, "unauthenticated")
        assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic YTpi", "bearer  ", "Bearer a b c"])
def test_a_header_without_a_token_is_401(lonely: Web, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    problem(lonely.app.test_client().get(f"{API}/auth/me", headers=headers), 401, "unauthenticated")


def test_what_flask_jwt_extended_makes_otherwise_is_refused(web: Web, viewer: User) -> None:
    with web.app.app_context():
        tokens = [create_refresh_token(str(viewer.id)), create_access_token(str(viewer.id)),
                  create_access_token(str(viewer.id), expires_delta=timedelta(seconds=-60))]
    for token in tokens:
        viewer.access = token
        viewer.get("/auth/me", status=401)


def test_a_verified_token_still_expires(web: Web, viewer: User) -> None:
    viewer.get("/auth/me")
    end = jwt.decode(viewer.access, options={"verify_signature": False})["exp"]
    assert web.parts.tokens._verified[viewer.access][0] == end
    web.parts.tokens._verified[viewer.access] = (1.0, web.parts.tokens._verified[viewer.access][1])
    viewer.access = signed(web, viewer, exp=1)
    viewer.get("/auth/me", status=401)


def test_a_login_that_ends_while_it_is_looked_up_stays_ended(
        web: Web, viewer: User, monkeypatch: pytest.MonkeyPatch) -> None:
    exists = web.connections.redis.exists

    def late(*keys: str) -> Any:
        found = exists(*keys)
        monkeypatch.undo()
        web.parts.tokens.revoke(viewer.refresh.split(".")[0])
        return found

    monkeypatch.setattr(web.connections.redis, "exists", late)
    viewer.get("/auth/me", status=401)
    problem(viewer.open("GET", "/auth/me"), 401, "token_revoked")


# -- Redis down -----------------------------------------------------------------------------------------------------

def test_without_redis_tokens_are_still_read_but_not_made(
        web: Web, viewer: User, settings: WebSettings, make_web: Callable[[WebSettings], Web]) -> None:
    cut = make_web(settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:9/0")}))
    client = cut.app.test_client()
    headers = {"Authorization": f"Bearer {viewer.access}"}
    assert client.get(f"{API}/auth/me", headers=headers).status_code == 200
    for path, body in (("login", {"email": viewer.email, "password": "a password"}),
                       ("refresh", {"refresh_token": viewer.refresh}), ("logout", None)):
        response = client.post(f"{API}/auth/{path}", json=body, headers=headers) if body else \
            client.post(f"{API}/auth/{path}", headers=headers)
        problem(response, 503, "redis_unavailable")
        assert response.headers["Retry-After"]
    refresh(web, viewer.refresh)
