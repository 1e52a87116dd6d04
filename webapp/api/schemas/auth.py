"""Logins, accounts and API tokens."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from webapp.api.schemas.base import Input, Output
from webapp.api.schemas.users import Role
from webapp.auth.api_tokens import RESOURCES, SCOPE

Scope = Annotated[str, StringConstraints(pattern=SCOPE)]


class Login(Input):
    """Who wants in."""

    email: Annotated[str, StringConstraints(min_length=3, max_length=254)]
    password: Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class Refresh(Input):
    """The refresh token to spend."""

    refresh_token: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        None, description="a browser leaves it out: the cookie is taken")


class TokenPair(Output):
    """An access token for the Authorization header, and the token that gets the next pair."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"]
    expires_in: int


class Usage(Output):
    """What is used of a limit."""

    used: int
    limit: int | None = Field(description="null is no limit")


class Quota(Output):
    """A user's limits and what is used of them."""

    running: Usage
    queued: Usage
    stored_bytes: Usage


class Me(Output):
    """The user who asks."""

    id: UUID
    email: str
    role: Role
    created_at: AwareDatetime
    quota: Quota


class Verified(Output):
    """A token that counts."""

    valid: Literal[True]
    user: UUID
    role: Role


class NewToken(Input):
    """A token for a program."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=20)] = Field(
        description="read, write or admin; or read or write of one resource alone, as simulations:write "
                    f"({', '.join(RESOURCES)})",
        examples=[["simulations:write", "bundles:read"]])
    expires_at: AwareDatetime | None = Field(None, strict=False, description="null: never")


class ApiToken(Output):
    """An API token, without the secret."""

    id: UUID
    name: str
    scopes: list[str]
    expires_at: AwareDatetime | None
    last_used_at: AwareDatetime | None
    created_at: AwareDatetime


class MadeToken(ApiToken):
    """The same with the token itself, this once."""

    token: str


class TokenList(Output):
    """API tokens, newest first."""

    items: list[ApiToken]
    next: str | None
