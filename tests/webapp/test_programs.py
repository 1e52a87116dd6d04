from typing import Any

import pytest

from shared.domain.errors import InvalidSpec
from shared.domain.specs import SimulationSpec, TemplateSpec
from tests.webapp.web import make_settings
from webapp.programs import make_program

SETTINGS = make_settings(execution_timeout_seconds=30, execution_memory_limit_mb=512, max_run_seconds=100,
                         max_memory_mb=1000, max_gpus=0)


def program(template: dict[str, Any], **fields: Any) -> Any:
    return make_program(SimulationSpec.model_validate({"template": "t"} | fields),
                        TemplateSpec.model_validate({"name": "t", "command": ["/bin/true"]} | template), SETTINGS)


def test_a_command_gets_the_deployments_defaults() -> None:
    made = program({})
    assert (made.limits.run_seconds, made.resources.memory_mb) == (30, 512)


def test_a_template_overrules_them_and_a_submission_overrules_both() -> None:
    template = {"limits": {"run_seconds": 50, "stall_seconds": 9}, "env": {"A": "1", "B": "1"},
                "resources": {"memory_mb": 600}}
    assert program(template).limits.run_seconds == 50
    made = program(template, limits={"run_seconds": 60}, env={"B": "2"})
    assert (made.limits.run_seconds, made.limits.stall_seconds, made.resources.memory_mb) == (60, 9, 600)
    assert made.env == {"A": "1", "B": "2"}


def test_what_is_over_a_ceiling_is_named_with_value_and_limit() -> None:
    with pytest.raises(InvalidSpec) as caught:
        program({"resources": {"memory_mb": 2000, "gpu": 1}}, limits={"run_seconds": 101})
    assert {fault.field: fault.message for fault in caught.value.errors} == {
        "limits.run_seconds": "101 is more than the 100 of MAX_RUN_SECONDS",
        "resources.memory_mb": "2000 is more than the 1000 of MAX_MEMORY_MB",
        "resources.gpu": "1 is more than the 0 of MAX_GPUS"}


@pytest.mark.parametrize(("template", "fields", "field"), [
    ({"command": None, "image": "robot:1", "limits": {"run_seconds": 9}, "resources": {"memory_mb": 9}}, {},
     "template"),
    ({}, {"image": "robot:2"}, "image"),
])
def test_images_are_refused_with_a_remedy(template: dict[str, Any], fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        program(template, **fields)
    assert caught.value.code == "runtime_cannot_run_image"
    assert caught.value.errors[0].field == field
    assert caught.value.remedy
