"""What may be asked for: the schema in template.json, and the code that reads it, say the same."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from simulators.diffdrive import parameters
from simulators.diffdrive.parameters import ParameterError, Parameters
from simulators.diffdrive.world import LAYOUTS

from .runs import start

SCHEMA = parameters.schema()
DEFAULTS: dict[str, Any] = {name: rule["default"] for name, rule in SCHEMA["properties"].items()}


def test_the_defaults_are_valid_and_are_what_the_code_takes() -> None:
    jsonschema_rs.meta.validate(SCHEMA)
    jsonschema_rs.validate(SCHEMA, DEFAULTS)
    jsonschema_rs.validate(SCHEMA, {})
    assert parameters.parse({}) == parameters.parse(DEFAULTS) == Parameters(**DEFAULTS)


def test_every_parameter_is_described_with_its_unit() -> None:
    assert set(DEFAULTS) == set(Parameters.__dataclass_fields__)
    assert all(rule["description"] and rule["unit"] for name, rule in SCHEMA["properties"].items() if name != "world")
    assert SCHEMA["properties"]["world"]["enum"] == list(LAYOUTS)


VALUES: list[Any] = [-1, 0, 0.2, 0.5, 1, 1.0, 2.5, 12, 13, 3600, 1e9, True, None, "open", "moon", "", [], {}]


@pytest.mark.parametrize("name", [*DEFAULTS, "colour"])
def test_the_code_refuses_what_the_schema_refuses(name: str) -> None:
    for value in VALUES:
        given = {name: value}
        if jsonschema_rs.is_valid(SCHEMA, given):
            parameters.parse(given)
        else:
            with pytest.raises(ParameterError, match=f"parameters.{name}"):
                parameters.parse(given)


@pytest.mark.parametrize("given", [None, [], 3, "open"])
def test_only_an_object_holds_parameters(given: object) -> None:
    with pytest.raises(ParameterError, match="object"):
        parameters.parse(given)


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"parameters\.noise"):
        parameters.parse(json.loads('{"noise": NaN}'))


@pytest.mark.parametrize(
    ("given", "changes", "reason"),
    [
        ({"max_speed": 9}, {}, "parameters.max_speed"),
        ({}, {"SIMYARD_SEED": None, "SIMYARD_OUTPUT": None}, "SIMYARD_SEED, SIMYARD_OUTPUT"),
        ({}, {"SIMYARD_SEED": "-1"}, "SIMYARD_SEED"),
        ({}, {"SIMYARD_PARAMETERS": "/nowhere/at/all.json"}, "/nowhere/at/all.json"),
        ({}, {"SIMYARD_OUTPUT": "/dev/null/run"}, "SIMYARD_OUTPUT"),
    ],
)
def test_what_cannot_begin_says_so_in_one_line(
    tmp_path: Path, given: object, changes: dict[str, str | None], reason: str
) -> None:
    process = start(tmp_path / "run", given, **changes)
    out, err = process.communicate()
    assert (process.returncode, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("diffdrive: ")
    assert reason in err


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run" / "diffdrive").mkdir(parents=True)
    process = start(tmp_path / "run", {})
    _, err = process.communicate()
    assert process.returncode == 2
    assert "is there already" in err
    assert err.count("\n") == 1


def test_the_template_says_what_the_contract_asks_for() -> None:
    template = json.loads(parameters.TEMPLATE.read_text())
    assert template["name"] == "diffdrive"
    assert template["command"] == ["python", "-m", "simulators.diffdrive"]
    assert template["limits"]["run_seconds"] > 0
    assert template["resources"]["memory_mb"] > 0
    assert template["record"] == {"required": True}
