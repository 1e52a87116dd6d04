"""/templates: the recipes of simulators."""

from flask import Response

from shared.domain.errors import NotFound
from shared.domain.specs import TemplateSpec
from webapp import templates
from webapp.api.resource import PROBLEM, Resource, answer
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
from webapp.queries import templates as queries

api = Resource("templates", "Recipes of simulators, named, versioned and unchanging")


@api.get("/templates", responses={200: TemplateList})
@needs("viewer")
def list_templates(query: TemplateQuery) -> Response:
    """The templates, each in its newest version, newest template first."""
    with parts().connections.database.single() as tx:
        items, following = queries.page(tx, query.owner, query.name, query.page())
    return answer({"items": items, "next": following})


@api.post("/templates", responses={201: Template, 409: PROBLEM})
@needs("operator")
def create_template(body: TemplateSpec) -> Response:
    """Make a template; it begins with version 1."""
    key = key_of_request(caller().id, body)
    status, made = parts().templates.create(body, caller().id, key)
    return answer(made, status, {"Location": f"{parts().settings.api_str}/templates/{body.name}"})


@api.get("/templates/<name>", responses={200: Template, 404: PROBLEM})
@needs("viewer")
def show_template(path: TemplateName) -> Response:
    """A template in its newest version."""
    return answer(templates.show(parts().connections.database, path.name))


@api.get("/templates/<name>/versions/<int:number>", responses={200: Template, 404: PROBLEM})
@needs("viewer")
def show_template_version(path: TemplateVersion) -> Response:
    """One version of a template."""
    if not 1 <= path.number <= MAX_VERSION:
        raise NotFound(f"there is no template {path.name}@{path.number}")
    return answer(templates.show(parts().connections.database, path.name, path.number))
