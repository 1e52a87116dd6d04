from typing import Any

import pytest

from shared.domain.errors import InvalidSpec
from shared.domain.specs import SimulationSpec, TemplateSpec
from shared.settings import WebSettings
from tests.webapp.web import make_settings
from webapp.programs import make_program

SETTINGS = make_settings(execution_timeout_seconds=30, execution_memory_limit_mb=512, max_run_seconds=100,
                         max_memory_mb=1000, max_gpus=0)


CLUSTER = {"runtime": "kubernetes", "max_gpus": 2}
DIGEST = f"sha256:{'a' * 64}"
IMAGE = {"command": None, "image": "ghcr.io/us/robot:1", "limits": {"run_seconds": 9}, "resources": {"memory_mb": 9}}


def program(template: dict[str, Any], settings: WebSettings = SETTINGS, **fields: Any) -> Any:
    return make_program(SimulationSpec.model_validate({"template": "t"} | fields),
                        TemplateSpec.model_validate({"name": "t", "command": ["/bin/true"]} | template), settings)


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


def test_a_cluster_runs_images_and_a_submission_may_bring_its_own() -> None:
    settings = make_settings(**CLUSTER, allowed_images="ghcr.io/us/*")
    made = program(IMAGE, settings)
    assert (made.image, made.command) == ("ghcr.io/us/robot:1", ())
    assert program(IMAGE, settings, image="ghcr.io/us/robot:pr-12").image == "ghcr.io/us/robot:pr-12"
    with pytest.raises(InvalidSpec) as caught:
        program(IMAGE, settings, image="docker.io/them/robot:1")
    assert caught.value.errors[0].field == "image"


def test_on_a_cluster_a_command_alone_runs_in_the_operators_image() -> None:
    made = program({}, make_settings(**CLUSTER, command_image=f"reference@{DIGEST}"))
    assert (made.image, made.command) == (f"reference@{DIGEST}", ("/bin/true",))
    with pytest.raises(InvalidSpec) as caught:
        program({}, make_settings(**CLUSTER))
    assert (caught.value.code, caught.value.errors[0].field) == ("runtime_needs_image", "template")
    assert caught.value.remedy


@pytest.mark.parametrize(("asked", "field", "setting"), [
    ({"network": "internet"}, "network", {"allowed_network": "internet"}),
    ({"network": "cluster"}, "network", {"allowed_network": "internet"}),
    ({"writable_root": True}, "writable_root", {"allow_writable_root": True}),
    ({"pull_secret": "registry"}, "pull_secret", {"allowed_pull_secrets": "other, registry"}),
    ({"node_selector": {"pool": "gpu-a"}}, "node_selector.pool", {"allowed_node_labels": "pool=gpu*"}),
    ({"tolerations": [{"key": "gpu", "operator": "Exists"}]}, "tolerations.0.key", {"allowed_tolerations": "gpu"}),
    ({"tolerations": [{"operator": "Exists"}]}, "tolerations.0.key", {"allowed_tolerations": "*"}),
])
def test_what_a_cluster_gives_is_given_only_where_the_operator_allows_it(
        asked: dict[str, Any], field: str, setting: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec) as caught:
        program(IMAGE | asked, make_settings(**CLUSTER))
    assert (caught.value.code, caught.value.errors[0].field) == ("over_the_ceiling", field)
    made = program(IMAGE | asked, make_settings(**CLUSTER, **setting)).model_dump(mode="json")
    assert {name: made[name] for name in asked} == asked


def test_a_program_knows_whether_its_limit_is_the_operators() -> None:
    assert program({}).run_seconds_stated is False
    assert program({"limits": {"run_seconds": 30}}).run_seconds_stated is True
    assert program({}, limits={"run_seconds": 30}).run_seconds_stated is True
