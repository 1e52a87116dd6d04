"""POST /simulations?dry_run=true: everything that a submission would come to, and nothing of it written."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from shared.domain.specs import SimulationSpec, TemplateSpec
from shared.persistence.models import events, idempotency_keys, jobs, simulations
from shared.settings import WebSettings
from tests.webapp.web import User, Web, problem
from webapp import strict_json
from webapp.api.schemas.simulations import DryRun
from webapp.templates import install

ROOT = Path(__file__).parents[3]
SPEED = {"type": "object", "additionalProperties": False, "properties": {
    "speed": {"type": "number", "maximum": 2}, "goals": {"type": "integer", "default": 3}}}


def rows(web: Web) -> list[int]:
    with web.database.transaction() as tx:
        return [tx.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (simulations, jobs, events, idempotency_keys)]


def tried(user: User, body: Any, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = user.post("/simulations?dry_run=true", body, status=200, **options)
    DryRun.model_validate(found)
    return found


def test_what_is_shown_is_what_the_same_body_makes(web: Web, operator: User) -> None:
    body = {"template": operator.template(parameters=SPEED), "seed": 7, "repeats": 2, "method": "latin_hypercube",
            "samples": 15, "parameters": {"speed": {"uniform": [0, 2]}}}
    shown = tried(operator, body)
    assert (shown["dry_run"], shown["accepted"], shown["total"], shown["refused"]) == (True, True, 30, [])
    simulation = operator.post("/simulations", body, status=202)["id"]
    made = operator.get(f"/simulations/{simulation}/instances?limit=20")["items"]
    assert shown["points"] == [{name: item[name] for name in ("index", "parameters", "seed")} for item in made]
    assert shown["points"][0]["parameters"]["goals"] == 3


def test_nothing_is_written_and_no_key_is_used(web: Web, operator: User) -> None:
    body, key = {"template": operator.template()}, {"Idempotency-Key": "k"}
    before = rows(web)
    assert tried(operator, body, headers=key)["accepted"]
    assert tried(operator, body | {"inputs": [str(uuid4())]}, headers=key)["accepted"] is False
    web.settle()
    assert rows(web) == before
    made = operator.post("/simulations", body | {"repeats": 2}, status=202, headers=key)
    assert made["total"] == 2
    assert tried(operator, body, headers=key)["total"] == 1


def test_a_seed_that_is_not_stated_is_drawn_and_answered(operator: User) -> None:
    body = {"template": operator.template(), "parameters": {"a": {"normal": [0, 1]}}}
    first, second = tried(operator, body), tried(operator, body)
    assert first["seed"] != second["seed"]
    assert tried(operator, body | {"seed": first["seed"]}) == first


def test_every_reason_is_told_at_once(make_web: Callable[[WebSettings], Web], settings: WebSettings) -> None:
    web = make_web(settings.model_copy(update={"max_run_seconds": 600.0}))
    user = web.user("operator")
    template = user.template(parameters=SPEED)
    shown = tried(user, {"template": template, "image": "robot:1", "inputs": [str(uuid4()), str(uuid4())],
                         "limits": {"run_seconds": 1000}, "parameters": {"speed": {"grid": [1, 3]}, "sped": 1}})
    assert (shown["accepted"], shown["total"]) == (False, 2)
    assert [each["field"] for each in shown["refused"]] == [
        "inputs.0", "inputs.1", "image", "limits.run_seconds", "parameters.sped", "parameters.speed"]
    assert all(each["message"] for each in shown["refused"])
    assert [point["parameters"]["speed"] for point in shown["points"]] == [1, 3]
    unknown = tried(user, {"template": "none", "limits": {"run_seconds": 1000}, "repeats": 3})
    assert (unknown["accepted"], unknown["total"], unknown["points"], unknown["limits"]) == (False, 3, [], None)
    assert [each["field"] for each in unknown["refused"]] == ["template", "limits.run_seconds"]


@pytest.mark.parametrize(("fields", "total", "field"), [
    ({"repeats": 100_001}, 100_001, "parameters"),
    ({"method": "random", "samples": 1000, "repeats": 1000}, 1_000_000, "samples"),
    ({"parameters": {"a": "x" * 1000}, "repeats": 100_000}, 100_000, "parameters"),
    ({"parameters": {"a": {"range": [0, 1, 1e-9]}}}, None, "parameters.a"),
    ({"parameters": {"a": {"range": [0, 1, 0]}, "b": {}}}, None, "parameters.a"),
])
def test_the_total_is_told_as_far_as_it_is_known(
        operator: User, fields: dict[str, Any], total: int | None, field: str) -> None:
    shown = tried(operator, {"template": operator.template()} | fields)
    assert (shown["accepted"], shown["total"], shown["points"]) == (False, total, [])
    assert shown["refused"][0]["field"] == field


def test_a_hundred_thousand_instances_are_as_many_as_may_be(operator: User) -> None:
    body = {"template": operator.template(), "method": "random", "samples": 1000, "repeats": 100,
            "parameters": {"a": {"uniform": [0, 1]}}}
    shown = tried(operator, body)
    assert (shown["accepted"], shown["total"], len(shown["points"])) == (True, 100_000, 20)
    assert len({point["seed"] for point in shown["points"]}) == 20
    assert len({point["parameters"]["a"] for point in shown["points"]}) == 1


def test_what_is_no_submission_is_refused_as_ever(operator: User, viewer: User) -> None:
    for body, field in (({"template": "t", "repeats": "3"}, "repeats"), ({"template": "t", "sead": 1}, "sead")):
        told = operator.post("/simulations?dry_run=true", body, status=422)
        assert told["errors"][0]["field"] == field
    problem(operator.open("POST", "/simulations?dry_run=perhaps", json={"template": "t"}), 422, "invalid")
    problem(viewer.open("POST", "/simulations?dry_run=true", json={"template": "t"}), 403, "forbidden")


def test_a_dry_run_that_is_none_submits(operator: User) -> None:
    operator.post("/simulations?dry_run=false", {"template": operator.template()}, status=202)


def test_the_examples_of_the_documentation_are_accepted(web: Web, operator: User) -> None:
    install(web.database, TemplateSpec.model_validate(
        strict_json.parse((ROOT / "simulators/diffdrive/template.json").read_bytes())), web.parts.images)
    shown = tried(operator, SimulationSpec.EXAMPLE)
    assert (shown["refused"], shown["total"]) == ([], 16)
    text = (ROOT / "docs/sweeps.md").read_text()
    examples = re.findall(r"```json\n(.*?)```\n\n(\d+) instances", text, re.DOTALL)
    assert len(examples) == text.count("```json") >= 7
    speeds = []
    for example, total in examples:
        shown = tried(operator, strict_json.parse(example.encode()))
        assert (shown["refused"], shown["total"]) == ([], int(total)), example
        speeds.append([point["parameters"]["max_speed"] for point in shown["points"]])
    assert speeds[-1][:6] == speeds[3][:18:3]  # as the page says of its last example


def test_each_reason_has_the_code_and_the_remedy_of_the_refusal(operator: User) -> None:
    body = {"template": operator.template(parameters=SPEED), "parameters": {"sped": 1}, "inputs": [str(uuid4())]}
    shown = tried(operator, body)
    assert [each["code"] for each in shown["refused"]] == ["invalid", "invalid_spec"]
    told = operator.post("/simulations", {key: body[key] for key in ("template", "parameters")}, status=422)
    assert shown["refused"][1] == told["errors"][0] | {"code": told["code"], "remedy": told["remedy"]}


def test_what_is_taken_but_may_not_be_meant_is_warned_of(operator: User) -> None:
    open_schema = operator.template(parameters={"type": "object", "properties": {"speed": {"type": "number"}}})
    shown = tried(operator, {"template": open_schema, "parameters": {"sped": 1}})
    assert (shown["accepted"], shown["warnings"]) == (True, [
        {"field": "parameters.sped", "message": "the template names no such parameter; did you mean speed?"}])
    listed = {"template": open_schema, "method": "list", "points": [{"speed": 1}, {"sped": 1}, {"sped": 2}]}
    assert [each["field"] for each in tried(operator, listed)["warnings"]] == ["points.1.sped"]
    bare = tried(operator, {"template": operator.template(), "parameters": {"speed": 1, "mass": 2}})
    assert bare["warnings"] == [{"field": "parameters", "message": "the template names no parameters, so these were "
                                                                   "held against nothing"}]
    drawn = {"template": open_schema, "parameters": {"speed": {"uniform": [0, 1]}}}
    assert tried(operator, drawn)["warnings"] == [
        {"field": "parameters.speed", "message": "is drawn once, for the one instance there is; method random with "
                                                 "samples makes many"}]
    for fields in ({"repeats": 2}, {"method": "random", "samples": 1}, {"parameters": {"speed": 1}}):
        assert tried(operator, drawn | fields)["warnings"] == []
