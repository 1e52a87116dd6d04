"""The JSON Schema of a template's parameters: what it may be, its defaults, and holding parameter sets against it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from jsonschema_rs import Draft202012Validator, FancyRegexOptions, ValidationError, ValidationErrorKind

from shared.domain.errors import FieldError, InvalidSpec
from webapp.offers import meant

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_SCHEMA_BYTES = 65_536
MAX_ERRORS = 20
MAX_BAD_SETS = 1_000
REQUIRED = "is required"
# Where none of these is said, a parameter that is not among `properties` is taken without a word.
SPEAKING_OF_OTHERS = frozenset({"additionalProperties", "unevaluatedProperties", "patternProperties", "propertyNames",
                                "allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef"})

# A pattern may look around, but one that backtracks without end is given up.
_PATTERNS = FancyRegexOptions(backtrack_limit=10_000, size_limit=1_000_000)


class ParameterSchema:
    """A compiled schema. Make it by `compiled`, which remembers the last ones."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = Draft202012Validator(dict(schema), offline=True, pattern_options=_PATTERNS)
        properties = schema.get("properties", {})
        self.named = tuple(properties)
        self.is_empty = not schema
        self.speaks_of_others = not SPEAKING_OF_OTHERS.isdisjoint(schema)
        self.defaults = {name: each["default"] for name, each in properties.items()
                         if isinstance(each, dict) and "default" in each}

    def fill(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters with the defaults of those that are missing, which come last."""
        missing = {name: value for name, value in self.defaults.items() if name not in parameters}
        return {**parameters, **missing} if missing else parameters

    def faults(self, parameters: dict[str, Any]) -> Iterator[FieldError]:
        """What is wrong with a set, by `parameters.<name>`."""
        for error in self._validator.iter_errors(parameters):
            yield from _faults(error, self.named)

    def check(self, sets: Iterable[dict[str, Any]]) -> None:
        """InvalidSpec naming `parameters.<name>` unless every set fits; different faults are named once each."""
        faults: dict[FieldError, None] = {}
        bad = 0
        for parameters in sets:
            if self._validator.is_valid(parameters):
                continue
            bad += 1
            faults.update(dict.fromkeys(self.faults(parameters)))
            if bad >= MAX_BAD_SETS or len(faults) >= MAX_ERRORS:
                break
        if faults:
            raise InvalidSpec("the parameters do not fit the template's schema", errors=list(faults)[:MAX_ERRORS],
                              remedy="GET the template to see its parameters and their bounds")


def compiled(schema: Mapping[str, Any]) -> ParameterSchema:
    """The schema, ready for use. InvalidSpec when it is none."""
    return _compiled(json.dumps(schema))


@lru_cache(maxsize=256)
def _compiled(text: str) -> ParameterSchema:
    try:
        return ParameterSchema(json.loads(text))
    except ValidationError as error:
        raise _no_schema(error.message, "".join(f".{each}" for each in error.instance_path)) from error


def check_schema(schema: Mapping[str, Any]) -> None:
    """InvalidSpec unless it can be a template's: a 2020-12 object schema of bounded size that refers to nothing
    elsewhere and whose defaults fit it. An empty one takes any parameters."""
    if not schema:
        return
    if len(json.dumps(schema)) > MAX_SCHEMA_BYTES:
        raise _no_schema(f"the schema has more than {MAX_SCHEMA_BYTES} bytes")
    if schema.get("$schema", DIALECT) != DIALECT:
        raise _no_schema(f"the dialect must be {DIALECT}", ".$schema")
    if schema.get("type") != "object":
        raise _no_schema('the schema must say "type": "object"', ".type")
    _check_references(schema)
    _check_defaults(compiled(schema))


def _check_references(part: Any) -> None:
    """Only what lies within: the compiler would refuse to fetch too, but its message would name the network."""
    if isinstance(part, dict):
        for keyword in ("$ref", "$dynamicRef"):
            target = part.get(keyword)
            if isinstance(target, str) and not target.startswith("#"):
                raise _no_schema(f"{keyword} {target[:200]!r} leads out of the schema; only #… is followed")
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            _check_references(each)


def _check_defaults(found: ParameterSchema) -> None:
    # Each by itself: what is required without a default, or hangs together, is for the submission to state.
    faults = [FieldError(f"parameters.properties.{fault.field.removeprefix('parameters.')}.default", fault.message)
              for fault in found.faults(found.defaults) if fault.field != "parameters" and fault.message != REQUIRED]
    if faults:
        raise InvalidSpec("a default does not fit its own schema", errors=faults)


def _no_schema(message: str, where: str = "") -> InvalidSpec:
    return InvalidSpec(f"the parameters are no JSON Schema that we take: {message}",
                       errors=[FieldError(f"parameters{where}", message)],
                       remedy=f"write a JSON Schema of {DIALECT} with type object")


def _faults(error: ValidationError, known: Iterable[str]) -> list[FieldError]:
    where = "parameters" + "".join(f".{part}" for part in error.instance_path)
    kind = error.kind
    if isinstance(kind, ValidationErrorKind.AdditionalProperties):
        names = () if error.instance_path else known
        return [FieldError(f"{where}.{name}", f"there is no such parameter{meant(name, names)}")
                for name in kind.unexpected]
    if isinstance(kind, ValidationErrorKind.Required):
        return [FieldError(f"{where}.{kind.property}", REQUIRED)]
    return [FieldError(where, _message(error)[:500])]


def _message(error: ValidationError) -> str:
    """The validator's own words, but where they are about keywords of JSON Schema."""
    kind, shown = error.kind, json.dumps(error.instance)[:100]
    if isinstance(kind, ValidationErrorKind.OneOfMultipleValid):
        return f"{shown} fits more than one of what is allowed, and may fit one alone"
    if isinstance(kind, ValidationErrorKind.AnyOf | ValidationErrorKind.OneOfNotValid):
        reasons = "; ".join(_message(each) for branch in kind.context for each in branch[:1])
        return f"{shown} fits none of what is allowed: {reasons}"
    return error.message
