import subprocess
import sys
from typing import Any

import pytest

from shared.domain.errors import InvalidSpec
from webapp.parameters.schema import MAX_SCHEMA_BYTES, check_schema, compiled


@pytest.mark.parametrize("schema", [
    {},
    {"type": "object"},
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
     "properties": {"a": {"$ref": "#/$defs/speed", "default": 1}}, "$defs": {"speed": {"type": "number"}}},
    {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}, "b": {"default": 1}}},
    {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(?!x)[a-z]+$"}}},
    {"type": "object", "properties": {"$ref": {"type": "string"}}},
])
def test_takes_a_schema_of_our_dialect(schema: dict[str, Any]) -> None:
    check_schema(schema)


@pytest.mark.parametrize(("schema", "field"), [
    ({"type": "array"}, "parameters.type"),
    ({"properties": {}}, "parameters.type"),
    ({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}, "parameters.$schema"),
    ({"type": "object", "properties": 3}, "parameters.properties"),
    ({"type": "object", "properties": {"a": {"type": "flaot"}}}, "parameters.properties.a.type"),
    ({"type": "object", "properties": {"a": {"pattern": "("}}}, "parameters.properties.a.pattern"),
    ({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}}, "parameters"),
    ({"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}}, "parameters"),
    ({"type": "object", "allOf": [{"$dynamicRef": "other.json"}]}, "parameters"),
    ({"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}, "parameters"),
    ({"type": "object", "description": "x" * MAX_SCHEMA_BYTES}, "parameters"),
    ({"type": "object", "properties": {"a": {"type": "number", "default": "fast"}}}, "parameters.properties.a.default"),
])
def test_refuses_what_is_none_and_says_where(schema: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        check_schema(schema)
    assert caught.value.errors[0].field == field


HOSTILE = [
    {"type": "object", "$ref": "#"},
    {"type": "object", "allOf": [{"$ref": "#/$defs/a"}],
     "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(?=a)(a+)+(a+)+(a+)+$"}}},
    {"type": "object", "properties": {"a": {"type": "string", "pattern": "((((a{100}){100}){100}){100})"}}},
    {"type": "object", "properties": {"a": {"anyOf": [{"$ref": "#/properties/a"}, {"$ref": "#/properties/a"}]}}},
]


def test_a_hostile_schema_neither_hangs_nor_kills_the_process() -> None:
    script = f"""
from webapp.parameters.schema import InvalidSpec, check_schema, compiled
for schema in {HOSTILE!r}:
    try:
        check_schema(schema)
        compiled(schema).check([{{"a": "a" * 5000 + "!"}}])
    except InvalidSpec:
        pass
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


def test_says_what_is_missing_and_what_is_too_much() -> None:
    schema = compiled({"type": "object", "required": ["a"], "additionalProperties": False,
                       "properties": {"a": {}, "deep": {"type": "object", "properties": {"b": {"maximum": 1}}}}})
    with pytest.raises(InvalidSpec) as caught:
        schema.check([{"deep": {"b": 2}, "c": 1}])
    assert {fault.field for fault in caught.value.errors} == {"parameters.a", "parameters.deep.b", "parameters.c"}


def test_few_faults_are_listed_however_many_there_are() -> None:
    schema = compiled({"type": "object", "properties": {"a": {"maximum": 0}}})
    with pytest.raises(InvalidSpec) as caught:
        schema.check([{"a": number} for number in range(10_000)])
    assert len(caught.value.errors) <= 20
