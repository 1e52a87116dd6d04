"""The three kinds of patch that the API server takes. Each returns a new body and leaves the old one as it was."""

import copy
import re
from collections.abc import Callable
from typing import Any

from tests.cluster.refusals import Refusal, bad_request

Body = dict[str, Any]
# The keys by which a strategic merge finds the items of lists; lists that are not here are replaced.
_MERGE_KEYS = {
    "containers": "name", "initContainers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath",
    "ports": "containerPort", "conditions": "type", "ownerReferences": "uid", "imagePullSecrets": "name",
    "schedulingGates": "name", "hostAliases": "ip", "podIPs": "ip", "topologySpreadConstraints": "topologyKey",
}
_MERGED_SETS = {"finalizers"}


def merge(body: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(body) if isinstance(body, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def merge_strategically(body: Any, patch: Any) -> Any:
    """Kubernetes' own merge: lists of named items are merged by name, finalizers are a set."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    if patch.get("$patch") == "replace":
        return {name: copy.deepcopy(value) for name, value in patch.items() if name != "$patch"}
    merged = dict(body) if isinstance(body, dict) else {}
    for name, value in patch.items():
        _merge_field(merged, name, value)
    return merged


def _merge_field(merged: Body, name: str, value: Any) -> None:
    if name.startswith("$deleteFromPrimitiveList/"):
        field = name.partition("/")[2]
        merged[field] = [item for item in merged.get(field, []) if item not in value]
    elif name.startswith("$"):
        return
    elif value is None:
        merged.pop(name, None)
    elif name in _MERGED_SETS:
        merged[name] = list(dict.fromkeys([*value, *merged.get(name, [])]))
    elif isinstance(value, list) and name in _MERGE_KEYS:
        merged[name] = _merge_items(merged.get(name, []), value, _MERGE_KEYS[name])
    else:
        merged[name] = merge_strategically(merged.get(name), value)


def _merge_items(items: list[Body], patch: list[Body], key: str) -> list[Body]:
    if any(item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if "$patch" not in item]
    merged = {item.get(key): item for item in items}
    for item in patch:
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        if item.get("$patch") == "delete":
            merged.pop(item[key], None)
        else:
            merged[item[key]] = merge_strategically(merged.get(item[key]), item)
    return list(merged.values())


def apply_operations(body: Body, operations: Any) -> Body:
    """RFC 6902: test, add, replace, remove."""
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    root = {"": copy.deepcopy(body)}
    try:
        for operation in operations:
            path = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")]
            _OPERATIONS[operation["op"]](_parent(root, path), path[-1], operation)
    except (KeyError, IndexError, ValueError, TypeError):
        raise _failed() from None
    return root[""]


def _failed() -> Refusal:
    return Refusal(422, "Invalid", "the server rejected our request due to an error in our request")


def _parent(root: Any, path: list[str]) -> Any:
    for part in path[:-1]:
        root = root[_index(root, part)]
    return root


def _index(parent: Any, part: str) -> Any:
    if not isinstance(parent, list):
        return part
    if not re.fullmatch(r"0|[1-9][0-9]*", part):
        raise ValueError(part)
    return int(part)


def _test(parent: Any, part: str, operation: Body) -> None:
    if parent[_index(parent, part)] != operation["value"]:
        raise ValueError(part)


def _add(parent: Any, part: str, operation: Body) -> None:
    if not isinstance(parent, list):
        parent[part] = operation["value"]
        return
    index = len(parent) if part == "-" else _index(parent, part)
    if index > len(parent):
        raise IndexError(part)
    parent.insert(index, operation["value"])


def _replace(parent: Any, part: str, operation: Body) -> None:
    index = _index(parent, part)
    parent[index]  # must be there
    parent[index] = operation["value"]


def _remove(parent: Any, part: str, operation: Body) -> None:
    del parent[_index(parent, part)]


_OPERATIONS: dict[str, Callable[[Any, str, Body], None]] = {
    "test": _test, "add": _add, "replace": _replace, "remove": _remove}
PATCHES: dict[str, Callable[[Body, Any], Body]] = {
    "application/merge-patch+json": merge,
    "application/strategic-merge-patch+json": merge_strategically,
    "application/json-patch+json": apply_operations,
}


def patch(body: Body, media_type: str, document: Any) -> Body:
    if media_type not in PATCHES:
        raise Refusal(415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media "
                      f"types include: {', '.join(PATCHES)}")
    return PATCHES[media_type](body, document)
