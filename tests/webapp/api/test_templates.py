import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from shared.domain.specs import TemplateSpec
from shared.settings import WebSettings
from tests.webapp.web import User, Web, problem
from webapp import templates
from webapp.api.schemas.templates import Template, TemplateList

DRIVE = {"name": "drive", "description": "drives", "command": ["drive", "--fast"], "env": {"A": "1"},
         "parameters": {"type": "object", "properties": {"speed": {"type": "number", "default": 1}}},
         "limits": {"run_seconds": 60}, "retry": {"max_attempts": 1, "on": ["evicted"]}}


def test_a_template_is_kept_as_it_was_made(operator: User, viewer: User) -> None:
    response = operator.open("POST", "/templates", json=DRIVE)
    assert response.status_code == 201
    assert response.headers["Location"] == "/api/v1/templates/drive"
    made = response.get_json()
    Template.model_validate_json(response.get_data())
    assert (made["version"], made["owner"]) == (1, str(operator.id))
    assert made["command"] == ["drive", "--fast"] and made["parameters"] == DRIVE["parameters"]
    assert viewer.get("/templates/drive") == made
    assert viewer.get("/templates/drive/versions/1") == made
    problem(viewer.open("GET", "/templates/drive/versions/2"), 404, "not_found")
    problem(viewer.open("GET", "/templates/none"), 404, "not_found")


def test_a_name_is_given_once_also_to_two_at_once(web: Web, operator: User) -> None:
    statuses: list[int] = []

    def make() -> None:
        user = web.user("operator")
        statuses.append(user.open("POST", "/templates", json=DRIVE).status_code)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(statuses) == [201, 409, 409, 409]
    told = problem(operator.open("POST", "/templates", json=DRIVE), 409, "name_taken")
    assert told["errors"][0]["field"] == "name"


def test_a_repeated_key_makes_one_template(operator: User) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    first = operator.post("/templates", DRIVE, status=201, headers=key)
    assert operator.post("/templates", DRIVE, status=201, headers=key) == first
    other = operator.open("POST", "/templates", json=DRIVE | {"name": "other"}, headers=key)
    problem(other, 422, "idempotency_mismatch")


def test_an_image_template_is_kept_for_a_runtime_that_can_run_it(operator: User) -> None:
    operator.post("/templates", {"name": "boxed", "image": "robot:1", "limits": {"run_seconds": 60},
                                 "resources": {"memory_mb": 100}}, status=201)
    told = operator.post("/simulations", {"template": "boxed"}, status=422)
    assert told["code"] == "runtime_cannot_run_image" and told["remedy"]


def test_the_list_shows_each_in_its_newest_version(web: Web, operator: User) -> None:
    for name in ("a1", "a2", "b1"):
        operator.post("/templates", DRIVE | {"name": name}, status=201)
    assert templates.install(web.database, TemplateSpec.model_validate(DRIVE | {"name": "a1", "description": "new"}),
                             web.parts.images) \
        == "changed, now version 2"
    page = operator.get("/templates?limit=2")
    TemplateList.model_validate(page)
    rest = operator.get(f"/templates?limit=2&cursor={page['next']}")
    assert [item["name"] for item in page["items"] + rest["items"]] == ["b1", "a2", "a1"]
    assert rest["next"] is None
    assert rest["items"][0]["version"] == 2
    assert [item["name"] for item in operator.get("/templates?name=A")["items"]] == ["a2", "a1"]
    assert operator.get(f"/templates?owner={uuid4()}")["items"] == []


def test_the_newest_version_is_taken_unless_one_is_stated(web: Web, operator: User) -> None:
    operator.post("/templates", DRIVE, status=201)
    pinned = operator.post("/simulations", {"template": "drive"}, status=202)["template"]
    assert pinned == {"name": "drive", "version": 1}
    templates.install(web.database, TemplateSpec.model_validate(DRIVE | {"command": ["walk"]}), web.parts.images)
    assert operator.post("/simulations", {"template": "drive"}, status=202)["template"]["version"] == 2
    assert operator.post("/simulations", {"template": "drive@1"}, status=202)["template"]["version"] == 1


def test_installing_the_same_again_makes_no_version(web: Web) -> None:
    spec = TemplateSpec.model_validate(DRIVE)
    said = [templates.install(web.database, spec, web.parts.images) for _ in range(2)]
    assert said == ["made as version 1", "is there already"]


# -- versions -------------------------------------------------------------------------------------------------------

def test_a_change_is_the_next_version_and_the_old_one_stays(operator: User, viewer: User) -> None:
    first = operator.post("/templates", DRIVE, status=201)
    second = operator.put("/templates/drive", DRIVE | {"description": "drives better"})
    Template.model_validate_json(str(operator.open("GET", "/templates/drive").get_data(as_text=True)))
    assert (second["version"], second["description"]) == (2, "drives better")
    assert viewer.get("/templates/drive") == second
    assert viewer.get("/templates/drive/versions/1") == first
    assert operator.put("/templates/drive", DRIVE | {"description": "drives better"}) == second


def test_a_submission_keeps_the_version_it_was_made_with(operator: User) -> None:
    operator.post("/templates", DRIVE, status=201)
    old = operator.submit("drive")
    operator.put("/templates/drive", DRIVE | {"command": ["other"]})
    assert operator.get(f"/simulations/{old}")["template"] == {"name": "drive", "version": 1}
    assert operator.get(f"/simulations/{operator.submit('drive')}")["template"]["version"] == 2
    assert operator.get(f"/simulations/{operator.submit('drive@1')}")["template"]["version"] == 1


def test_changes_at_once_are_versions_one_after_the_other(web: Web, operator: User) -> None:
    operator.post("/templates", DRIVE, status=201)
    threads = [threading.Thread(target=lambda place=place: operator.put(
        "/templates/drive", DRIVE | {"description": str(place)})) for place in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert operator.get("/templates/drive")["version"] == 6


def test_a_template_keeps_its_name(operator: User) -> None:
    operator.post("/templates", DRIVE, status=201)
    told = operator.put("/templates/drive", DRIVE | {"name": "fly"}, status=422)
    assert told["errors"][0]["field"] == "name"
    operator.put("/templates/fly", DRIVE | {"name": "fly"}, status=404)


def test_an_archived_template_takes_no_submissions_but_what_was_submitted_runs(web: Web, operator: User) -> None:
    operator.post("/templates", DRIVE, status=201)
    running = operator.submit("drive")
    operator.delete("/templates/drive")
    operator.delete("/templates/drive")
    web.settle()
    assert operator.get(f"/simulations/{running}/status")["counts"]["STARTING"] == 1
    for reference in ("drive", "drive@1"):
        told = operator.post("/simulations", {"template": reference}, status=422)
        assert told["code"] == "template_archived" and told["errors"][0]["field"] == "template"
    assert operator.get("/templates/drive")["archived_at"]
    assert operator.get("/templates/drive/versions/1")["archived_at"]
    assert "drive" not in [item["name"] for item in operator.get("/templates")["items"]]
    assert "drive" in [item["name"] for item in operator.get("/templates?archived=true")["items"]]
    operator.post("/templates", DRIVE, status=409)


def test_a_change_takes_it_out_of_the_archive(operator: User) -> None:
    operator.post("/templates", DRIVE, status=201)
    operator.delete("/templates/drive")
    again = operator.put("/templates/drive", DRIVE)
    assert (again["version"], again["archived_at"]) == (1, None)
    operator.submit("drive")


def test_a_failed_instance_of_an_archived_template_can_be_run_again(web: Web, operator: User) -> None:
    template = operator.template()
    simulation = operator.submit(template)
    [job] = web.jobs(simulation)
    web.start(job)
    web.finish(job, "crashed")
    operator.delete(f"/templates/{template}")
    assert operator.post(f"/simulations/{simulation}/retry", {}, status=202)["counts"]["FAILED"] in (0, 1)
    web.settle()
    assert operator.get(f"/simulations/{simulation}/status")["counts"]["STARTING"] == 1


# -- ceilings -------------------------------------------------------------------------------------------------------

def test_a_template_stays_within_the_ceilings(operator: User) -> None:
    told = operator.post("/templates", DRIVE | {
        "limits": {"run_seconds": 86_401}, "resources": {"memory_mb": 65_537, "gpu": 1},
        "containers": [{"name": "sidecar", "image": "x", "resources": {"memory_mb": 65_537}}]}, status=422)
    assert told["code"] == "over_the_ceiling"
    assert [error["field"] for error in told["errors"]] == [
        "limits.run_seconds", "resources.memory_mb", "resources.gpu", "containers.0.resources.memory_mb"]
    operator.post("/templates", DRIVE | {"limits": {"run_seconds": 86_400}, "resources": {"memory_mb": 65_536}},
                  status=201)


def test_only_allowed_images_are_taken(make_web: Any, settings: WebSettings) -> None:
    web = make_web(settings.model_copy(update={"allowed_images": "ghcr.io/us/*, robot:*"}))
    operator = web.user("operator")
    body = {"name": "boxed", "limits": {"run_seconds": 60}, "resources": {"memory_mb": 100}}
    told = operator.post("/templates", body | {"image": "docker.io/evil", "containers": [
        {"name": "a", "image": "ghcr.io/us/a"}, {"name": "b", "image": "ghcr.io/them/b"}]}, status=422)
    assert [error["field"] for error in told["errors"]] == ["image", "containers.1.image"]
    operator.post("/templates", body | {"image": "robot:1"}, status=201)


@pytest.mark.parametrize("reasons", [[{}], [[]], [None], ["no_reason"], [1], {}, "evicted"])
def test_a_reason_that_is_none_is_refused_by_field(operator: User, reasons: Any) -> None:
    told = operator.post("/templates", DRIVE | {"retry": {"on": reasons}}, status=422)
    assert told["errors"][0]["field"].startswith("retry.on")


def test_a_template_says_what_holds_where_it_and_a_submission_state_nothing(
        make_web: Callable[[WebSettings], Web], settings: WebSettings) -> None:
    web = make_web(settings.model_copy(update={"execution_timeout_seconds": 17.0, "execution_memory_limit_mb": 300}))
    user = web.user("operator")
    made = user.post("/templates", {"name": "bare", "command": ["/bin/true"]}, status=201)
    assert made["limits"]["run_seconds"] is None and made["resources"]["memory_mb"] is None
    assert made["effective"] == {"run_seconds": 17, "memory_mb": 300}
    stating = user.put("/templates/bare", {"name": "bare", "command": ["/bin/true"], "limits": {"run_seconds": 5},
                                           "resources": {"memory_mb": 64}})
    assert stating["effective"] == {"run_seconds": 5, "memory_mb": 64}
    assert user.get("/templates")["items"][0]["effective"] == stating["effective"]
    assert user.get("/templates/bare/versions/1")["effective"] == made["effective"]


def test_who_finds_a_name_taken_is_told_of_its_next_version(operator: User) -> None:
    operator.post("/templates", DRIVE, status=201)
    told = operator.post("/templates", DRIVE, status=409)
    assert "PUT /templates/drive" in told["remedy"]


def test_who_wants_a_version_that_is_not_there_is_told_the_newest(operator: User) -> None:
    operator.post("/templates", DRIVE, status=201)
    version = operator.post("/simulations", {"template": "drive@7"}, status=422)
    assert version["errors"] == [{"field": "template", "message": "there is no drive@7; the newest is drive@1"}]
    assert "/templates/drive" in version["remedy"]
