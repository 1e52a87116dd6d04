from uuid import UUID, uuid4

from sqlalchemy import delete, select, update

from shared.domain.states import State
from shared.lifecycle import End
from shared.persistence.models import idempotency_keys, jobs, simulations, templates
from shared.persistence.queries import IDEMPOTENCY_KEY_LIFE
from tests.webapp.api.test_bundles import add_bundle
from tests.webapp.web import User, Web, problem
from webapp.api.schemas.simulations import Accepted, Simulation, SimulationList, Status

SWEEP = {"name": "night run", "labels": {"pr": "12"}, "seed": 7, "repeats": 2, "priority": "high",
         "parameters": {"max_speed": {"grid": [0.4, 0.8]}, "obstacles": {"range": [2, 8, 2]},
                        "friction": {"uniform": [0.5, 1.0]}, "world": "warehouse"}}


def test_a_submission_is_accepted_and_told_where_to_go_on(web: Web, operator: User) -> None:
    template = operator.template()
    response = operator.open("POST", "/simulations", json=SWEEP | {"template": template})
    assert response.status_code == 202
    body = response.get_json()
    Accepted.model_validate(body)
    assert response.headers["Location"] == body["links"]["self"] == f"/api/v1/simulations/{body['id']}"
    assert (body["name"], body["state"], body["phase"], body["seed"], body["total"]) \
        == ("night run", "QUEUED", "waiting", 7, 16)
    assert body["template"] == {"name": template, "version": 1}
    for link in ("self", "status", "instances", "results"):
        operator.get(body["links"][link])
    with web.database.transaction() as tx:
        rows = tx.execute(select(jobs).where(jobs.c.simulation == UUID(body["id"])).order_by(jobs.c.index)).all()
        row = tx.execute(select(simulations).where(simulations.c.id == UUID(body["id"]))).one()
    assert [each.index for each in rows] == list(range(16))
    assert len({each.seed for each in rows}) == 16
    assert (row.priority, row.owner, row.program["command"]) == (1, operator.id, ["/bin/true"])


def test_what_is_not_stated_has_its_default(operator: User) -> None:
    template = operator.template()
    body = operator.post("/simulations", {"template": template}, status=202)
    assert (body["name"], body["total"]) == (template, 1)
    assert 0 <= body["seed"] < 2**31
    seen = operator.get(f"/simulations/{body['id']}")
    assert (seen["priority"], seen["visibility"], seen["labels"], seen["spec"]["keep"]) == ("normal", "team", {}, "all")
    assert seen["spec"]["template"] == f"{template}@1"
    assert seen["spec"]["seed"] == body["seed"]


def test_the_limits_that_hold_are_shown_from_the_first_answer_on(web: Web, operator: User) -> None:
    body = {"template": operator.template(limits={"stall_seconds": 9}), "limits": {"queue_seconds": 60}}
    limits = {"queue_seconds": 60, "start_seconds": 900, "run_seconds": 30, "stall_seconds": 9, "collect_seconds": 3600}
    assert operator.post("/simulations?dry_run=true", body, status=200)["limits"] == limits
    made = operator.post("/simulations", body, status=202)
    assert made["limits"] == limits
    assert operator.get(f"/simulations/{made['id']}")["limits"] == limits
    assert operator.get("/simulations")["items"][0]["limits"] == limits


def test_the_spec_sent_again_makes_the_same_instances(operator: User) -> None:
    first = operator.submit(**SWEEP)
    spec = operator.get(f"/simulations/{first}")["spec"]
    assert list(spec["parameters"]) == list(SWEEP["parameters"])  # type: ignore[call-overload]
    second = operator.post("/simulations", {key: value for key, value in spec.items() if value is not None}, status=202)

    def sets(simulation: str) -> list[object]:
        return [(item["parameters"], item["seed"])
                for item in operator.get(f"/simulations/{simulation}/instances")["items"]]

    assert sets(first) == sets(second["id"])


def test_every_answer_has_the_documented_shape(web: Web, operator: User) -> None:
    simulation = operator.submit(**SWEEP)
    web.settle()
    Simulation.model_validate(operator.get(f"/simulations/{simulation}"))
    Status.model_validate(operator.get(f"/simulations/{simulation}/status"))
    SimulationList.model_validate(operator.get("/simulations"))


def test_admission_follows_the_submission_by_itself(web: Web, operator: User) -> None:
    simulation = operator.submit(repeats=6)
    web.settle()
    status = operator.get(f"/simulations/{simulation}/status")
    assert status["counts"] == dict.fromkeys(State, 0) | {"QUEUED": 2, "STARTING": 4}
    assert (status["state"], status["phase"]) == ("RUNNING", "running")


def test_no_more_run_at_once_than_the_submission_says(web: Web, operator: User) -> None:
    simulation = operator.submit(repeats=4, max_parallel=1)
    first, second, *_ = web.jobs(simulation)
    web.settle()
    seen = operator.get(f"/simulations/{simulation}")
    assert (seen["max_parallel"], seen["counts"]["STARTING"], seen["counts"]["QUEUED"]) == (1, 1, 3)
    web.start(first)
    web.finish(first)
    seen = operator.get(f"/simulations/{simulation}")
    assert (seen["counts"]["SUCCEEDED"], seen["counts"]["STARTING"], seen["counts"]["QUEUED"]) == (1, 1, 2)
    assert operator.get(f"/instances/{second}")["state"] == "STARTING"


def test_status_counts_verdicts_and_percent(web: Web, operator: User) -> None:
    simulation = operator.submit(repeats=3)
    first, second, _ = web.jobs(simulation)
    web.start(first)
    web.finish(first, passed=True)
    web.start(second)
    web.finish(second, "crashed", passed=False)
    status = operator.get(f"/simulations/{simulation}/status")
    assert status["verdicts"] == {"passed": 1, "not_passed": 1, "none": 1}
    assert status["percent"] == 66.67
    assert (status["counts"]["SUCCEEDED"], status["counts"]["FAILED"], status["state"]) == (1, 1, "RUNNING")


def test_a_poll_is_answered_304_until_something_moves(web: Web, operator: User) -> None:
    simulation = operator.submit()
    web.settle()
    path = f"/simulations/{simulation}/status"
    etag = operator.open("GET", path).headers["ETag"]
    for shown in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        again = operator.open("GET", path, headers={"If-None-Match": shown})
        assert (again.status_code, again.get_data()) == (304, b""), shown
    [job] = web.jobs(simulation)
    web.start(job)
    moved = operator.open("GET", path, headers={"If-None-Match": etag})
    assert moved.status_code == 200
    assert moved.headers["ETag"] != etag


# -- idempotency ----------------------------------------------------------------------------------------------------

def test_a_repeated_key_gets_the_same_answer_and_makes_one(web: Web, operator: User) -> None:
    template, key = operator.template(), {"Idempotency-Key": "k-1"}
    body, reordered = {"template": template, "seed": 7}, {"seed": 7, "template": template}
    first = operator.open("POST", "/simulations", json=body, headers=key)
    again = operator.open("POST", "/simulations", json=reordered, headers=key)
    assert (first.status_code, first.get_json()) == (again.status_code, again.get_json())
    assert first.headers["Location"] == again.headers["Location"]
    assert "Idempotent-Replayed" not in first.headers and again.headers["Idempotent-Replayed"] == "true"
    assert len(operator.get("/simulations")["items"]) == 1
    mismatch = operator.open("POST", "/simulations", json={"template": template, "repeats": 2}, headers=key)
    problem(mismatch, 422, "idempotency_mismatch")


def test_a_known_key_is_answered_though_the_template_is_gone_meanwhile(web: Web, operator: User) -> None:
    template, key = operator.template(), {"Idempotency-Key": "k-2"}
    body = {"template": template}
    first = operator.post("/simulations", body, status=202, headers=key)
    web.parts.templates._cache.clear()
    with web.database.transaction() as tx:
        tx.execute(delete(templates))
    assert operator.post("/simulations", body, status=202, headers=key) == first


def test_keys_are_each_users_own_and_live_a_day(web: Web, operator: User) -> None:
    other = web.user("operator")
    template, key = operator.template(), {"Idempotency-Key": "k-3"}
    body = {"template": template}
    ids = [user.post("/simulations", body, status=202, headers=key)["id"] for user in (operator, other)]
    assert ids[0] != ids[1]
    with web.database.transaction() as tx:
        tx.execute(update(idempotency_keys).values(created_at=idempotency_keys.c.created_at - IDEMPOTENCY_KEY_LIFE))
    assert operator.post("/simulations", body, status=202, headers=key)["id"] not in ids


def test_a_replay_says_so_also_when_what_it_made_is_deleted(web: Web, operator: User) -> None:
    body, key = {"template": operator.template()}, {"Idempotency-Key": "k-6"}
    first = operator.post("/simulations", body, status=202, headers=key)
    operator.post(f"/simulations/{first['id']}/cancel", status=202)
    operator.delete(f"/simulations/{first['id']}")
    again = operator.open("POST", "/simulations", json=body, headers=key)
    assert (again.status_code, again.get_json(), again.headers["Idempotent-Replayed"]) == (202, first, "true")


# -- lists ----------------------------------------------------------------------------------------------------------

def test_lists_go_newest_first_page_by_page_while_new_ones_come(operator: User) -> None:
    template = operator.template()
    made = [operator.submit(template, name=f"run {number}") for number in range(5)]
    seen, cursor = [], ""
    while True:
        page = operator.get(f"/simulations?limit=2{cursor}")
        seen += [item["id"] for item in page["items"]]
        operator.submit(template)
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == made[::-1]


def test_list_items_are_the_resources(web: Web, operator: User) -> None:
    simulation = operator.submit(**SWEEP)
    web.settle()
    assert operator.get("/simulations")["items"] == [operator.get(f"/simulations/{simulation}")]


def test_a_very_large_spec_is_left_out_of_lists_alone(operator: User) -> None:
    points = [{"x": uuid4().hex} for _ in range(1000)]
    simulation = operator.submit(method="list", points=points)
    assert operator.get("/simulations")["items"][0]["spec"] is None
    assert operator.get(f"/simulations/{simulation}")["spec"]["points"] == points


def test_lists_can_be_narrowed(web: Web, operator: User) -> None:
    other = web.user("operator")
    template = operator.template()
    first = operator.submit(template, name="Night run", labels={"pr": "12", "arm": "x:y"})
    second = other.submit(template, name="100% day", labels={"pr": "13"})
    operator.post(f"/simulations/{first}/cancel", status=202)
    web.settle()
    for query, found in {
        "": [second, first], "state=CANCELLED": [first], "state=CANCELLED&state=RUNNING": [second, first],
        "state=FAILED": [], f"template={template}": [second, first], f"template={template}@1": [second, first],
        f"template={template}@2": [], f"owner={other.id}": [second], f"owner={uuid4()}": [],
        "label=pr:12": [first], "label=arm:x:y": [first], "label=pr:12&label=arm:x:y": [first],
        "label=pr:12&label=arm:z": [], "name=night": [first], "name=%25": [second], "name=_": [],
    }.items():
        assert [item["id"] for item in operator.get(f"/simulations?{query}")["items"]] == found, query


# -- cancelling -----------------------------------------------------------------------------------------------------

def test_cancelling_ends_what_waits_and_stops_what_runs(web: Web, operator: User) -> None:
    simulation = operator.submit(repeats=6)
    first, *_ = web.jobs(simulation)
    web.start(first)
    answer = operator.post(f"/simulations/{simulation}/cancel", status=202)
    Simulation.model_validate(answer)
    assert (answer["state"], answer["stop_requested"]) == ("STOPPING", True)
    status = operator.get(f"/simulations/{simulation}/status")
    assert (status["counts"]["STOPPING"], status["counts"]["CANCELLED"], status["state"]) == (1, 5, "STOPPING")
    operator.post(f"/simulations/{simulation}/cancel", status=202)
    web.move(first, State.STOPPING, State.COLLECTING)
    web.connections.lifecycle.finish(End(first, 1, "cancelled_by_user"))
    web.settle()
    assert operator.post(f"/simulations/{simulation}/cancel", status=202)["state"] == "CANCELLED"


def test_what_has_succeeded_or_failed_cannot_be_cancelled(web: Web, operator: User) -> None:
    for outcome in ("success", "crashed"):
        simulation = operator.submit()
        [job] = web.jobs(simulation)
        web.start(job)
        web.finish(job, outcome)
        problem(operator.open("POST", f"/simulations/{simulation}/cancel"), 409, "illegal_transition")
        problem(operator.open("POST", f"/instances/{job}/cancel"), 409, "illegal_transition")


def test_what_is_not_there_is_404(operator: User) -> None:
    for path in ("", "/status", "/instances", "/events", "/cancel"):
        method = "POST" if path == "/cancel" else "GET"
        problem(operator.open(method, f"/simulations/{uuid4()}{path}"), 404, "not_found")


# -- running once more, and quotas ----------------------------------------------------------------------------------

def test_what_failed_is_run_once_more(web: Web, operator: User) -> None:
    simulation = operator.submit(repeats=2)
    web.settle()
    first, second = web.jobs(simulation)
    for job, outcome in ((first, "success"), (second, "crashed")):
        web.start(job)
        web.finish(job, outcome)
    told = operator.post(f"/simulations/{simulation}/retry", {"only": "failed"}, status=202)
    Simulation.model_validate(told)
    web.settle()
    counts = operator.get(f"/simulations/{simulation}/status")["counts"]
    assert (counts["SUCCEEDED"], counts["STARTING"]) == (1, 1)
    assert operator.get(f"/instances/{second}")["attempt"] == 2
    told = operator.post(f"/simulations/{simulation}/retry", {"only": "cancelled"}, status=409)
    assert told["code"] == "nothing_to_retry"
    operator.post(f"/simulations/{simulation}/retry", {"only": "all"}, status=422)


def test_a_quota_is_refused_with_what_is_used_and_the_limit(web: Web, admin: User, operator: User) -> None:
    admin.patch(f"/users/{operator.id}", {"max_queued": 10, "max_running": 0})
    operator.submit(repeats=8)
    response = operator.open("POST", "/simulations", json={"template": operator.template(), "repeats": 3})
    told = problem(response, 429, "quota")
    assert told["errors"] == [{"field": "quota.queued",
                               "message": "8 of 10 instances wait already, and these would be 3 more"}]
    assert response.headers["Retry-After"]
    operator.submit(repeats=2)
    quota = operator.get("/auth/me")["quota"]
    assert quota["queued"] == {"used": 10, "limit": 10} and quota["running"] == {"used": 0, "limit": 0}


def test_what_can_never_fit_is_not_told_to_come_again_soon(web: Web, admin: User, operator: User) -> None:
    admin.patch(f"/users/{operator.id}", {"max_queued": 5})
    response = operator.open("POST", "/simulations", json={"template": operator.template(), "repeats": 10})
    told = problem(response, 429, "quota")
    assert told["errors"] == [{"field": "quota.queued",
                               "message": "10 instances are more than the 5 that may wait at once"}]
    assert told["retryable"] is False and "split" in told["remedy"]
    assert int(response.headers["Retry-After"]) >= 3600
    file = {"name": "a.db3", "size": 101, "sha256": "0" * 64}
    admin.patch(f"/users/{operator.id}", {"max_stored_bytes": 100})
    told = operator.post("/bundles", {"name": "more", "files": [file]}, status=429)
    assert told["retryable"] is False
    assert told["errors"][0]["message"] == "101 bytes are more than the 100 that may be stored"


def test_who_has_stored_his_share_submits_nothing_more(web: Web, admin: User, operator: User) -> None:
    add_bundle(web, operator.id, size=100)
    admin.patch(f"/users/{operator.id}", {"max_stored_bytes": 100})
    told = operator.post("/simulations", {"template": operator.template()}, status=429)
    assert told["errors"] == [{"field": "quota.stored_bytes", "message": "100 of 100 bytes are stored already"}]
    file = {"name": "a.db3", "size": 1, "sha256": "0" * 64}
    told = operator.post("/bundles", {"name": "more", "files": [file]}, status=429)
    assert told["errors"][0]["message"].endswith("and these would be 1 more")
    admin.patch(f"/users/{operator.id}", {"max_stored_bytes": 101})
    operator.submit()


def test_what_is_deleted_or_goes_with_a_simulation_takes_no_room(web: Web, admin: User, operator: User) -> None:
    simulation = operator.submit(repeats=2)
    web.settle()
    for job, size in zip(web.jobs(simulation), (4, 16), strict=True):
        add_bundle(web, operator.id, size=size, job=job)
    add_bundle(web, operator.id, size=64)
    gone = add_bundle(web, operator.id, size=256)
    add_bundle(web, admin.id, size=1024)

    def used() -> int:
        return int(operator.get("/auth/me")["quota"]["stored_bytes"]["used"])

    assert used() == 4 + 16 + 64 + 256
    operator.delete(f"/bundles/{gone}")
    assert used() == 4 + 16 + 64
    operator.post(f"/simulations/{simulation}/cancel", status=202)
    operator.delete(f"/simulations/{simulation}")
    assert used() == 64
