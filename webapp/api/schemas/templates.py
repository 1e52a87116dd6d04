"""Templates: the recipe with its version."""

from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints

from shared.domain.specs import Container, TemplateSpec
from webapp.api.schemas.base import DIGEST, Output, PageQuery, Path
from webapp.queries.templates import Filter

MAX_VERSION = 2**31 - 1


class TemplateName(Path):
    """The path of a template."""

    name: str = Field(examples=["diffdrive"])
    """The template's name."""


class TemplateVersion(Path):
    """The path of one of its versions."""

    name: str = Field(examples=["diffdrive"])
    """The template's name."""
    number: int = Field(ge=1, le=MAX_VERSION, examples=[1])
    """The version, from 1."""


class TemplateQuery(PageQuery):
    """Which templates."""

    owner: UUID | None = Field(None, examples=["8c1e3f2b-7a5d-4b7e-855c-9d2f0a1e4b5c"])
    """Only those of this user."""
    name: Annotated[str, StringConstraints(max_length=200)] | None = Field(None, description="a part of the name",
        examples=["drive"])
    archived: bool = Field(False, description="also those that are archived")

    def filter(self) -> Filter:
        """For queries."""
        return Filter(self.owner, self.name, self.archived)


class TemplateContainer(Container):
    """One more container, as it is kept."""

    model_config = ConfigDict(strict=False)

    image_digest: str | None = Field(examples=[DIGEST])
    """What its tag meant when this version was made, and what it runs; null where tags are not resolved."""
    image_command: list[str] | None = Field(examples=[None])
    """What the image says that it runs, where no command is stated; null where one is, and where nobody looked."""


class Effective(Output):
    """What an instance is held to where its submission states nothing else."""

    run_seconds: float | None = Field(examples=[30.0])
    """Seconds it may run: the template's, or the operator's EXECUTION_TIMEOUT_SECONDS."""
    memory_mb: int | None = Field(examples=[512])
    """MiB it may use: the template's, or the operator's EXECUTION_MEMORY_LIMIT_MB."""


class Template(TemplateSpec):
    """A recipe as it is kept."""

    model_config = ConfigDict(strict=False)

    image_digest: str | None = Field(examples=[DIGEST])
    """What the image's tag meant when this version was made, and what it runs; null without an image, and where tags
    are not resolved."""
    image_command: list[str] | None = Field(examples=[None])
    """What the image says that it runs, where no command is stated; null where one is, and where nobody looked."""
    containers: tuple[TemplateContainer, ...]
    """More containers beside the main one."""
    effective: Effective
    """What holds where template and submission state nothing."""
    version: int = Field(examples=[1])
    """The number of this version, from 1."""
    owner: UUID | None = Field(examples=["8c1e3f2b-7a5d-4b7e-855c-9d2f0a1e4b5c"])
    """The user who made it; null once that user is deleted."""
    created_at: AwareDatetime = Field(examples=["2026-11-25T12:00:00Z"])
    """When it was made."""
    archived_at: AwareDatetime | None = Field(description="since when it takes no submissions; null: it takes them",
        examples=["2026-11-25T12:00:00Z"])


class TemplateList(Output):
    """Templates, each in its newest version."""

    items: list[Template]
    """The page's items."""
    next: str | None = Field(examples=["WyIyMDI2LTExLTI1VDEyOjAwOjAwKzAwOjAwIl0"])
    """The cursor of the next page; null on the last one."""
