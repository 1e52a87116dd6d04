"""Templates: the recipe with its version."""

from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from shared.domain.specs import TemplateSpec
from webapp.api.schemas.base import Output, PageQuery
from webapp.queries.templates import Filter

MAX_VERSION = 2**31 - 1


class TemplateName(BaseModel):
    """The path of a template."""

    name: str


class TemplateVersion(BaseModel):
    """The path of one of its versions."""

    name: str
    number: int


class TemplateQuery(PageQuery):
    """Which templates."""

    owner: UUID | None = None
    name: Annotated[str, StringConstraints(max_length=200)] | None = Field(None, description="a part of the name")
    archived: bool = Field(False, description="also those that are archived")

    def filter(self) -> Filter:
        """For queries."""
        return Filter(self.owner, self.name, self.archived)


class Template(TemplateSpec):
    """A recipe as it is kept."""

    model_config = ConfigDict(strict=False)

    version: int
    owner: UUID | None
    created_at: AwareDatetime
    archived_at: AwareDatetime | None = Field(description="since when it takes no submissions")


class TemplateList(Output):
    """Templates, each in its newest version."""

    items: list[Template]
    next: str | None
