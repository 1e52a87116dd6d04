"""The fields and types of objects, as the official client's models know them. Used by the registry before it looks at
what the values mean."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from kubernetes.client import models

from tests.cluster.refusals import KINDS, Refusal, bad_request

MODELS = {"pods": "V1Pod", "namespaces": "V1Namespace"}
_CHECKS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "datetime": lambda value: isinstance(value, str),
    "object": lambda value: True,
}
_NAMES = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}
# Times that are written as null when they are not known.
_TIMES = {"V1PodCondition": ("lastProbeTime", "lastTransitionTime"), "V1ContainerStateRunning": ("startedAt",),
          "V1ContainerStateTerminated": ("startedAt", "finishedAt")}
# Quantities may be given as numbers; Kubernetes keeps them as strings.
_QUANTITIES = {"limits", "requests", "sizeLimit", "divisor"}


@cache
def _fields(model: str) -> dict[str, str]:
    """The type of each field, by its name on the wire."""
    kind = getattr(models, model)
    return {kind.attribute_map[name]: type_ for name, type_ in kind.openapi_types.items()}


def shape(resource: str, body: dict[str, Any], strict: bool) -> dict[str, Any]:
    """The body without nulls and unknown fields; 400 for a wrong type, and for an unknown field when `strict`."""
    unknown: list[str] = []
    try:
        shaped = _shape_model(MODELS[resource], body, "", unknown)
    except _WrongType as wrong:
        raise _cannot_handle(resource, f"json: {wrong}") from None
    if strict and unknown:
        fields = ", ".join(f'unknown field "{field}"' for field in unknown)
        raise _cannot_handle(resource, f"strict decoding error: {fields}")
    return shaped


def shape_options(body: Any) -> dict[str, Any]:
    """Those of a deletion; 400 when they are something else."""
    if isinstance(body, dict) and body.get("kind", "DeleteOptions") != "DeleteOptions":
        raise bad_request(f'no kind "{body["kind"]}" is registered for version "{body.get("apiVersion")}"')
    try:
        return _shape_model("V1DeleteOptions", body, "", [])
    except _WrongType as wrong:
        raise bad_request(f"json: {wrong}") from None


def _cannot_handle(resource: str, why: str) -> Refusal:
    kind = KINDS[resource]
    return bad_request(f'{kind} in version "v1" cannot be handled as a {kind}: {why}')


class _WrongType(Exception):
    def __init__(self, value: Any, path: str, wanted: str) -> None:
        super().__init__(f"cannot unmarshal {_NAMES.get(type(value), 'null')} into Go struct field {path} "
                         f"of type {wanted}")


def _shape_model(model: str, body: Any, path: str, unknown: list[str]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise _WrongType(body, path, model)
    return dict.fromkeys(_TIMES.get(model, ())) | dict(_shaped_fields(model, body, path, unknown))


def _shaped_fields(model: str, body: dict[str, Any], path: str, unknown: list[str]) -> Iterator[tuple[str, Any]]:
    fields = _fields(model)
    for name, value in body.items():
        inner = f"{path}.{name}" if path else name
        if name not in fields:
            unknown.append(inner)
        elif value is not None:
            type_ = "quantity" if name in _QUANTITIES else fields[name]
            yield name, _shape_value(type_, value, inner, unknown)


def _shape_value(type_: str, value: Any, path: str, unknown: list[str]) -> Any:
    if type_ == "quantity":
        return {name: str(item) for name, item in value.items()} if isinstance(value, dict) else str(value)
    if match := re.fullmatch(r"list\[(.+)\]", type_):
        if not isinstance(value, list):
            raise _WrongType(value, path, "array")
        return [_shape_value(match[1], item, f"{path}[{index}]", unknown) for index, item in enumerate(value)]
    if match := re.fullmatch(r"dict\[str, (.+)\]", type_):
        if not isinstance(value, dict):
            raise _WrongType(value, path, "object")
        return {name: _shape_value(match[1], item, path, unknown) for name, item in value.items()}
    if type_ in _CHECKS:
        if not _CHECKS[type_](value):
            raise _WrongType(value, path, "string" if type_ == "str" else type_)
        return value
    return _shape_model(type_, value, path, unknown)
