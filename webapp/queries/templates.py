"""Templates and their versions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, bindparam, func, select

from shared.domain.events import rfc3339
from shared.persistence.models import template_versions, templates
from webapp.queries.paging import Page, newest_first

_NEWEST_NUMBER = (select(func.max(template_versions.c.version).label("number"), templates.c.archived_at)
                  .join(templates, templates.c.id == template_versions.c.template)
                  .where(templates.c.name == bindparam("name")).group_by(templates.c.id))


@dataclass(frozen=True)
class Filter:
    """Which templates are wanted; empty means any that is not archived."""

    owner: UUID | None = None
    name: str | None = None
    archived: bool = False


def version(tx: Connection, name: str, number: int) -> Row[Any] | None:
    """name, owner, archived_at, version, spec, images, version_created_at of that version."""
    return tx.execute(_versions().where(templates.c.name == name, template_versions.c.version == number)).first()


def newest(tx: Connection, name: str) -> Row[Any] | None:
    """The same of the newest version."""
    return tx.execute(_versions().where(templates.c.name == name)
                      .order_by(template_versions.c.version.desc()).limit(1)).first()


def newest_number(tx: Connection, name: str) -> Row[Any] | None:
    """number of the newest version, and archived_at; None when there is no such template."""
    return tx.execute(_NEWEST_NUMBER, {"name": name}).first()


def page(tx: Connection, wanted: Filter, page: Page) -> tuple[list[dict[str, Any]], str | None]:
    """One page of templates in their newest version, the newest template first."""
    versions = template_versions.alias()
    newest_version = (select(func.max(versions.c.version))
                      .where(versions.c.template == templates.c.id).scalar_subquery())
    query = (select(templates.c.id, templates.c.name, templates.c.owner, templates.c.created_at,
                    templates.c.archived_at, template_versions.c.version, template_versions.c.spec,
                    template_versions.c.images, template_versions.c.created_at.label("version_created_at"))
             .join(template_versions, template_versions.c.template == templates.c.id)
             .where(template_versions.c.version == newest_version))
    if not wanted.archived:
        query = query.where(templates.c.archived_at.is_(None))
    if wanted.owner:
        query = query.where(templates.c.owner == wanted.owner)
    if wanted.name:
        query = query.where(templates.c.name.icontains(wanted.name, autoescape=True))
    rows, following = newest_first(tx, query, templates, page)
    return [resource(row) for row in rows], following


def resource(row: Row[Any]) -> dict[str, Any]:
    """As the API answers it: the recipe with its version."""
    return {"version": row.version, "owner": row.owner and str(row.owner),
            "created_at": rfc3339(row.version_created_at), "archived_at": row.archived_at and rfc3339(row.archived_at),
            **with_images(row.spec, row.images)}


def with_images(spec: dict[str, Any], images: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with what its images were resolved to, each beside its image."""
    return spec | _of_image(spec, images) | {"containers": [each | _of_image(each, images)
                                                            for each in spec["containers"]]}


def _of_image(stating: dict[str, Any], images: Mapping[str, Any]) -> dict[str, Any]:
    found = images.get(stating["image"], {"digest": None, "command": None})
    return {"image_digest": found["digest"], "image_command": None if stating["command"] else found["command"]}


def _versions() -> Select[Any]:
    return (select(templates.c.name, templates.c.owner, templates.c.archived_at, template_versions.c.version,
                   template_versions.c.spec, template_versions.c.images,
                   template_versions.c.created_at.label("version_created_at"))
            .join(template_versions, template_versions.c.template == templates.c.id))
