"""Logins and accounts."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, StringConstraints

from webapp.api.schemas.base import Input, Output


class Login(Input):
    """Who wants in."""

    email: Annotated[str, StringConstraints(min_length=3, max_length=254)]
    password: Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class Refresh(Input):
    """The refresh token to spend."""

    refresh_token: Annotated[str, StringConstraints(max_length=1024)]


class TokenPair(Output):
    """An access token for the Authorization header, and the token that gets the next pair."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"]
    expires_in: int


class Me(Output):
    """The user who asks."""

    id: UUID
    email: str
    role: Literal["viewer", "operator", "admin"]
    created_at: AwareDatetime
