"""What a recorder says it found: untrusted, so every field is bounded and checked. Read by collecting."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Path = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\\]+$")]
Text = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00]*$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=0, lt=2**63)]
Nanoseconds = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Checked(BaseModel):
    """Strict and frozen; what we do not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Upload(Checked):
    """A file that was uploaded: its path below the attempt's output folder."""

    path: Path
    size: Size
    sha256: Sha256


class Member(Upload):
    """A file of a recording, by its name in the recording's folder."""

    name: Path
    role: Literal["metadata", "data", "sidecar", "rebuilt"]
    etag: Annotated[str, StringConstraints(max_length=200)] | None = None  # of the object that an ingester read


class Topic(Checked):
    """One topic of a recording."""

    name: Text
    type: Text
    count: Size
    frequency_hz: Finite | None
    first_ns: Nanoseconds | None
    last_ns: Nanoseconds | None
    decodable: bool


class Recording(Checked):
    """One recording, as contract's bundle facts."""

    name: Text
    path: Path
    state: Literal["READY", "DAMAGED", "REJECTED"]
    reason: Literal["not_a_recording", "hostile"] | None
    storage: Literal["sqlite3", "mcap", "rosbag1", "mixed"] | None
    files: Annotated[tuple[Member, ...], Field(min_length=1, max_length=10_000)]
    topics: Annotated[tuple[Topic, ...], Field(max_length=20_000)]
    messages: Size
    start_ns: Nanoseconds | None
    end_ns: Nanoseconds | None
    duration_seconds: Finite | None
    problems: Annotated[tuple[dict[str, Any], ...], Field(max_length=1000)]
    certificate: dict[str, Any] | None = None
    index: Upload | None = None

    @model_validator(mode="after")
    def _names_each_thing_once(self) -> Self:
        topics = [(topic.name, topic.type) for topic in self.topics]
        files = [file.name for file in self.files]
        if len(topics) != len(set(topics)) or len(files) != len(set(files)):
            raise ValueError("a topic or a file is named twice")
        return self


class Result(Checked):
    """The simulator's own verdict."""

    passed: bool | None = None
    metrics: Annotated[dict[Text, Finite], Field(max_length=1000)] = {}


class Ingested(Checked):
    """What an ingester found: a recording, or that what was uploaded is not what was announced."""

    unsound: Text | None = None
    recording: Recording | None = None


class Log(Checked):
    """How the log ended: its bytes in all, their last part, and whether all of it was uploaded."""

    size: Size
    tail: Annotated[str, StringConstraints(max_length=65_536)]
    uploaded: bool


class Facts(Checked):
    """All that is known of an attempt once its recorder is done."""

    recordings: Annotated[tuple[Recording, ...], Field(max_length=1000)] = ()
    files: Annotated[tuple[Upload, ...], Field(max_length=10_000)] = ()
    problems: Annotated[tuple[Text, ...], Field(max_length=100)] = ()
    result: Result = Result()
    ingested: Ingested = Ingested()
    progress: dict[str, Any] | None = None
    log: Log
    usage: dict[str, Finite] = {}

    @model_validator(mode="after")
    def _names_each_path_once(self) -> Self:
        paths = [file.path for recording in self.recordings for file in recording.files if file.role != "rebuilt"]
        paths += [file.path for file in self.files]
        if any({"", ".", ".."} & set(path.split("/")) for path in paths):
            raise ValueError("a path leads elsewhere")
        for named in (paths, [recording.path for recording in self.recordings]):
            if len(named) != len(set(named)):
                raise ValueError("a path is named twice")
        return self
