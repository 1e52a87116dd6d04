"""Label and field selectors, as lists and watches take them."""

import re
from collections.abc import Callable
from typing import Any

from tests.cluster.names import check_qualified
from tests.cluster.refusals import bad_request

Test = Callable[[dict[str, Any]], bool]
_SET = re.compile(r"\s*([^\s!=,()]+)\s+(in|notin)\s+\(([^()]*)\)\s*")
_EQUAL = re.compile(r"\s*([^\s!=,()]+)\s*(==|=|!=)\s*([^\s!=,()]*)\s*")
_EXISTS = re.compile(r"\s*(!?)\s*([^\s!=,()]+)\s*")
_FIELDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "metadata.name": lambda body: body["metadata"]["name"],
    "metadata.namespace": lambda body: body["metadata"].get("namespace", ""),
    "spec.nodeName": lambda body: body.get("spec", {}).get("nodeName", ""),
    "spec.schedulerName": lambda body: body.get("spec", {}).get("schedulerName", ""),
    "spec.serviceAccountName": lambda body: body.get("spec", {}).get("serviceAccountName", ""),
    "spec.restartPolicy": lambda body: body.get("spec", {}).get("restartPolicy", ""),
    "status.phase": lambda body: body.get("status", {}).get("phase", ""),
    "status.podIP": lambda body: body.get("status", {}).get("podIP", ""),
}


def select_labels(text: str) -> Test:
    """What a labelSelector selects: =, ==, !=, in, notin, key, !key, joined by commas."""
    tests = [_label_test(part) for part in re.split(r",(?![^(]*\))", text)] if text.strip() else []
    return lambda body: all(test(body["metadata"].get("labels") or {}) for test in tests)


def _label_test(part: str) -> Callable[[dict[str, str]], bool]:
    if match := _SET.fullmatch(part):
        key, word, values = _key(match[1]), match[2], {value.strip() for value in match[3].split(",")}
        if word == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if match := _EQUAL.fullmatch(part):
        key, value, negated = _key(match[1]), match[3], match[2] == "!="
        return lambda labels: (labels.get(key) == value) is not negated
    if match := _EXISTS.fullmatch(part):
        key, negated = _key(match[2]), bool(match[1])
        return lambda labels: (key in labels) is not negated
    raise bad_request(f"unable to parse requirement: {part!r}")


def _key(text: str) -> str:
    for fault in check_qualified("key", text):
        raise bad_request(f"unable to parse requirement: {fault}")
    return text


def select_fields(text: str) -> Test:
    """What a fieldSelector selects: =, == and != on the fields that pods can be selected by."""
    tests = [_field_test(part) for part in text.split(",") if part.strip()]
    return lambda body: all(test(body) for test in tests)


def _field_test(part: str) -> Test:
    match = _EQUAL.fullmatch(part)
    if not match:
        raise bad_request(f"invalid field selector: {part!r}")
    if match[1] not in _FIELDS:
        raise bad_request(f'field label not supported: {match[1]}')
    read, value, negated = _FIELDS[match[1]], match[3], match[2] == "!="
    return lambda body: (read(body) == value) is not negated
