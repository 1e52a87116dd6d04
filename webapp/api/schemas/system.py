"""The deployment as a whole."""

from typing import Literal

from pydantic import Field

from webapp.api.schemas.base import Output


class System(Output):
    """What runs here."""

    version: str
    schema_: str = Field(alias="schema", description="revision of the tables")
    runtime: Literal["local"]
    paused: bool
