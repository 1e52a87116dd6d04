"""Templates and their versions."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, bindparam, func, select

from shared.domain.events import rfc3339
from shared.persistence.models import template_versions, templates
from webapp.queries.paging import Page, newest_first

_NEWEST_NUMBER = (select(func.max(template_versions.c.version))
                  .join(templates, templates.c.id == template_versions.c.template)
                  .where(templates.c.name == bindparam("name")))


def version(tx: Connection, name: str, number: int) -> Row[Any] | None:
    """name, owner, version, spec, version_created_at of that version."""
    return tx.execute(_versions().where(templates.c.name == name, template_versions.c.version == number)).first()


def newest(tx: Connection, name: str) -> Row[Any] | None:
    """The same of the newest version."""
    return tx.execute(_versions().where(templates.c.name == name)
                      .order_by(template_versions.c.version.desc()).limit(1)).first()


def newest_number(tx: Connection, name: str) -> int | None:
    """The number of the newest version; None when there is no such template."""
    return tx.execute(_NEWEST_NUMBER, {"name": name}).scalar()


def page(tx: Connection, owner: UUID | None, name: str | None, page: Page) -> tuple[list[dict[str, Any]], str | None]:
    """One page of templates in their newest version, the newest template first."""
    versions = template_versions.alias()
    newest_version = (select(func.max(versions.c.version))
                      .where(versions.c.template == templates.c.id).scalar_subquery())
    query = (select(templates.c.id, templates.c.name, templates.c.owner, templates.c.created_at,
                    template_versions.c.version, template_versions.c.spec,
                    template_versions.c.created_at.label("version_created_at"))
             .join(template_versions, template_versions.c.template == templates.c.id)
             .where(template_versions.c.version == newest_version))
    if owner:
        query = query.where(templates.c.owner == owner)
    if name:
        query = query.where(templates.c.name.icontains(name, autoescape=True))
    rows, following = newest_first(tx, query, templates, page)
    return [resource(row) for row in rows], following


def resource(row: Row[Any]) -> dict[str, Any]:
    """As the API answers it: the recipe with its version."""
    return {"version": row.version, "owner": row.owner and str(row.owner),
            "created_at": rfc3339(row.version_created_at), **row.spec}


def _versions() -> Select[Any]:
    return (select(templates.c.name, templates.c.owner, template_versions.c.version, template_versions.c.spec,
                   template_versions.c.created_at.label("version_created_at"))
            .join(template_versions, template_versions.c.template == templates.c.id))
