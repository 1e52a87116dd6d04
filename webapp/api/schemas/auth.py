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

    email: Annotated[str, StringConstraints(min_length=3, max_length=254)] = Field(examples=["ada@example.com"])
    """The address to log in with, without regard to case."""
    password: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = Field(
        examples=["correct horse battery"])
    """That of the account; after some wrong ones the next try has to wait."""


class Refresh(Input):
    """The refresh token to spend."""

    refresh_token: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        None, description="a browser leaves it out: the cookie is taken",
        examples=["0f1e2d3c4b5a69788796a5b4c3d2e1f0.1.c2lnbmF0dXJl"])


class TokenPair(Output):
    """An access token for the Authorization header, and the token that gets the next pair."""

    access_token: str = Field(examples=["eyJhbGciOiJIUzI1NiJ9.e30.c2ln"])
    """For the header Authorization: Bearer …"""
    refresh_token: str = Field(examples=["0f1e2d3c4b5a69788796a5b4c3d2e1f0.1.c2lnbmF0dXJl"])
    """Spent once, by POST /auth/refresh, for the next pair."""
    token_type: Literal["bearer"]
    """How the access token is shown."""
    expires_in: int = Field(examples=[1800])
    """Seconds until the access token ends."""


class Usage(Output):
    """What is used of a limit."""

    used: int = Field(examples=[3])
    """What is in use now."""
    limit: int | None = Field(description="null is no limit", examples=[4])


class Quota(Output):
    """A user's limits and what is used of them."""

    running: Usage
    """Instances that hold a slot."""
    queued: Usage
    """Instances that wait."""
    stored_bytes: Usage
    """Bytes in bundles."""


class ShownToken(Output):
    """The API token by which somebody asks."""

    id: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The UUID by which it is named in paths."""
    name: str = Field(examples=["nightly"])
    """What it is for."""
    scopes: list[str] = Field(examples=[["simulations:write", "bundles:read"]])
    """What it may be used for."""
    expires_at: AwareDatetime | None = Field(examples=["2027-01-01T00:00:00Z"])
    """When it ends; null: never."""


class Me(Output):
    """The user who asks."""

    id: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The UUID by which it is named in paths."""
    email: str = Field(examples=["ada@example.com"])
    """The address to log in with, without regard to case."""
    role: Role
    """viewer reads, operator also acts on what is his own, admin acts on everything; operator where an admin's API
    token does not say admin."""
    created_at: AwareDatetime = Field(examples=["2026-11-25T12:00:00Z"])
    """When it was made."""
    quota: Quota
    """What of the user's limits is in use."""
    token: ShownToken | None
    """The API token that the request shows; null after a login."""


class Verified(Output):
    """A token that counts."""

    valid: Literal[True]
    """Always true: a token that does not count is a 401."""
    user: UUID = Field(examples=["8c1e3f2b-7a5d-4b7e-855c-9d2f0a1e4b5c"])
    """Whom it names."""
    role: Role
    """viewer reads, operator also acts on what is his own, admin acts on everything."""


class NewToken(Input):
    """A token for a program."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")] = Field(
        examples=["nightly"])
    """What it is for."""
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=20)] = Field(
        description="read, write or admin; or read or write of one resource alone, as simulations:write "
                    f"({', '.join(RESOURCES)})",
        examples=[["simulations:write", "bundles:read"]])
    expires_at: AwareDatetime | None = Field(None, strict=False, description="when it ends; null: never",
        examples=["2027-01-01T00:00:00Z"])


class ApiToken(Output):
    """An API token, without the secret."""

    id: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The UUID by which it is named in paths."""
    name: str = Field(examples=["nightly"])
    """What it is for."""
    scopes: list[str] = Field(examples=[["simulations:write", "bundles:read"]])
    """What it may be used for."""
    expires_at: AwareDatetime | None = Field(examples=["2027-01-01T00:00:00Z"])
    """When it ends; null: never."""
    last_used_at: AwareDatetime | None = Field(examples=["2026-11-25T12:00:00Z"])
    """When it was last shown, as of half a minute ago; null: never."""
    created_at: AwareDatetime = Field(examples=["2026-11-25T12:00:00Z"])
    """When it was made."""


class MadeToken(ApiToken):
    """The same with the token itself, this once."""

    token: str = Field(examples=["simyard_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"])
    """The token itself, shown this once."""


class TokenList(Output):
    """API tokens, newest first."""

    items: list[ApiToken]
    """The page's items."""
    next: str | None = Field(examples=["WyIyMDI2LTExLTI1VDEyOjAwOjAwKzAwOjAwIl0"])
    """The cursor of the next page; null on the last one."""
