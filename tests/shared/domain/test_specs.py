from typing import Any

import pytest
from pydantic import ValidationError

from shared.domain.specs import Program, SimulationSpec, TemplateSpec


def template(**fields: Any) -> TemplateSpec:
    return TemplateSpec.model_validate({"name": "robot", "command": ["/bin/true"]} | fields)


def test_a_name_and_a_command_are_enough_for_a_template() -> None:
    spec = template()
    assert spec.limits.start_seconds == 900
    assert spec.retry.max_attempts == 3
    assert spec.record.required


def test_a_template_survives_its_own_json() -> None:
    spec = template(retry={"on": ["vanished"]}, resources={"memory_mb": 64}, env={"A": "b"})
    assert TemplateSpec.model_validate(spec.model_dump(mode="json")) == spec


def test_a_program_survives_its_own_json() -> None:
    program = Program(command=("a", "b"))
    assert Program.model_validate(program.model_dump(mode="json")) == program


@pytest.mark.parametrize(("fields", "field"), [
    ({"command": []}, "command"),
    ({"command": [""]}, "command"),
    ({"command": ["a\0b"]}, "command"),
    ({"command": None}, ""),
    ({"name": "Robot"}, "name"),
    ({"name": "../x"}, "name"),
    ({"unknown": 1}, "unknown"),
    ({"limits": {"run_seconds": 0}}, "limits.run_seconds"),
    ({"limits": {"run_seconds": -1}}, "limits.run_seconds"),
    ({"limits": {"run_seconds": float("nan")}}, "limits.run_seconds"),
    ({"resources": {"memory_mb": True}}, "resources.memory_mb"),
    ({"stop": {"signal": "SIGKILL"}}, "stop.signal"),
    ({"retry": {"on": ["whim"]}}, "retry.on.0"),
    ({"env": {"SIMYARD_SEED": "1"}}, "env"),
    ({"env": {"1A": "x"}}, "env.1A.[key]"),
    ({"image": "ros:jazzy"}, ""),
])
def test_a_bad_template_is_refused_naming_the_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        template(**fields)
    assert field in [".".join(map(str, error["loc"])) for error in refused.value.errors()]


@pytest.mark.parametrize("fields", [
    {"repeats": 0}, {"repeats": "2"}, {"method": "random"}, {"method": "list"}, {"points": [{}]}, {"seed": -1},
    {"seed": 2**31}, {"priority": "urgent"}, {"max_parallel": 0}, {"template": "a@0"}, {"template": "a b"},
    {"inputs": ["none"]}, {"inputs": ["8c5a3c5e-3f5e-4a58-9a53-0c6f1f2c7a11"] * 21},
    {"labels": {"": "x"}}, {"limits": {"run_seconds": 0}},
])
def test_a_bad_submission_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SimulationSpec.model_validate({"template": "robot"} | fields)


def test_only_the_template_is_required_in_a_submission() -> None:
    spec = SimulationSpec.model_validate({"template": "robot@2"})
    assert (spec.method, spec.repeats, spec.priority, spec.visibility) == ("grid", 1, "normal", "team")
