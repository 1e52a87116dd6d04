"""The blueprint of a resource: its views get their caller admitted and their input checked before they run, and say by
their annotations (path, query, body) what that input is. flask-openapi3 makes the documentation of the same."""

from collections.abc import Callable, Mapping
from functools import wraps
from http import HTTPMethod
from typing import Any, TypeVar, get_origin

from flask import Response, current_app, json, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from flask_openapi3.utils import parse_rule
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import UnsupportedMediaType

from shared.domain.errors import FieldError, InvalidSpec, NotFound
from webapp import strict_json, wording
from webapp.api import headers
from webapp.auth.permissions import admit
from webapp.problems import BadRequest

M = TypeVar("M", bound=BaseModel)

PROBLEM: dict[str, Any] = {
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
# The server's own words, for it does not read on: more than 8,190 bytes in the request's first line.
TOO_LONG: dict[str, Any] = {"content": {"text/html": {"schema": {"type": "string"}}}}
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"cookie": []}]


class Resource(APIBlueprint):
    """A blueprint for one resource. Every view must carry auth.permissions.needs."""

    def __init__(self, name: str, description: str, *, tag: str | None = None, scope: str | None = None,
                 public: bool = False) -> None:
        problems: dict[Any, Any] = _own(dict.fromkeys((400, 401, 403, 413, 415, 422, 503), PROBLEM) | {414: TOO_LONG})
        super().__init__(name, __name__, abp_tags=[Tag(name=tag or name, description=description)],
                         abp_security=[] if public else SECURITY, abp_responses=problems)
        self.scope = scope or tag or name  # what the scopes of API tokens call it

    def _collect_openapi_info(self, rule: str, func: Callable[..., Any], *, responses: Any = None,
                              method: str = HTTPMethod.GET, **options: Any) -> Any:
        answers = responses or {}
        found = super()._collect_openapi_info(rule, func, responses=_own(answers), method=method, **options)
        path = self.paths[parse_rule(rule, url_prefix=self.url_prefix)]
        headers.describe(getattr(path, method.lower()), answers)
        return found

    @staticmethod
    def create_view_func(func: Callable[..., Any], header: Any, cookie: Any, path: Any, query: Any,  # type: ignore[override]  # noqa: PLR0917
                         form: Any, body: Any, raw: Any, **options: Any) -> Callable[..., Any]:
        """What flask-openapi3 calls to wrap a view; in place of its own checks, which answer bad JSON and unknown
        query parameters wrongly and compute a schema in each request."""
        role = getattr(func, "role", None)
        if role is None:
            raise TypeError(f"the view {func.__name__} does not say which role it needs")
        login, scope = getattr(func, "login", False), getattr(func, "scope", None)

        @wraps(func)
        def view(**values: Any) -> Any:
            blueprint: Any = current_app.blueprints[request.blueprint or ""]
            admit(role, scope or blueprint.scope, login=login)
            if path is not None:
                values = {"path": read_path(path, values)}
            read_query(query, values)
            if body is not None:
                values["body"] = read_body(body)
            return func(**values)

        return view


def _own(responses: Mapping[Any, Any]) -> dict[Any, Any]:
    """The same without headers, each with a dict of its own: flask-openapi3 writes the name of the status into it."""
    shapes = {status: each.shape if isinstance(each, headers.Having) else each for status, each in responses.items()}
    return {status: dict(shape) if isinstance(shape, dict) else shape for status, shape in shapes.items()}


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response, ended with its line."""
    return Response(json.dumps(body) + "\n", status, headers, mimetype="application/json")


def read_path(model: type[M], values: Mapping[str, Any]) -> M:
    """The parts of the path, which the URL converters have read already. NotFound for what no name can be."""
    if any(isinstance(value, str) and "\0" in value for value in values.values()):
        raise NotFound("there is nothing of that name")
    return model.model_construct(**values)


def read_query(model: type[BaseModel] | None, values: dict[str, Any]) -> None:
    """Add the query, checked, to `values`. A parameter that the view does not know is an error, never ignored."""
    if model is None and not request.query_string:
        return
    fields = model.model_fields if model else {}
    found: dict[str, Any] = {}
    for name, given in request.args.lists():
        many = name in fields and get_origin(fields[name].annotation) is list
        if len(given) > 1 and not many:
            raise invalid([FieldError(name, "is stated more than once")])
        if any("\0" in each for each in given):
            raise invalid([FieldError(name, "has a NUL character")])
        found[name] = given if many else given[0]
    if model is None:
        raise invalid([FieldError(name, "there is no such query parameter") for name in found])
    values["query"] = validate(model, found)


def read_body(model: type[M], *, nul_allowed: bool = False) -> M:
    """The JSON body, checked."""
    return validate(model, read_json(nul_allowed=nul_allowed))


def read_json(*, nul_allowed: bool = False) -> Any:
    """The request's JSON value, read strictly: BadRequest says what is wrong with it."""
    data = request.get_data(cache=True)
    if request.content_length is None:
        request.stream.read(1)  # a chunked body is cut at the limit without a word; asking for more raises 413
    if data and not request.is_json:
        raise UnsupportedMediaType("the body must be JSON, with Content-Type: application/json")
    if not data:
        raise BadRequest("the request has no body; it needs a JSON object", code="bad_json")
    try:
        return strict_json.parse(data, nul_allowed=nul_allowed)
    except strict_json.Malformed as error:
        raise BadRequest(str(error), code="bad_json") from error


def validate(model: type[M], value: Any) -> M:
    """`value` as a `model`. InvalidSpec naming each field that is wrong, dotted."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid(wording.faults(model, error)) from error


def invalid(errors: list[FieldError]) -> InvalidSpec:
    """The refusal of a request for these fields."""
    fields = ", ".join(dict.fromkeys(error.field for error in errors))
    return InvalidSpec(f"not valid: {fields}"[:1000], code="invalid", errors=errors[:100],
                       remedy="mend what `errors` names; GET /docs has every field of every request")
