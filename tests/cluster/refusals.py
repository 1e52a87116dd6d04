"""The Status bodies of requests that the API server does not grant, in Kubernetes' own words."""

from dataclasses import dataclass
from typing import Any

KINDS = {"pods": "Pod", "namespaces": "Namespace"}


class Refusal(Exception):
    """An answer that is no object: HTTP status `code`, a reason out of Kubernetes' list, and what a human reads."""

    def __init__(self, code: int, reason: str, message: str, retry_after: int | None = None, is_plain: bool = False,
                 **details: Any) -> None:
        super().__init__(message)
        self.is_plain = is_plain
        self.code, self.reason, self.message = code, reason, message
        self.retry_after = retry_after
        self.details = details | ({"retryAfterSeconds": retry_after} if retry_after is not None else {})

    def body(self) -> dict[str, Any]:
        return {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message,
            "reason": self.reason, **({"details": self.details} if self.details else {}), "code": self.code}


@dataclass(frozen=True)
class Cause:
    """One field that is wrong. `text` is what follows the field's name: "Required value", "Duplicate value: ..."."""

    field: str
    text: str
    reason: str = "FieldValueInvalid"

    def __str__(self) -> str:
        return f"{self.field}: {self.text}"


def bad_request(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)


def not_found(resource: str, name: str) -> Refusal:
    return Refusal(404, "NotFound", f'{resource} "{name}" not found', name=name, kind=resource)


def no_such_path() -> Refusal:
    return Refusal(404, "NotFound", "the server could not find the requested resource")


def already_exists(resource: str, name: str, being_deleted: bool) -> Refusal:
    message = f'{resource} "{name}" already exists'
    return Refusal(409, "AlreadyExists", f"object is being deleted: {message}" if being_deleted else message,
                   name=name, kind=resource)


def conflict(resource: str, name: str, why: str) -> Refusal:
    return Refusal(409, "Conflict", f'Operation cannot be fulfilled on {resource} "{name}": {why}',
                   name=name, kind=resource)


def forbidden(resource: str, name: str, why: str) -> Refusal:
    """`name` is empty when the request names no object."""
    subject = f'{resource} "{name}"' if name else resource
    details: dict[str, Any] = {"name": name, "kind": resource} if name else {"kind": resource}
    return Refusal(403, "Forbidden", f"{subject} is forbidden: {why}", **details)


def terminating(name: str, namespace: str) -> Refusal:
    """A pod that is to be made in a namespace that is being deleted."""
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    cause = {"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated",
             "field": "metadata.namespace"}
    return Refusal(403, "Forbidden", f'pods "{name}" is forbidden: {why}', name=name, kind="pods", causes=[cause])


def invalid(resource: str, name: str, causes: list[Cause]) -> Refusal:
    words = ", ".join(str(cause) for cause in causes)
    return Refusal(
        422, "Invalid", f'{KINDS[resource]} "{name}" is invalid: {f"[{words}]" if len(causes) > 1 else words}',
        **({"name": name} if name else {}), kind=KINDS[resource],
        causes=[{"reason": cause.reason, "message": cause.text, "field": cause.field} for cause in causes])


def expired(message: str) -> Refusal:
    return Refusal(410, "Expired", message)
