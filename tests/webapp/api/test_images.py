"""Templates and submissions on a deployment that runs images: a tag is what it means when it is accepted, for ever."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select

from shared.domain.specs import Program, TemplateSpec
from shared.persistence.models import simulations, template_versions, templates
from shared.settings import WebSettings
from tests.images import A, B, C, ImageRegistry, never, says, serving
from tests.webapp.web import User, Web, problem
from webapp import install
from webapp.api.schemas.instances import Instance
from webapp.api.schemas.simulations import Simulation
from webapp.api.schemas.templates import Template, TemplateList
from webapp.images.resolver import Image, Resolver
from webapp.templates import install as install_template

Make = Callable[[WebSettings], Web]


@pytest.fixture
def registry() -> Iterator[ImageRegistry]:
    with serving(ImageRegistry({"us/robot:1": A, "us/bridge:1": B})) as registry:
        yield registry


@pytest.fixture
def cluster(settings: WebSettings, registry: ImageRegistry) -> WebSettings:
    return settings.model_copy(update={"runtime": "kubernetes", "insecure_registries": registry.host,
                                       "allowed_images": f"{registry.host}/us/*"})


@pytest.fixture
def web(make_web: Make, cluster: WebSettings) -> Web:
    return make_web(cluster)


@pytest.fixture
def unresolving(make_web: Make, cluster: WebSettings) -> Web:
    """The same deployment before RESOLVE_IMAGES."""
    return make_web(cluster.model_copy(update={"resolve_images": False}))


def boxed(registry: ImageRegistry, image: str = "us/robot:1", **fields: Any) -> dict[str, Any]:
    return {"name": "boxed", "image": f"{registry.host}/{image}", "command": ["drive"], "limits": {"run_seconds": 60},
            "resources": {"memory_mb": 100}} | fields


def bridge(registry: ImageRegistry, image: str = "us/bridge:1") -> list[dict[str, Any]]:
    return [{"name": "bridge", "image": f"{registry.host}/{image}", "command": ["bridge"]}]


def program(web: Web, simulation: str) -> Program:
    with web.database.transaction() as tx:
        found = tx.execute(select(simulations.c.program).where(simulations.c.id == UUID(simulation))).scalar_one()
    return Program.model_validate(found)


def count(web: Web, table: Any) -> int:
    with web.database.transaction() as tx:
        return int(tx.execute(select(func.count()).select_from(table)).scalar_one())


# -- templates ------------------------------------------------------------------------------------------------------

def test_a_template_shows_its_images_as_stated_and_what_they_are(operator: User, registry: ImageRegistry) -> None:
    body = boxed(registry, containers=bridge(registry))
    made = operator.post("/templates", body, status=201)
    assert (made["image"], made["image_digest"]) == (body["image"], A)
    [beside] = made["containers"]
    assert (beside["image"], beside["image_digest"]) == (f"{registry.host}/us/bridge:1", B)
    assert operator.get("/templates/boxed") == operator.get("/templates/boxed/versions/1") == made
    Template.model_validate_json(operator.open("GET", "/templates/boxed").get_data())
    listed = operator.get("/templates")
    TemplateList.model_validate(listed)
    assert listed["items"] == [made]


def test_what_runs_is_the_digest_also_when_the_tag_means_another_image_by_then(
        web: Web, operator: User, registry: ImageRegistry) -> None:
    operator.post("/templates", boxed(registry, containers=bridge(registry)), status=201)
    registry.images.update({"us/robot:1": C, "us/bridge:1": C})
    asked = len(registry.asked)
    simulation = operator.submit("boxed")
    made = program(web, simulation)
    assert made.image == f"{registry.host}/us/robot@{A}"
    assert [each.image for each in made.containers] == [f"{registry.host}/us/bridge@{B}"]
    shown = operator.get(f"/simulations/{simulation}")
    Simulation.model_validate(shown)
    assert shown["image_digest"] == A
    assert len(registry.asked) == asked


def test_an_identical_change_makes_a_version_only_if_the_tag_means_another_image(
        operator: User, registry: ImageRegistry) -> None:
    body = boxed(registry)
    first = operator.post("/templates", body, status=201)
    assert operator.put("/templates/boxed", body) == first
    registry.images["us/robot:1"] = C
    second = operator.put("/templates/boxed", body)
    assert (second["version"], second["image_digest"]) == (2, C)
    assert operator.get("/templates/boxed/versions/1") == first


def test_a_repeated_key_is_answered_without_the_registry(operator: User, registry: ImageRegistry) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    first = operator.post("/templates", boxed(registry), status=201, headers=key)
    registry.bad = says(503)
    assert operator.post("/templates", boxed(registry), status=201, headers=key) == first


def test_a_command_has_no_image(operator: User) -> None:
    made = operator.post("/templates", {"name": "plain", "command": ["x"]}, status=201)
    assert (made["image"], made["image_digest"], made["containers"]) == (None, None, [])


def test_nothing_is_kept_of_a_template_whose_images_are_not_there(
        web: Web, operator: User, registry: ImageRegistry) -> None:
    body = boxed(registry, "us/none:1", containers=bridge(registry, "us/none:2"))
    told = problem(operator.open("POST", "/templates", json=body), 422, "image_unresolved")
    assert [error["field"] for error in told["errors"]] == ["image", "containers.0.image"]
    assert told["remedy"] and not told["retryable"]
    registry.bad = says(503)
    told = problem(operator.open("POST", "/templates", json=boxed(registry)), 503, "registry_unavailable")
    assert told["errors"][0]["field"] == "image" and told["remedy"] and told["retryable"]
    assert count(web, templates) == 0


def test_a_change_that_cannot_be_resolved_changes_nothing(operator: User, registry: ImageRegistry) -> None:
    first = operator.post("/templates", boxed(registry), status=201)
    operator.put("/templates/boxed", boxed(registry, "us/none:1"), status=422)
    assert operator.get("/templates/boxed") == first


def test_the_database_is_free_while_a_registry_is_waited_for(
        web: Web, operator: User, registry: ImageRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.parts.images, "_seconds", 0.3)
    free: list[int] = []
    resolve = Resolver.resolve

    def look(self: Resolver, *images: Any, **fields: Any) -> dict[str, Image]:
        free.extend(engine.pool.checkedout() for engine in (web.database._engine, web.database._single))  # type: ignore[attr-defined]
        return resolve(self, *images, **fields)

    monkeypatch.setattr(Resolver, "resolve", look)
    registry.bad = never(registry)
    operator.post("/templates", boxed(registry), status=503)
    assert free == [0, 0]


def test_what_is_not_allowed_is_not_asked_for(operator: User, registry: ImageRegistry) -> None:
    told = operator.post("/templates", boxed(registry, "them/robot:1"), status=422)
    assert told["code"] == "over_the_ceiling"
    operator.post("/templates", boxed(registry), status=201)
    asked = len(registry.asked)
    operator.post("/simulations", {"template": "boxed", "image": f"{registry.host}/them/x:1"}, status=422)
    assert len(registry.asked) == asked


def test_what_is_no_reference_is_refused_by_field(
        make_web: Make, cluster: WebSettings, registry: ImageRegistry) -> None:
    """Also where nothing is resolved, for no node could pull it."""
    operator = make_web(cluster.model_copy(update={"allowed_images": "", "resolve_images": False})).user("operator")
    told = operator.post("/templates", boxed(registry) | {"image": "Robot:1"}, status=422)
    assert (told["code"], told["errors"][0]["field"]) == ("invalid", "image")


# -- what images run by themselves ------------------------------------------------------------------------------------

def commandless(registry: ImageRegistry, image: str = "us/robot:1", **fields: Any) -> dict[str, Any]:
    return {key: value for key, value in boxed(registry, image, **fields).items() if key != "command"}


def test_a_template_without_a_command_shows_and_runs_what_its_images_say(
        web: Web, operator: User, registry: ImageRegistry) -> None:
    registry.push("us/robot:1", registry.image(Entrypoint=["/drive"], Cmd=["--slow"]))
    registry.push("us/bridge:1", registry.image(Cmd=["bridge"]))
    beside = [{"name": "a", "image": f"{registry.host}/us/bridge:1"},
              {"name": "b", "image": f"{registry.host}/us/bridge:1", "command": ["other"]}]
    made = operator.post("/templates", commandless(registry, containers=beside), status=201)
    assert (made["command"], made["image_command"]) == (None, ["/drive", "--slow"])
    assert [each["image_command"] for each in made["containers"]] == [["bridge"], None]
    assert operator.get("/templates/boxed") == made
    Template.model_validate_json(operator.open("GET", "/templates/boxed").get_data())
    run = program(web, operator.submit("boxed"))
    assert run.image_commands == {run.image: ("/drive", "--slow"), run.containers[0].image: ("bridge",)}
    assert (run.command, run.image) == ((), f"{registry.host}/us/robot@{made['image_digest']}")


def test_where_a_command_is_stated_nobody_asks_what_the_image_says(operator: User, registry: ImageRegistry) -> None:
    made = operator.post("/templates", boxed(registry, containers=bridge(registry)), status=201)
    assert made["image_command"] is None
    assert [each.method for each in registry.asked] == ["HEAD", "HEAD"]


def test_a_submissions_own_image_runs_what_it_says_itself(web: Web, operator: User, registry: ImageRegistry) -> None:
    registry.push("us/robot:1", registry.image(Cmd=["drive"]))
    registry.push("us/robot:pr-12", registry.image(Cmd=["drive", "--new"]))
    operator.post("/templates", commandless(registry), status=201)
    run = program(web, operator.submit("boxed", image=f"{registry.host}/us/robot:pr-12"))
    assert run.image_commands == {run.image: ("drive", "--new")}
    registry.images["us/robot:bad"] = registry.keep(registry.image())
    told = operator.post("/simulations", {"template": "boxed", "image": f"{registry.host}/us/robot:bad"}, status=422)
    assert (told["code"], told["errors"][0]["field"], told["remedy"]) == ("image_unresolved", "image", "state command")
    operator.put("/templates/boxed", boxed(registry))
    run = program(web, operator.submit("boxed", image=f"{registry.host}/us/robot:bad"))
    assert (run.command, run.image_commands) == (("drive",), {})


def test_what_an_image_runs_that_cannot_be_told_is_to_be_stated(
        web: Web, operator: User, registry: ImageRegistry) -> None:
    registry.push("us/bridge:1", registry.image())
    body = commandless(registry, containers=[{"name": "bridge", "image": f"{registry.host}/us/bridge:1"}])
    told = problem(operator.open("POST", "/templates", json=body), 422, "image_unresolved")
    assert [error["field"] for error in told["errors"]] == ["image", "containers.0.image"]
    assert told["remedy"] == "state command" and count(web, templates) == 0
    operator.post("/templates", boxed(registry, containers=bridge(registry)), status=201)


def test_where_nobody_may_look_an_image_runs_alone_and_who_asks_is_warned(
        unresolving: Web, web: Web, operator: User, registry: ImageRegistry) -> None:
    before = unresolving.user("operator")
    pinned = f"us/robot@{registry.keep(registry.image(Cmd=['drive']))}"
    made = before.post("/templates", commandless(registry, pinned), status=201)
    assert (made["image_command"], registry.asked) == (None, [])
    assert program(unresolving, before.submit("boxed")).image_commands == {}
    [warning] = before.post("/simulations?dry_run=true", {"template": "boxed"}, status=200)["warnings"]
    assert warning["field"] == "template" and "states no command" in warning["message"]
    told = operator.post("/simulations", {"template": "boxed"}, status=422)
    assert (told["code"], told["errors"][0]["field"]) == ("image_unresolved", "template")
    after = web.user("admin")
    assert after.put("/templates/boxed", commandless(registry, pinned))["image_command"] == ["drive"]
    assert after.post("/simulations?dry_run=true", {"template": "boxed"}, status=200)["warnings"] == []
    # What was found out stays known.
    assert before.post("/simulations?dry_run=true", {"template": "boxed"}, status=200)["warnings"] == []


# -- submissions ----------------------------------------------------------------------------------------------------

def test_a_submissions_own_image_is_resolved_and_the_others_stay_the_templates(
        web: Web, operator: User, registry: ImageRegistry) -> None:
    registry.images["us/robot:pr-12"] = B
    operator.post("/templates", boxed(registry, containers=bridge(registry, "us/robot:1")), status=201)
    simulation = operator.submit("boxed", image=f"{registry.host}/us/robot:pr-12")
    made = program(web, simulation)
    assert made.image == f"{registry.host}/us/robot@{B}"
    registry.images["us/robot:1"] = C
    same = program(web, operator.submit("boxed", image=f"{registry.host}/us/robot:1"))
    assert same.image == f"{registry.host}/us/robot@{C}"
    assert made.containers == same.containers and same.containers[0].image == f"{registry.host}/us/robot@{A}"
    shown = operator.get(f"/simulations/{simulation}")
    assert (shown["spec"]["image"], shown["image_digest"]) == (f"{registry.host}/us/robot:pr-12", B)


@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_a_submission_whose_image_is_not_there_is_refused(
        web: Web, operator: User, registry: ImageRegistry, query: str) -> None:
    operator.post("/templates", boxed(registry), status=201)
    body = {"template": "boxed", "image": f"{registry.host}/us/robot:2"}
    told = operator.open("POST", f"/simulations{query}", json=body).get_json()
    [error] = told["refused"] if query else told["errors"]
    assert (error["field"], error["message"]) == ("image", f"{registry.host} has no us/robot:2")
    registry.bad = says(503)
    problem(operator.open("POST", f"/simulations{query}", json=body), 503, "registry_unavailable")
    assert count(web, simulations) == 0


def test_a_registry_is_not_asked_for_a_submission_that_is_refused_anyway(
        operator: User, registry: ImageRegistry) -> None:
    operator.post("/templates", boxed(registry), status=201)
    asked = len(registry.asked)
    operator.post("/simulations", {"template": "boxed", "image": f"{registry.host}/us/robot:1",
                                   "inputs": [str(uuid4())]}, status=422)
    assert len(registry.asked) == asked


def test_a_template_of_before_is_resolved_by_putting_it_again(
        web: Web, unresolving: Web, operator: User, registry: ImageRegistry) -> None:
    body = boxed(registry, containers=bridge(registry))
    before = unresolving.user("operator")
    made = before.post("/templates", body, status=201)
    assert (made["image_digest"], made["containers"][0]["image_digest"]) == (None, None)
    simulation = before.submit("boxed")
    assert program(unresolving, simulation).image == body["image"]
    assert before.get(f"/simulations/{simulation}")["image_digest"] is None
    for own in ({}, {"image": body["image"]}):
        told = operator.post("/simulations", {"template": "boxed"} | own, status=422)
        assert (told["code"], told["errors"][0]["field"]) == ("image_unresolved", "template")
    assert "PUT" in told["remedy"]
    after = web.user("admin")
    assert after.put("/templates/boxed", body)["version"] == 2
    assert program(web, operator.submit("boxed")).image == f"{registry.host}/us/robot@{A}"


def test_what_is_stated_by_digest_is_pinned_also_where_tags_are_not_resolved(
        unresolving: Web, registry: ImageRegistry) -> None:
    operator = unresolving.user("operator")
    made = operator.post("/templates", boxed(registry, f"us/robot:1@{B}"), status=201)
    assert made["image_digest"] == B
    assert program(unresolving, operator.submit("boxed")).image == f"{registry.host}/us/robot@{B}"
    assert registry.asked == []


# -- attempts -------------------------------------------------------------------------------------------------------

def test_an_instance_tells_what_its_newest_attempt_ran(web: Web, operator: User, registry: ImageRegistry) -> None:
    operator.post("/templates", boxed(registry, retry={"max_attempts": 1}), status=201)
    simulation = operator.submit("boxed")
    [job] = web.jobs(simulation)
    web.settle()
    assert operator.get(f"/instances/{job}")["image_digest"] is None
    assert web.connections.lifecycle.pass_gate(job, 1, host="h", boot="b", token_hash="")
    web.move(job, "STARTING", "RUNNING", image_digest=A)  # type: ignore[arg-type]
    shown = operator.get(f"/instances/{job}")
    Instance.model_validate(shown)
    assert shown["image_digest"] == A
    assert operator.get(f"/simulations/{simulation}/instances")["items"][0]["image_digest"] == A
    web.finish(job, "crashed")
    operator.post(f"/simulations/{simulation}/retry", {}, status=202)
    web.settle()
    again = operator.get(f"/instances/{job}")
    assert (again["attempt"], again["image_digest"]) == (2, None)


# -- install --------------------------------------------------------------------------------------------------------

def test_a_built_in_template_is_resolved_when_it_is_made_and_then_left_alone(
        web: Web, registry: ImageRegistry) -> None:
    spec = TemplateSpec.model_validate(boxed(registry))
    assert install_template(web.database, spec, web.parts.images) == "made as version 1"
    registry.images["us/robot:1"] = C
    registry.bad = says(503)
    assert install_template(web.database, spec, web.parts.images) == "is there already"
    with web.database.transaction() as tx:
        assert tx.execute(select(template_versions.c.images)).scalar_one() == {
            spec.image: {"digest": A, "command": None}}


def test_a_built_in_template_that_cannot_be_resolved_stops_the_installation_with_a_line(
        web: Web, registry: ImageRegistry, tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_text(TemplateSpec.model_validate(boxed(registry, "us/none:1")).model_dump_json())
    with pytest.raises(install.Failed, match=r"image: .* has no us/none:1"):
        install.make_template(web.database, file, web.parts.images)
    assert count(web, templates) == 0


def test_one_that_was_made_before_is_resolved_by_the_next_installation(
        web: Web, unresolving: Web, registry: ImageRegistry) -> None:
    spec = TemplateSpec.model_validate(boxed(registry))
    install_template(unresolving.database, spec, unresolving.parts.images)
    assert install_template(web.database, spec, web.parts.images) == "changed, now version 2"
    assert install_template(web.database, spec, web.parts.images) == "is there already"
