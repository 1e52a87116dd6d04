"""Who may call what. Every route of the application stands in ROUTES; one that does not fails the first test."""

from typing import Any
from uuid import uuid4

import pytest

from tests.webapp.web import API, User, Web, problem

NOBODY, VIEWER, OPERATOR, RECORDER = "nobody", "viewer", "operator", "recorder"

ROUTES = {
    "GET /": NOBODY,
    "GET /up": NOBODY,
    "GET /health": NOBODY,
    "GET /health/live": NOBODY,
    "GET /health/ready": NOBODY,
    "GET /health/db": NOBODY,
    "GET /health/redis": NOBODY,
    "GET /health/storage": NOBODY,
    "GET /docs": NOBODY,
    "GET /docs/start.js": NOBODY,
    "GET /docs/assets/<path:name>": NOBODY,
    "GET /openapi.json": NOBODY,
    "POST /api/v1/auth/login": NOBODY,
    "POST /api/v1/auth/refresh": NOBODY,
    "POST /api/v1/auth/logout": VIEWER,
    "GET /api/v1/auth/me": VIEWER,
    "GET /api/v1/templates": VIEWER,
    "POST /api/v1/templates": OPERATOR,
    "GET /api/v1/templates/<name>": VIEWER,
    "GET /api/v1/templates/<name>/versions/<int:number>": VIEWER,
    "POST /api/v1/simulations": OPERATOR,
    "GET /api/v1/simulations": VIEWER,
    "GET /api/v1/simulations/<uuid:id>": VIEWER,
    "GET /api/v1/simulations/<uuid:id>/status": VIEWER,
    "GET /api/v1/simulations/<uuid:id>/instances": VIEWER,
    "GET /api/v1/simulations/<uuid:id>/events": VIEWER,
    "POST /api/v1/simulations/<uuid:id>/cancel": OPERATOR,
    "GET /api/v1/events": VIEWER,
    "GET /api/v1/instances": VIEWER,
    "GET /api/v1/instances/<uuid:id>": VIEWER,
    "GET /api/v1/instances/<uuid:id>/logs": VIEWER,
    "POST /api/v1/instances/<uuid:id>/cancel": OPERATOR,
    "GET /api/v1/bundles": VIEWER,
    "GET /api/v1/bundles/<uuid:id>": VIEWER,
    "GET /api/v1/bundles/<uuid:id>/files/<name>": VIEWER,
    "GET /api/v1/bundles/<uuid:id>/messages": VIEWER,
    "GET /api/v1/bundles/<uuid:id>/slice": VIEWER,
    "POST /api/v1/bundles": OPERATOR,
    "GET /api/v1/bundles/<uuid:id>/uploads": OPERATOR,
    "POST /api/v1/bundles/<uuid:id>/complete": OPERATOR,
    "POST /api/v1/playbacks": OPERATOR,
    "GET /api/v1/playbacks/<uuid:id>": VIEWER,
    "POST /api/v1/playbacks/<uuid:id>/control": OPERATOR,
    "GET /api/v1/playbacks/<uuid:id>/stream": VIEWER,
    "GET /internal/attempts/<uuid:job>/<int:attempt>/inputs": RECORDER,
    "PUT /internal/attempts/<uuid:job>/<int:attempt>/address": RECORDER,
    "POST /internal/attempts/<uuid:job>/<int:attempt>/report": RECORDER,
    "POST /internal/attempts/<uuid:job>/<int:attempt>/uploads": RECORDER,
    "POST /internal/attempts/<uuid:job>/<int:attempt>/uploads/complete": RECORDER,
    "PUT /internal/attempts/<uuid:job>/<int:attempt>/facts": RECORDER,
}
RANKS = ["viewer", "operator", "admin"]
GUARDED = [route for route, role in ROUTES.items() if role in RANKS]


def call(user: User, route: str, **options: Any) -> Any:
    method, path = route.split()
    for part in ("<uuid:id>", "<uuid:job>"):
        path = path.replace(part, str(uuid4()))
    path = path.replace("<int:attempt>", "1").replace("<int:number>", "1").replace("<path:name>", "x")
    path = path.replace("<name>", "none")
    return user.client.open(path, method=method, **options)


def test_every_route_is_listed(lonely: Web) -> None:
    routes = {f"{method} {rule.rule}" for rule in lonely.app.url_map.iter_rules()
              for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert routes == set(ROUTES)


@pytest.mark.parametrize("route", GUARDED)
def test_nobody_gets_in_without_a_token(lonely: Web, route: str) -> None:
    user = User(uuid4(), "", "", lonely.app.test_client(), "", "")
    problem(call(user, route), 401, "unauthenticated")
    problem(call(user, route, headers={"Authorization": "Bearer x.y.z"}), 401, "unauthenticated")


@pytest.mark.parametrize("role", RANKS)
def test_a_role_opens_what_is_listed_for_it_and_nothing_more(web: Web, role: str) -> None:
    for route in GUARDED:
        user = web.user(role)  # a new one each time, for logging out ends the login
        response = call(user, route, headers=user.headers({}))
        if RANKS.index(role) < RANKS.index(ROUTES[route]):
            problem(response, 403, "forbidden")
        else:
            assert response.status_code not in (401, 403), (route, response.get_data())


def test_a_recorders_route_takes_no_users_token(web: Web, admin: User) -> None:
    for route in (route for route, role in ROUTES.items() if role == RECORDER):
        problem(call(admin, route, headers=admin.headers({}), json={}), 401, "unauthenticated")


def test_other_methods_open_nothing(web: Web, viewer: User) -> None:
    mine = web.user("operator").submit(visibility="private")
    for method, status in {"HEAD": 404, "OPTIONS": 200, "TRACE": 405, "PATCH": 405, "DELETE": 405, "PUT": 405}.items():
        response = viewer.open(method, f"/simulations/{mine}", headers={"X-HTTP-Method-Override": "GET"})
        assert response.status_code == status, method


THINGS = ["/simulations/{s}", "/simulations/{s}/status", "/simulations/{s}/instances", "/simulations/{s}/events",
          "/instances/{j}", "/instances/{j}/logs"]


def test_what_is_private_is_as_good_as_missing_to_others(web: Web) -> None:
    owner, other, admin = web.user("operator"), web.user("operator"), web.user("admin")
    simulation = owner.submit(visibility="private")
    [job] = web.jobs(simulation)
    gone = uuid4()
    for thing in THINGS:
        seen = problem(other.open("GET", thing.format(s=simulation, j=job)), 404, "not_found")
        missing = problem(other.open("GET", thing.format(s=gone, j=gone)), 404, "not_found")
        assert {key: str(value).replace(simulation, "X").replace(str(job), "X") for key, value in seen.items()} \
            == {key: str(value).replace(str(gone), "X") for key, value in missing.items()}
        for user in (owner, admin):
            response = user.open("GET", thing.format(s=simulation, j=job))
            assert response.status_code == 200
            response.close()


def test_lists_leave_out_what_is_private_to_others(web: Web) -> None:
    owner, other, admin = web.user("operator"), web.user("operator"), web.user("admin")
    simulation = owner.submit(visibility="private")
    [job] = web.jobs(simulation)
    for user, sees in ((owner, True), (other, False), (admin, True)):
        assert (simulation in [item["id"] for item in user.get("/simulations")["items"]]) is sees
        assert (str(job) in [item["id"] for item in user.get("/instances")["items"]]) is sees


def test_one_acts_on_ones_own_things_alone_unless_admin(web: Web) -> None:
    owner, other, admin = web.user("operator"), web.user("operator"), web.user("admin")
    simulation, second = owner.submit(), owner.submit()
    [job] = web.jobs(simulation)
    hidden = owner.submit(visibility="private")
    other.post(f"/simulations/{simulation}/cancel", status=403)
    other.post(f"/instances/{job}/cancel", status=403)
    other.post(f"/simulations/{hidden}/cancel", status=404)
    owner.post(f"/instances/{job}/cancel", status=202)
    admin.post(f"/simulations/{second}/cancel", status=202)


def test_the_api_lies_where_the_settings_say(make_web: Any) -> None:
    from tests.webapp.web import make_settings

    app = make_web(make_settings(api_str="/robots/v2")).app
    rules = {rule.rule for rule in app.url_map.iter_rules()}
    assert "/robots/v2/simulations" in rules
    assert not any(rule.startswith(API) for rule in rules)
    paths = app.api_doc["paths"]
    assert "/robots/v2/simulations/{id}" in paths
    again = make_web(make_settings()).app
    assert f"{API}/simulations/{{id}}" in again.api_doc["paths"]
    assert not any(path.startswith("/robots") for path in again.api_doc["paths"])
