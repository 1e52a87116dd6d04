"""What a run is asked to do: the JSON file of SIMYARD_PARAMETERS, checked against the schema in template.json.
That schema is the only place that says what is allowed and what holds by default. Called by __main__."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).with_name("template.json")


class ParameterError(ValueError):
    """A parameter that cannot be used; the text names it."""


@dataclass(frozen=True)
class Parameters:
    """One value for every property of the schema; units are stated there."""

    max_speed: float
    obstacles: int
    friction: float
    world: str
    goals: int
    noise: float
    duration: float
    realtime_factor: float


def schema() -> dict[str, Any]:
    """The JSON Schema of the parameters."""
    template: dict[str, Any] = json.loads(TEMPLATE.read_text("utf-8"))
    parameters: dict[str, Any] = template["parameters"]
    return parameters


def read(path: Path) -> Parameters:
    """The parameters in the file at `path`; raises ParameterError, also for a file that is not there or not JSON."""
    try:
        given = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ParameterError(f"SIMYARD_PARAMETERS: cannot read {path} as JSON: {error}") from error
    return parse(given)


def parse(given: object) -> Parameters:
    """Checked `given`, with defaults where it says nothing; raises ParameterError."""
    if not isinstance(given, dict):
        raise ParameterError(f"parameters: an object is needed, got {json.dumps(given)}")
    rules = schema()["properties"]
    for name in given:
        if name not in rules:
            raise ParameterError(f"parameters.{name}: no such parameter, there are {', '.join(rules)}")
    values: dict[str, Any] = {
        name: checked(name, given.get(name, rule["default"]), rule) for name, rule in rules.items()
    }
    return Parameters(**values)


def checked(name: str, value: object, rule: dict[str, Any]) -> float | int | str:
    """`value` in the type that `rule` (one property of the schema) states; raises ParameterError."""
    if rule["type"] == "string":
        if not isinstance(value, str) or value not in rule["enum"]:
            raise ParameterError(f"parameters.{name}: {json.dumps(value)} is not one of {', '.join(rule['enum'])}")
        return value
    return number(name, value, rule)


def number(name: str, value: object, rule: dict[str, Any]) -> float | int:
    """`value` as the int or float that `rule` states; JSON Schema counts 3.0 as an integer and true as no number."""
    whole = rule["type"] == "integer"
    if isinstance(value, bool) or not isinstance(value, int | float) or (whole and value != value // 1):
        raise ParameterError(f"parameters.{name}: {json.dumps(value)} is not of type {rule['type']}")
    if not rule["minimum"] <= value <= rule["maximum"]:
        raise ParameterError(f"parameters.{name}: {value} is not between {rule['minimum']} and {rule['maximum']}")
    return int(value) if whole else float(value)
