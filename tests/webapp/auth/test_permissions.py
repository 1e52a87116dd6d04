"""Who may call what. Every route of the application stands in ROUTES; one that does not fails the first test."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import update

from shared.persistence.models import users
from tests.webapp.api.test_bundles import NAME, add_bundle
from tests.webapp.web import API, User, Web, problem
from webapp.auth.api_tokens import RESOURCES

NOBODY, VIEWER, OPERATOR, ADMIN, RECORDER = "nobody", "viewer", "operator", "admin", "recorder"

ROUTES = {
    "GET /": NOBODY,
    "GET /up": NOBODY,
    "GET /health": NOBODY,
    "GET /health/live": NOBODY,
    "GET /health/ready": NOBODY,
    "GET /health/db": NOBODY,
    "GET /health/redis": NOBODY,
    "GET /health/storage": NOBODY,
    "GET /metrics": NOBODY,
    "GET /docs": NOBODY,
    "GET /docs/start.js": NOBODY,
    "GET /docs/assets/<path:name>": NOBODY,
    "GET /openapi.json": NOBODY,
    "POST /api/v1/auth/login": NOBODY,
    "POST /api/v1/auth/refresh": NOBODY,
    "POST /api/v1/auth/logout": VIEWER,
    "POST /api/v1/auth/logout-all": VIEWER,
    "GET /api/v1/auth/me": VIEWER,
    "GET /api/v1/auth/verify": VIEWER,
    "GET /api/v1/auth/tokens": VIEWER,
    "POST /api/v1/auth/tokens": VIEWER,
    "DELETE /api/v1/auth/tokens/<uuid:id>": VIEWER,
    "GET /api/v1/users": ADMIN,
    "POST /api/v1/users": ADMIN,
    "GET /api/v1/users/<uuid:id>": ADMIN,
    "PATCH /api/v1/users/<uuid:id>": ADMIN,
    "DELETE /api/v1/users/<uuid:id>": ADMIN,
    "GET /api/v1/audit": ADMIN,
    "GET /api/v1/system": ADMIN,
    "POST /api/v1/system/pause": ADMIN,
    "POST /api/v1/system/resume": ADMIN,
    "GET /api/v1/templates": VIEWER,
    "POST /api/v1/templates": OPERATOR,
    "GET /api/v1/templates/<name>": VIEWER,
    "PUT /api/v1/templates/<name>": OPERATOR,
    "DELETE /api/v1/templates/<name>": OPERATOR,
    "GET /api/v1/templates/<name>/versions/<int:number>": VIEWER,
    "POST /api/v1/simulations": OPERATOR,
    "GET /api/v1/simulations": VIEWER,
    "GET /api/v1/simulations/<uuid:id>": VIEWER,
    "GET /api/v1/simulations/<uuid:id>/status": VIEWER,
    "GET /api/v1/simulations/<uuid:id>/instances": VIEWER,
    "GET /api/v1/simulations/<uuid:id>/results": VIEWER,
    "GET /api/v1/simulations/<uuid:id>/events": VIEWER,
    "GET /api/v1/simulations/<uuid:id>/queue": VIEWER,
    "POST /api/v1/simulations/<uuid:id>/cancel": OPERATOR,
    "POST /api/v1/simulations/<uuid:id>/retry": OPERATOR,
    "DELETE /api/v1/simulations/<uuid:id>": OPERATOR,
    "GET /api/v1/events": VIEWER,
    "GET /api/v1/instances": VIEWER,
    "GET /api/v1/instances/<uuid:id>": VIEWER,
    "GET /api/v1/instances/<uuid:id>/logs": VIEWER,
    "GET /api/v1/instances/<uuid:id>/files": VIEWER,
    "GET /api/v1/instances/<uuid:id>/files/<path:name>": VIEWER,
    "POST /api/v1/instances/<uuid:id>/cancel": OPERATOR,
    "GET /api/v1/bundles": VIEWER,
    "GET /api/v1/bundles/<uuid:id>": VIEWER,
    "PATCH /api/v1/bundles/<uuid:id>": OPERATOR,
    "DELETE /api/v1/bundles/<uuid:id>": OPERATOR,
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
    "GET /api/v1/playbacks/<uuid:id>/foxglove": NOBODY,
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


@pytest.mark.parametrize("resource", RESOURCES)
def test_a_scope_opens_what_lies_under_its_resource_and_nothing_else(
        web: Web, operator: User, resource: str) -> None:
    body = {"name": "ci", "scopes": [f"{resource}:write"]}
    program = User(operator.id, "", "", operator.client, operator.post("/auth/tokens", body, status=201)["token"], "")
    for route in (route for route in GUARDED if ROUTES[route] != ADMIN):
        under = route.split("/")[3]
        if under == "auth":
            continue
        response = call(program, route, headers=program.headers({}))
        if {"instances": "simulations"}.get(under, under) == resource:
            assert response.status_code not in (401, 403), (route, response.get_data())
        else:
            problem(response, 403, "scope")


def test_a_recorders_route_takes_no_users_token(web: Web, admin: User) -> None:
    for route in (route for route, role in ROUTES.items() if role == RECORDER):
        problem(call(admin, route, headers=admin.headers({}), json={}), 401, "unauthenticated")


def test_other_methods_open_nothing(web: Web, viewer: User) -> None:
    mine = web.user("operator").submit(visibility="private")
    for method, status in {"HEAD": 404, "OPTIONS": 200, "TRACE": 405, "PATCH": 405, "DELETE": 403, "PUT": 405}.items():
        response = viewer.open(method, f"/simulations/{mine}", headers={"X-HTTP-Method-Override": "GET"})
        assert response.status_code == status, method


# -- whose things -------------------------------------------------------------------------------------------------

# The routes of one thing of somebody's; each is called for one's own, for another's that all may see, for another's
# that is private, and for one that is missing. What is not a thing of somebody's is named here, so that a new route
# cannot be forgotten.
NOBODYS = {"GET /api/v1/users/<uuid:id>", "PATCH /api/v1/users/<uuid:id>", "DELETE /api/v1/users/<uuid:id>"}
OF_A_THING = [route for route in GUARDED if "<" in route and route not in NOBODYS]
STRICTLY_OWN = {"DELETE /api/v1/auth/tokens/<uuid:id>"}  # nobody else's, not even for an admin
BODIES: dict[str, Any] = {
    "PATCH /api/v1/bundles/<uuid:id>": {}, "POST /api/v1/playbacks/<uuid:id>/control": {"action": "pause"},
    "POST /api/v1/simulations/<uuid:id>/retry": {},
}


class Things:
    """One of each of a user's things, of some visibility."""

    def __init__(self, web: Web, user: User, visibility: str) -> None:
        self.simulation = user.submit(visibility=visibility)
        [job] = web.jobs(self.simulation)
        web.settle()
        web.set_attempt(job, files=[{"path": NAME, "size": 4, "sha256": "a" * 64}])
        bundle = add_bundle(web, user.id, visibility=visibility, index_key="none")
        playback = user.post("/playbacks", {"bundle": str(bundle)}, status=202)["id"]
        token = user.post("/auth/tokens", {"name": "ci", "scopes": ["read"]}, status=201)["id"]
        self.names = {"simulations": self.simulation, "instances": str(job), "bundles": str(bundle),
                      "playbacks": playback, "auth": token, "templates": user.template()}

    def path(self, route: str) -> str:
        kind = route.removeprefix(f"{route.split(maxsplit=1)[0]} {API}/").split("/")[0]
        name = self.names["templates"] if kind == "templates" else NAME
        path = route.split()[1].replace("<uuid:id>", self.names[kind]).replace("<int:number>", "1")
        return path.replace("<path:name>", NAME).replace("<name>", name)

    def call(self, user: User, route: str) -> Any:
        if route == "PUT /api/v1/templates/<name>":
            body: Any = {"name": self.names["templates"], "command": ["/bin/false"]}
        else:
            body = BODIES.get(route)
        return user.open(route.split(maxsplit=1)[0], self.path(route), **({} if body is None else {"json": body}))


class Missing(Things):
    def __init__(self) -> None:
        self.names = dict.fromkeys(("simulations", "instances", "bundles", "playbacks", "auth", "templates"),
                                   str(uuid4()))


def outcome(route: str, role: str, whose: str) -> int | None:
    """The status that is due; None for anything that is not about access (it is done, or does not fit the state)."""
    is_template = "/templates/" in route
    if RANKS.index(role) < RANKS.index(ROUTES[route]):
        return 403
    if whose == "missing" or (whose == "private" and role != "admin" and not is_template):
        return 404
    if route in STRICTLY_OWN:
        return None if whose == "own" else 404
    if whose != "own" and ROUTES[route] == OPERATOR and role != "admin":
        return 403
    return None


@pytest.mark.parametrize("role", RANKS)
@pytest.mark.parametrize("whose", ["own", "team", "private", "missing"])
def test_each_route_of_each_role_for_whose_things(web: Web, role: str, whose: str) -> None:
    caller, other = web.user("operator"), web.user("operator")
    things = Missing() if whose == "missing" else Things(
        web, caller if whose == "own" else other, "private" if whose == "private" else "team")
    with web.database.transaction() as tx:
        tx.execute(update(users).where(users.c.id == caller.id).values(role=role))
    web.parts.accounts.forget(caller.id)
    for route in sorted(OF_A_THING, key=lambda route: (route.startswith("DELETE"), route)):
        response = things.call(caller, route)
        due = outcome(route, role, whose)
        if due is None:
            assert response.status_code in (200, 201, 202, 204, 302, 409, 422, 503), (route, response.data)
        else:
            assert response.status_code == due, (route, response.data)
        response.close()


def test_what_is_private_is_as_good_as_missing_to_others(web: Web) -> None:
    things, gone = Things(web, web.user("operator"), "private"), Missing()
    other = web.user("operator")
    for route in OF_A_THING:
        if "/templates/" in route or route in STRICTLY_OWN:
            continue
        told = []
        for each in (things, gone):
            answer = str(problem(each.call(other, route), 404, "not_found"))
            for name in each.names.values():
                answer = answer.replace(name, "X")
            told.append(answer)
        assert told[0] == told[1], route


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
