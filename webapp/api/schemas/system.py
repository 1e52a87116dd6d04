"""The deployment as a whole."""

from typing import Literal

from pydantic import Field

from webapp.api.schemas.base import Output


class System(Output):
    """What runs here."""

    version: str = Field(examples=["0.1.0"])
    """Of this software."""
    schema_: str = Field(alias="schema", description="revision of the tables", examples=["0003"])
    runtime: Literal["local", "kubernetes"]
    """Where programs run."""
    paused: bool
    """Whether an admin has paused admission."""
