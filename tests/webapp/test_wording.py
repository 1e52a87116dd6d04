"""What is wrong with a request is told in words of JSON and of this API, never in those of the libraries behind it."""

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from shared.domain import specs
from shared.domain.errors import FieldError, InvalidSpec
from shared.domain.specs import SimulationSpec, TemplateSpec
from tests.webapp.web import Web
from webapp.api import schemas
from webapp.api.resource import validate
from webapp.api.schemas.auth import NewToken
from webapp.api.schemas.base import Input, Query
from webapp.api.schemas.bundles import Announcement
from webapp.api.schemas.simulations import SimulationQuery
from webapp.api.schemas.users import NewUser
from webapp.offers import meant
from webapp.parameters.schema import compiled
from webapp.wording import PATTERNS

MODULES = [specs, *(importlib.import_module(f"{schemas.__name__}.{each.name}")
                    for each in pkgutil.iter_modules(schemas.__path__))]
READ = sorted({found for module in MODULES for found in vars(module).values()
               if isinstance(found, type) and issubclass(found, (specs.Spec, Input, Query))
               and found.__module__ == module.__name__ and found.model_fields}, key=lambda model: model.__name__)
FOREIGN = re.compile(r"Input|[Tt]uple|dictionary|validation|instance of|pydantic|keyword|\^|Value error|List should")


def faults(model: type[BaseModel], value: Any) -> dict[str, str]:
    with pytest.raises(InvalidSpec) as told:
        validate(model, value)
    return {each.field: each.message for each in told.value.errors}


COMMAND = {"name": "t", "command": ["/bin/true"]}


@pytest.mark.parametrize(("model", "value", "field", "message"), [
    (TemplateSpec, {"name": "t", "command": "/bin/true"}, "command", "must be a JSON array of strings"),
    (TemplateSpec, {"name": "t", "command": []}, "command", "must have at least 1 item, not 0"),
    (TemplateSpec, COMMAND | {"env": []}, "env", "must be a JSON object"),
    (TemplateSpec, COMMAND | {"limits": 3}, "limits", "must be a JSON object"),
    (TemplateSpec, COMMAND | {"limits": {"run_seconds": "60"}}, "limits.run_seconds", "must be a number"),
    (TemplateSpec, COMMAND | {"limits": {"run_seconds": 0}}, "limits.run_seconds", "must be greater than 0"),
    (TemplateSpec, COMMAND | {"name": "Not A Name"}, "name",
     "must be 1 to 63 small letters, digits, `.`, `_` and `-`, a letter or digit at both ends"),
    (TemplateSpec, COMMAND | {"description": "x" * 1001}, "description", "must have at most 1000 characters"),
    (TemplateSpec, COMMAND | {"record": {"required": "yes"}}, "record.required", "must be true or false"),
    (TemplateSpec, COMMAND | {"network": "wide"}, "network", "must be 'none', 'cluster' or 'internet'"),
    (SimulationSpec, {"template": "t", "repeats": 1.5}, "repeats", "must be an integer"),
    (SimulationSpec, {"template": "t", "inputs": "x"}, "inputs", "must be a JSON array of strings"),
    (SimulationSpec, {"template": "t", "inputs": ["x"]}, "inputs.0", "is no UUID"),
    (SimulationSpec, {"template": "t", "points": {}}, "points", "must be a JSON array of objects"),
    (SimulationSpec, {"template": "t", "name": 3}, "name", "must be a string"),
    (SimulationSpec, {}, "template", "is required"),
    (SimulationSpec, [], "body", "must be a JSON object"),
    (NewUser, {"email": "ada", "password": "correct horse"}, "email", "must be an address such as ada@example.com"),
    (NewUser, {"email": "a@b", "password": "short"}, "password", "must have at least 8 characters"),
    (NewToken, {"name": "t", "scopes": ["simulation:write"]}, "scopes.0",
     "must be read, write or admin, or read or write of one resource, as simulations:write "
     "(templates, simulations, bundles, playbacks)"),
    (NewToken, {"name": "t", "scopes": ["read"], "expires_at": "soon"}, "expires_at",
     "must be a time such as 2026-11-25T12:00:00Z"),
    (NewToken, {"name": "t", "scopes": ["read"], "expires_at": "2026-11-25T12:00:00"}, "expires_at",
     "must be a time such as 2026-11-25T12:00:00Z"),
    (Announcement, {"name": "n", "files": []}, "files", "must have at least 1 item, not 0"),
])
def test_a_fault_is_told_in_words_of_json(model: type[BaseModel], value: Any, field: str, message: str) -> None:
    assert faults(model, value)[field] == message


def values(depth: int = 2) -> st.SearchStrategy[Any]:
    plain = st.one_of(st.none(), st.booleans(), st.integers(-5, 2**70), st.floats(allow_nan=False),
                      st.text(max_size=3), st.just("x" * 5000), st.just("2026-11-25"))
    return st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.text(max_size=3), inner, max_size=3), max_leaves=5)


@given(st.data())
def test_no_library_is_heard_whatever_is_sent(data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(READ))
    value = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(model.model_fields, values())) | values())
    try:
        validate(model, value)
    except InvalidSpec as told:
        for each in told.errors:
            assert not FOREIGN.search(each.message), each


def patterns(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("pattern"), str):
            yield node["pattern"]
        yield from (found for each in [*node.values(), *map(str, node.get("patternProperties", ()))]
                    for found in patterns(each))
    elif isinstance(node, list):
        yield from (found for each in node for found in patterns(each))


def test_every_pattern_has_words(lonely: Web) -> None:
    described = lonely.app.test_client().get("/openapi.json").get_json()
    assert set(patterns(described)) <= set(PATTERNS)


def test_a_field_that_is_not_there_is_told_with_those_that_are() -> None:
    assert faults(SimulationSpec, {"template": "t", "repeat": 2}) == {
        "repeat": "there is no such field; did you mean repeats?"}
    assert faults(TemplateSpec, COMMAND | {"resources": {"ram": 1}}) == {
        "resources.ram": "there is no such field; there are cpu, disk_mb, gpu, gpu_type, memory_mb and shm_mb"}
    assert faults(TemplateSpec, COMMAND | {"containers": [{"name": "a", "image": "i", "comand": ["x"]}]}) == {
        "containers.0.comand": "there is no such field; did you mean command?"}
    assert faults(SimulationQuery, {"labels": "a:b"}) == {"labels": "there is no such field; did you mean label?"}
    assert faults(SimulationSpec, {"template": "t", "limits": {"run_second": 3}}) == {
        "limits.run_second": "there is no such field; did you mean run_seconds?"}


@given(st.text(max_size=40), st.sets(st.text(min_size=1, max_size=20), max_size=30))
def test_what_is_offered_is_there(word: str, known: set[str]) -> None:
    told = meant(word, known)
    assert told == "" if not known else any(name in told for name in known)


def test_what_hangs_together_is_told_at_the_fields_it_hangs_on() -> None:
    assert set(faults(TemplateSpec, {"name": "t"})) == {"command"}
    assert set(faults(TemplateSpec, {"name": "t", "image": "i"})) == {"limits.run_seconds", "resources.memory_mb"}
    assert set(faults(SimulationSpec, {"template": "t", "method": "list"})) == {"points"}
    assert set(faults(Announcement, {"name": "n", "files": [{"name": "metadata.yaml", "size": 1,
                                                              "sha256": "0" * 64}]})) == {"files"}


@pytest.mark.parametrize(("schema", "value", "message"), [
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "x",
     '"x" fits none of what is allowed: "x" is not of type "integer"; "x" is not of type "null"'),
    ({"oneOf": [{"type": "integer"}, {"type": "null"}]}, "x",
     '"x" fits none of what is allowed: "x" is not of type "integer"; "x" is not of type "null"'),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 1,
     "1 fits more than one of what is allowed, and may fit one alone"),
    ({"type": "string"}, 1, '1 is not of type "string"'),
])
def test_what_a_schema_with_alternatives_refuses_is_told_by_alternative(schema: Any, value: Any, message: str) -> None:
    found = compiled({"type": "object", "properties": {"a": schema}})
    assert list(found.faults({"a": value})) == [FieldError("parameters.a", message)]


def test_a_parameter_that_is_not_there_is_told_with_what_may_be_meant() -> None:
    found = compiled(json.loads('{"type": "object", "additionalProperties": false, "properties": {"speed": {}}}'))
    assert list(found.faults({"sped": 1})) == [
        FieldError("parameters.sped", "there is no such parameter; did you mean speed?")]
