"""Bundles: the facts of a recording."""

import re
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints, field_validator, model_validator

from shared.domain.specs import KeepDays, Labels
from shared.domain.states import BundleState
from webapp.api.schemas.base import Input, Output, PageQuery
from webapp.api.schemas.simulations import LabelFilter, labels_of
from webapp.queries.bundles import Filter

# metadata.yaml or a data file, each possibly packed; any printable name of one segment.
FILE_NAME = (r"^[^\x00-\x1f\x7f-\x9f/\\]*?"
             r"(^metadata\.yaml|\.db3|\.db3-wal|\.db3-shm|\.mcap|\.bag|\.bag\.active)(\.zstd)?$")
DATA_NAME = re.compile(r"\.(db3|mcap|bag|bag\.active)(\.zstd)?$")
MOST_FILES = 1000
MOST_BYTES = 5 << 40  # S3's own limit


class BundleFilePath(BaseModel):
    """The path of a bundle's file."""

    id: UUID
    name: str


class AnnouncedFile(Input):
    """A file that is to be uploaded."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=FILE_NAME)]
    size: Annotated[int, Field(ge=0, le=MOST_BYTES, description="bytes")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

    @field_validator("name")
    @classmethod
    def _fits_a_file_system(cls, value: str) -> str:
        if len(value.encode()) > 255:
            raise ValueError("has more than 255 bytes of UTF-8")
        return value


class Announcement(Input):
    """A recording that is to be uploaded."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
    files: Annotated[list[AnnouncedFile], Field(min_length=1, max_length=MOST_FILES)]
    labels: Labels = Field({})

    @model_validator(mode="after")
    def _has_data_under_distinct_names(self) -> Self:
        names = [file.name for file in self.files]
        if len(names) != len(set(names)):
            raise ValueError("a file is named twice")
        if not any(DATA_NAME.search(name) for name in names):
            raise ValueError("none of the files is a recording (.db3, .mcap, .bag)")
        if sum(file.size for file in self.files) > MOST_BYTES:
            raise ValueError(f"all files together have more than {MOST_BYTES} bytes")
        return self


class BundleChange(Input):
    """What is to be other than it is; what is not stated stays."""

    labels: Labels = Field({}, description="in place of all there are")
    hold: bool = Field(False, description="nothing and nobody deletes it")
    keep_days: KeepDays | None = Field(None, description="after its creation it is deleted; null is never")


class UploadPart(Output):
    """Where one part goes, by a plain PUT."""

    number: int
    url: str


class UploadFile(Output):
    """The parts of one file that are yet to be uploaded."""

    name: str
    parts: list[UploadPart]


class Ticket(Output):
    """What to upload, at most 1,000 parts at a time."""

    id: UUID
    state: BundleState
    part_size: int = Field(description="bytes of each part of a file but its last")
    expires_at: AwareDatetime | None = Field(description="when the URLs end; GET /bundles/{id}/uploads has fresh ones")
    uploads: list[UploadFile]


class Ingest(Output):
    """What has become of a completed upload."""

    bundle: UUID
    job: UUID | None
    state: BundleState


class BundleQuery(PageQuery):
    """Which bundles."""

    state: list[BundleState] = Field([], description="any of these")
    owner: UUID | None = None
    label: list[LabelFilter] = Field([], description="key:value; all of these")
    name: Annotated[str, StringConstraints(max_length=200)] | None = Field(None, description="a part of the name")

    def filter(self) -> Filter:
        """For queries."""
        return Filter(self.state, self.owner, labels_of(self.label), self.name)


class BundleFile(Output):
    """One file of it."""

    name: str
    size: int
    sha256: str
    role: str


class Topic(Output):
    """What was recorded under one name."""

    name: str
    type: str
    count: int
    frequency_hz: float | None
    first_ns: int | None
    last_ns: int | None
    decodable: bool


class Bundle(Output):
    """A verified recording."""

    id: UUID
    name: str
    owner: UUID | None
    visibility: Literal["team", "private"]
    labels: dict[str, str]
    instance: UUID | None
    attempt: int | None
    state: BundleState
    reason: str | None
    digest: str
    storage: str | None
    files: list[BundleFile]
    topics: list[Topic]
    messages: int
    start_ns: int | None
    end_ns: int | None
    duration_seconds: float | None
    problems: list[dict[str, Any]]
    certificate: dict[str, Any] | None
    size: int = Field(description="bytes of all its files, or of those announced")
    hold: bool = Field(description="whether nothing and nobody deletes it")
    keep_days: int | None = Field(description="after its creation it is deleted; null is never")
    created_at: AwareDatetime


class BundleList(Output):
    """Bundles, newest first."""

    items: list[Bundle]
    next: str | None
