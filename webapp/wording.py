"""The words for what is wrong with a request: pydantic's turned into those of JSON and of this API. Called by
api.resource."""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, ValidationError

from shared.domain.errors import FieldError
from shared.domain.specs import Misfit
from webapp.auth.api_tokens import RESOURCES, SCOPE
from webapp.offers import listed, meant

# How pydantic calls the alternatives of a field that takes either, and the name in a mapping; no fields of ours.
NO_FIELDS = frozenset({"constrained-str", "constrained-int", "str", "int", "[key]"})
TIME = "must be a time such as 2026-11-25T12:00:00Z"
WORDS: Mapping[str, str] = {
    "missing": "is required",
    "string_type": "must be a string",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} items, not {actual_length}",
    "too_long": "must have at most {max_length} items",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    **dict.fromkeys(("model_type", "dict_type"), "must be a JSON object"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be an integer"),
    "int_parsing_size": "is too large a number",
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    "finite_number": "must be a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("uuid_type", "uuid_parsing"), "is no UUID"),
    **dict.fromkeys(("datetime_type", "datetime_parsing", "datetime_from_date_parsing", "datetime_object_invalid",
                     "timezone_aware", "timezone_naive"), TIME),
}
# Every pattern that the API's description shows; a test compares.
PATTERNS: Mapping[str, str] = {
    r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$":
        "must be 1 to 63 small letters, digits, `.`, `_` and `-`, a letter or digit at both ends",
    r"^[a-z0-9._-]{1,63}(@[1-9][0-9]{0,8})?$": "must be the name of a template, or name@version",
    r"^[A-Za-z_][A-Za-z0-9_]{0,127}$": "must be 1 to 128 letters, digits and `_`, no digit first",
    r"^[A-Za-z0-9._/-]{1,63}$": "must be 1 to 63 letters, digits, `.`, `_`, `/` and `-`",
    r"^[^@\s\x00]+@[^@\s\x00]+$": "must be an address such as ada@example.com",
    r"^[0-9a-f]{64}$": "must be the SHA-256 in 64 small hexadecimal digits",
    r"^[^\x00-\x1f\x7f-\x9f/\\]*?(^metadata\.yaml|\.db3|\.db3-wal|\.db3-shm|\.mcap|\.bag|\.bag\.active)(\.zstd)?$":
        "must be metadata.yaml or end with .db3, .db3-wal, .db3-shm, .mcap, .bag or .bag.active (perhaps .zstd after "
        "it), without slashes and control characters",
    r"^[^\x00]*$": "has a NUL character",
    SCOPE: "must be read, write or admin, or read or write of one resource, as simulations:write "
           f"({', '.join(RESOURCES)})",
}
_PLURALS = {str: "strings", UUID: "strings", int: "integers", float: "numbers", dict: "objects"}


def faults(model: type[BaseModel], error: ValidationError) -> list[FieldError]:
    """What is wrong with a value that was to be a `model`, each by its dotted field."""
    return [fault for each in error.errors(include_url=False, include_input=False) for fault in _faults(model, each)]


def _faults(model: type[BaseModel], error: Mapping[str, Any]) -> Iterator[FieldError]:
    path = [part for part in error["loc"] if part not in NO_FIELDS]
    cause = (error.get("ctx") or {}).get("error")
    if isinstance(cause, Misfit):
        for fault in cause.errors:
            yield FieldError(".".join(map(str, [*path, fault.field])), fault.message)
        return
    message = _message(error, model, path)
    if error["loc"][-1:] == ("[key]",):
        message = f"its name {message}"
    yield FieldError(".".join(map(str, path)) or "body", message)


def _message(error: Mapping[str, Any], model: type[BaseModel], path: list[Any]) -> str:
    kind, context = error["type"], error.get("ctx") or {}
    if kind in _BY_THE_MODEL:
        return _BY_THE_MODEL[kind](model, path)
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(context["pattern"], "is not of the form that is taken here")
    if kind not in WORDS:
        return str(error["msg"]).replace("Input should be", "must be").replace("Input", "it")
    return re.sub(r"\b1 (item|character)s", r"1 \1", WORDS[kind].format(**context))


# -- what the model says of a field ----------------------------------------------------------------------------------

def _kinds(model: Any, path: list[Any]) -> list[Any]:
    """The types that the field at this path may have."""
    kinds = [model]
    for part in path:
        kinds = [inner for kind in kinds for inner in _within(kind, part)]
    return kinds


def _within(kind: Any, part: Any) -> list[Any]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _alternatives(kind.model_fields[part].annotation) if part in kind.model_fields else []
    if get_origin(kind) in (list, tuple) and isinstance(part, int):
        return _alternatives(get_args(kind)[0])
    return _alternatives(get_args(kind)[1]) if get_origin(kind) is dict else []


def _alternatives(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (None, list, tuple, dict, Literal):
        return [annotation]
    return [kind for each in get_args(annotation) for kind in _alternatives(each)]


def _no_such_field(model: type[BaseModel], path: list[Any]) -> str:
    names = [name for kind in _kinds(model, path[:-1]) if isinstance(kind, type) and issubclass(kind, BaseModel)
             for name in kind.model_fields]
    return "there is no such field" + meant(str(path[-1]), names)


def _array(model: type[BaseModel], path: list[Any]) -> str:
    items = {_plural(item) for kind in _kinds(model, path) if get_origin(kind) in (list, tuple)
             for item in _alternatives(get_args(kind)[0])}
    return "must be a JSON array" + (f" of {items.pop()}" if len(items) == 1 else "")


def _plural(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "objects"
    return _PLURALS.get(get_origin(kind) or kind, "strings")


def _choices(model: type[BaseModel], path: list[Any]) -> str:
    values = [f"'{each.value}'" for kind in _kinds(model, path) if isinstance(kind, type) and issubclass(kind, Enum)
              for each in kind]
    return f"must be {listed(values, 'or')}"


_BY_THE_MODEL = {"extra_forbidden": _no_such_field, "list_type": _array, "tuple_type": _array,
                 "is_instance_of": _choices}
