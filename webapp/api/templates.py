"""/templates: the recipes of simulators."""

from typing import Any

from flask import Response

from shared.domain.errors import FieldError, NotFound
from shared.domain.specs import Limits, Resources, TemplateSpec
from webapp import templates
from webapp.api.headers import once
from webapp.api.resource import PROBLEM, Resource, answer, invalid
from webapp.api.schemas.templates import (
    MAX_VERSION,
    Template,
    TemplateList,
    TemplateName,
    TemplateQuery,
    TemplateVersion,
)
from webapp.auth.permissions import caller, needs
from webapp.idempotency import key_of_request
from webapp.parts import parts
from webapp.programs import check_template, effective
from webapp.queries import templates as queries

api = Resource("templates", "Recipes of simulators, named, versioned and unchanging")


@api.get("/templates", responses={200: TemplateList})
@needs("viewer")
def list_templates(query: TemplateQuery) -> Response:
    """The templates, each in its newest version, newest template first; archived ones only when asked for."""
    with parts().connections.database.single() as tx:
        items, following = queries.page(tx, query.filter(), query.page())
    return answer({"items": [_shown(item) for item in items], "next": following})


@api.post("/templates", responses={201: once(Template), 409: PROBLEM})
@needs("operator")
def create_template(body: TemplateSpec) -> Response:
    """Make a template; it begins with version 1. Tags of images mean for ever what they mean now."""
    key = key_of_request(parts().settings, caller().id, body)
    check_template(body, parts().settings)
    status, made = (key and key.known(parts().connections.database)) or parts().templates.create(
        body, templates.resolve(body, parts().images), caller().id, key)
    return answer(_shown(made), status, {"Location": f"{parts().settings.api_str}/templates/{body.name}"})


@api.get("/templates/<name>", responses={200: Template, 404: PROBLEM})
@needs("viewer")
def show_template(path: TemplateName) -> Response:
    """A template in its newest version."""
    return answer(_shown(templates.show(parts().connections.database, path.name)))


@api.put("/templates/<name>", responses={200: Template, 404: PROBLEM})
@needs("operator")
def change_template(path: TemplateName, body: TemplateSpec) -> Response:
    """Give a template its next version; an identical one makes none, unless a tag means another image by now.

    An archived one takes submissions again."""
    if body.name != path.name:
        raise invalid([FieldError("name", f"must be {path.name}: a template keeps its name")])
    _must_own(path.name)
    check_template(body, parts().settings)
    return answer(_shown(parts().templates.change(body, templates.resolve(body, parts().images))))


@api.delete("/templates/<name>", responses={204: None, 404: PROBLEM})
@needs("operator")
def archive_template(path: TemplateName) -> Response:
    """Archive a template: it takes no submissions any more. What was submitted runs on; its versions can be read."""
    _must_own(path.name)
    parts().templates.archive(path.name)
    return Response(status=204)


def _shown(resource: dict[str, Any]) -> dict[str, Any]:
    limits, resources = Limits.model_validate(resource["limits"]), Resources.model_validate(resource["resources"])
    return resource | {"effective": effective(limits, resources, parts().settings)}


def _must_own(name: str) -> None:
    with parts().connections.database.single() as tx:
        found = queries.newest(tx, name)
    if found is None:
        raise NotFound(f"there is no template {name}")
    caller().must_own(found.owner, f"template {name}")


@api.get("/templates/<name>/versions/<int:number>", responses={200: Template, 404: PROBLEM})
@needs("viewer")
def show_template_version(path: TemplateVersion) -> Response:
    """One version of a template."""
    if not 1 <= path.number <= MAX_VERSION:
        raise NotFound(f"there is no template {path.name}@{path.number}")
    return answer(_shown(templates.show(parts().connections.database, path.name, path.number)))
