"""Bundles: the facts of a recording."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints, field_validator, model_validator

from shared.domain.errors import FieldError
from shared.domain.specs import KeepDays, Labels, Misfit
from shared.domain.states import BundleState
from webapp.api.schemas.base import Change, Input, Output, PageQuery, Path
from webapp.api.schemas.simulations import LabelFilter, labels_of
from webapp.queries.bundles import Filter

# metadata.yaml or a data file, each possibly packed; any printable name of one segment.
FILE_NAME = (r"^[^\x00-\x1f\x7f-\x9f/\\]*?"
             r"(^metadata\.yaml|\.db3|\.db3-wal|\.db3-shm|\.mcap|\.bag|\.bag\.active)(\.zstd)?$")
DATA_NAME = re.compile(r"\.(db3|mcap|bag|bag\.active)(\.zstd)?$")
MOST_FILES = 1000
MOST_BYTES = 5 << 40  # S3's own limit


class BundleFilePath(Path):
    """The path of a bundle's file."""

    id: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The UUID by which it is named in paths."""
    name: str = Field(examples=["run_0.db3"])
    """The file's name."""


class AnnouncedFile(Input):
    """A file that is to be uploaded."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=FILE_NAME)] = Field(
        examples=["run_0.db3"])
    """metadata.yaml or a data file, each possibly packed (.zstd)."""
    size: Annotated[int, Field(ge=0, le=MOST_BYTES, description="bytes")] = Field(examples=[1048576])
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
    """Of its content, in hex."""

    @field_validator("name")
    @classmethod
    def _fits_a_file_system(cls, value: str) -> str:
        if len(value.encode()) > 255:
            raise ValueError("has more than 255 bytes of UTF-8")
        return value


class Announcement(Input):
    """A recording that is to be uploaded."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "name": "field test 7", "labels": {"pr": "12"}, "files": [
            {"name": "run_0.db3", "size": 1048576,
             "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}]}

    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")] = Field(
        examples=["field test 7"])
    """What people call it."""
    files: Annotated[list[AnnouncedFile], Field(min_length=1, max_length=MOST_FILES)]
    """Its files, under distinct names."""
    labels: Labels = Field({}, examples=[{"pr": "12"}])
    """Words to find it by, each with a value."""

    @model_validator(mode="after")
    def _has_data_under_distinct_names(self) -> Self:
        names = [file.name for file in self.files]
        if len(names) != len(set(names)):
            raise Misfit(FieldError("files", "name one twice"))
        if not any(DATA_NAME.search(name) for name in names):
            raise Misfit(FieldError("files", "have no recording among them (.db3, .mcap, .bag)"))
        if sum(file.size for file in self.files) > MOST_BYTES:
            raise Misfit(FieldError("files", f"have more than {MOST_BYTES} bytes together"))
        return self


class BundleChange(Change):
    """What is to be other than it is; what is not stated stays."""

    labels: Labels = Field({}, description="in place of all there are", examples=[{"pr": "12"}])
    hold: bool = False
    """Whether nobody and nothing may delete it."""
    keep_days: KeepDays | None = Field(None, examples=[30])
    """Days after created_at until it is deleted, unless held; null: never."""


class UploadPart(Output):
    """Where one part goes, by a plain PUT."""

    number: int = Field(examples=[1])
    """From 1."""
    url: str = Field(examples=["http://127.0.0.1:9000/robot-sim/uploads/…?partNumber=1&X-Amz-Signature=…"])
    """Where a plain PUT takes the part, for 15 minutes."""


class UploadFile(Output):
    """The parts of one file that are yet to be uploaded."""

    name: str = Field(examples=["run_0.db3"])
    """The announced file."""
    parts: list[UploadPart]
    """Its parts that are not there yet."""


class Ticket(Output):
    """What to upload, at most 1,000 parts at a time."""

    id: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The UUID by which it is named in paths."""
    state: BundleState
    """Where it is in its life."""
    part_size: int = Field(description="bytes of each part of a file but its last", examples=[16777216])
    expires_at: AwareDatetime | None = Field(description="when the URLs end; GET /bundles/{id}/uploads has "
        "fresh ones; null when there are none", examples=["2026-11-25T12:15:00Z"])
    uploads: list[UploadFile]
    """What is yet to be uploaded."""


class Ingest(Output):
    """What has become of a completed upload."""

    bundle: UUID = Field(examples=["5d7a8c1e-3f2b-4e7b-9c55-0a1d2f3e4b5c"])
    """The bundle."""
    job: UUID | None = Field(examples=["7b4e5d7a-8c1e-4f2b-9c55-0a1d2f3e4b5c"])
    """The job that looks into it; null before there is one."""
    state: BundleState
    """What has become of it."""


class BundleQuery(PageQuery):
    """Which bundles."""

    state: list[BundleState] = Field([], description="any of these")
    owner: UUID | None = Field(None, examples=["8c1e3f2b-7a5d-4b7e-855c-9d2f0a1e4b5c"])
    """Only those of this user."""
    label: list[LabelFilter] = Field([], description="key:value; all of these",
        examples=[["pr:12"]])
    name: Annotated[str, StringConstraints(max_length=200)] | None = Field(None, description="a part of the name",
        examples=["field"])

    def filter(self) -> Filter:
        """For queries."""
        return Filter(self.state, self.owner, labels_of(self.label), self.name)


class BundleFile(Output):
    """One file of it."""

    name: str = Field(examples=["run_0.db3"])
    """As it was recorded."""
    size: int = Field(examples=[1048576])
    """Bytes."""
    sha256: str = Field(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
    """Of its content, in hex."""
    role: str = Field(examples=["original"])
    """original, or rebuilt by us; announced while it is uploaded."""
    url: str | None = Field(examples=["/api/v1/bundles/3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c/files/run_0.db3"])
    """Where it is had, by a redirect; null while it is uploaded."""


class Topic(Output):
    """What was recorded under one name."""

    name: str = Field(examples=["/scan"])
    """The topic."""
    type: str = Field(examples=["sensor_msgs/msg/LaserScan"])
    """The type of its messages."""
    count: int = Field(examples=[1200])
    """How many messages can be read."""
    frequency_hz: float | None = Field(examples=[20.0])
    """Messages a second on average; null with fewer than two."""
    first_ns: int | None = Field(examples=[1764072000000000000])
    """Time of the first message, ns since 1970; null when there is none."""
    last_ns: int | None = Field(examples=[1764072060000000000])
    """Time of the last message, ns since 1970; null when there is none."""
    decodable: bool
    """Whether its messages can be told as JSON."""


class Bundle(Output):
    """A verified recording."""

    id: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The UUID by which it is named in paths."""
    name: str = Field(examples=["night run"])
    """What people call it; it need not be unique."""
    owner: UUID | None = Field(examples=["8c1e3f2b-7a5d-4b7e-855c-9d2f0a1e4b5c"])
    """The user who made it; null once that user is deleted."""
    visibility: Literal["team", "private"]
    """team: every user may read it; private: its owner and admins alone."""
    labels: dict[str, str] = Field(examples=[{"pr": "12"}])
    """Words to find it by, each with a value."""
    instance: UUID | None = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The instance that recorded it; null for one that was uploaded."""
    attempt: int | None = Field(examples=[1])
    """The attempt of it that did; null for an upload."""
    state: BundleState
    """Where it is in its life."""
    reason: str | None = Field(examples=["not_a_recording"])
    """Why it is REJECTED or FAILED; null otherwise."""
    digest: str = Field(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
    """sha256 over names and contents of its original files: equal for equal recordings."""
    storage: str | None = Field(examples=["sqlite3"])
    """sqlite3, mcap, rosbag1 or mixed; null before it was looked into."""
    files: list[BundleFile]
    """Its files, also those that were made of it."""
    topics: list[Topic]
    """What was recorded, by topic."""
    messages: int = Field(examples=[1200])
    """How many messages can be read."""
    start_ns: int | None = Field(examples=[1764072000000000000])
    """Time of the first message, ns since 1970; null when there is none."""
    end_ns: int | None = Field(examples=[1764072060000000000])
    """Time of the last message, ns since 1970; null when there is none."""
    duration_seconds: float | None = Field(examples=[60.0])
    """Seconds from the first message to the last; null when there is none."""
    problems: list[dict[str, Any]] = Field(
        examples=[[{"code": "metadata_missing", "file": None, "topic": None, "message": "there is no metadata.yaml"}]])
    """What is wrong with it, each with file and topic where it has some."""
    certificate: dict[str, Any] | None = Field(examples=[{"recovered": 1200, "lost": 0}])
    """What could be read and what is lost; null before it was looked into."""
    size: int = Field(description="bytes of all its files, or of those announced", examples=[1048576])
    hold: bool = Field(description="whether nothing and nobody deletes it")
    keep_days: int | None = Field(examples=[30])
    """Days after created_at until it is deleted, unless held; null: never."""
    created_at: AwareDatetime = Field(examples=["2026-11-25T12:00:00Z"])
    """When it was made."""


class BundleList(Output):
    """Bundles, newest first."""

    items: list[Bundle]
    """The page's items."""
    next: str | None = Field(examples=["WyIyMDI2LTExLTI1VDEyOjAwOjAwKzAwOjAwIl0"])
    """The cursor of the next page; null on the last one."""
