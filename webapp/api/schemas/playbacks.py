"""Playbacks: a recording played as if it happened now."""

from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from shared.domain.states import State
from webapp.api.schemas.base import Input, Output, Query

# Of 64 bits, less those that a double has not: many read the numbers of a schema as such.
Ns = Annotated[int, Field(ge=-(2**63) + 1024, le=2**63 - 1024)]
Time = Annotated[str, StringConstraints(max_length=40)] | Ns
Rate = Annotated[float, Field(ge=0.1, le=50, allow_inf_nan=False,
                             description="seconds of the recording in one of ours")]
TopicName = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class NewPlayback(Input):
    """What to play, and how."""

    bundle: UUID = Field(strict=False, examples=["5d7a8c1e-3f2b-4e7b-9c55-0a1d2f3e4b5c"])
    """What to play."""
    rate: Rate = Field(1.0, examples=[1.0])
    """Seconds of the recording in one of ours."""
    start: Time | None = Field(None, examples=["+2.5"])
    """ns since 1970, or +seconds from the bundle's start; from there when left out."""
    end: Time | None = Field(None, examples=["+10"])
    """The first moment that is left out, in the same forms; to the bundle's end when left out."""
    loop: bool = False
    """Whether it begins again at its end."""
    topics: Annotated[list[TopicName], Field(min_length=1, max_length=1000)] | None = Field(
        None, description="all when left out", examples=[["/scan", "/odom"]])


class Order(Input):
    """What the player is to do."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"action": "seek", "to_ns": 1764072010000000000}

    action: Literal["play", "pause", "seek", "rate", "step", "stop"]
    """What to do."""
    to_ns: Ns | None = Field(None, description="with seek, where to: ns since 1970", examples=[1764072010000000000])
    rate: Rate | None = Field(None, description="with rate: seconds of the recording in one of ours", examples=[2.0])

    @model_validator(mode="after")
    def _says_what_the_action_needs(self) -> Self:
        if (self.action == "seek") != (self.to_ns is not None):
            raise ValueError("to_ns goes with seek, and seek needs to_ns")
        if (self.action == "rate") != (self.rate is not None):
            raise ValueError("rate goes with the action rate, which needs it")
        return self


class Playback(Output):
    """A playback and where it stands."""

    id: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The UUID by which it is named in paths."""
    state: State
    """Where it is in its life."""
    bundle: UUID = Field(examples=["5d7a8c1e-3f2b-4e7b-9c55-0a1d2f3e4b5c"])
    """What is played."""
    rate: float = Field(examples=[1.0])
    """Seconds of the recording in one of ours."""
    paused: bool
    """Whether it stands still."""
    position_ns: int | None = Field(description="where it is, ns since 1970; null while it does not run",
        examples=[1764072010000000000])
    websocket_url: str | None = Field(examples=[
        "wss://robot.example.com/api/v1/playbacks/3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c/foxglove?ticket=eyJhbGciOi…"])
    """For viewers that speak the Foxglove protocol, and for whoever has it: it lets its bearer in as you, to this
    playback alone, for as long as an access token lives. Each answer has another. Null while it does not run."""


class Admission(Query):
    """What a websocket_url carries."""

    ticket: Annotated[str, StringConstraints(max_length=4000)] = Field(examples=["eyJhbGciOi…"])
    """Who may come in, and until when."""
