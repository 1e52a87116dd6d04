"""Users as admins see them, and the audit trail."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from webapp.api.schemas.base import Change, Input, Output, PageQuery

Role = Literal["viewer", "operator", "admin"]
Email = Annotated[str, StringConstraints(min_length=3, max_length=254, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$",
                                         to_lower=True)]
Password = Annotated[str, StringConstraints(min_length=8, max_length=1024)]
Limit = Annotated[int, Field(ge=0, lt=2**31)] | None
Bytes = Annotated[int, Field(ge=0, lt=2**53)] | None


class NewUser(Input):
    """Somebody who is to have access."""

    email: Email = Field(examples=["ada@example.com"])
    """The address to log in with, without regard to case."""
    password: Password = Field(examples=["correct horse battery"])
    """Kept as an argon2id hash alone."""
    role: Role = "viewer"
    """viewer reads, operator also acts on what is his own, admin acts on everything."""
    max_running: Limit = Field(None, examples=[4])
    """The most instances at once; null: the operator's default."""
    max_queued: Limit = Field(None, examples=[1000])
    """The most instances that wait; a submission beyond is refused; null: the operator's default."""
    max_stored_bytes: Bytes = Field(None, examples=[1000000000000])
    """The most bytes in bundles, with what is announced; null: the operator's default."""


class UserChanges(Change):
    """What is to be different; what is not stated stays."""

    role: Role = "viewer"
    """viewer reads, operator also acts on what is his own, admin acts on everything."""
    password: Password = Field("", examples=["correct horse battery"])
    """Kept as an argon2id hash alone."""
    disabled: bool = False
    """Whether the user is kept out; his logins are void and his API tokens rest."""
    max_running: Limit = Field(None, examples=[4])
    """The most instances at once; null: the operator's default."""
    max_queued: Limit = Field(None, examples=[1000])
    """The most instances that wait; a submission beyond is refused; null: the operator's default."""
    max_stored_bytes: Bytes = Field(None, examples=[1000000000000])
    """The most bytes in bundles, with what is announced; null: the operator's default."""


class User(Output):
    """Somebody with access."""

    id: UUID = Field(examples=["3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """The UUID by which it is named in paths."""
    email: str = Field(examples=["ada@example.com"])
    """The address to log in with, without regard to case."""
    role: Role
    """viewer reads, operator also acts on what is his own, admin acts on everything."""
    disabled: bool
    """Whether the user is kept out; his logins are void and his API tokens rest."""
    max_running: int | None = Field(examples=[4])
    """The most instances at once; null: the operator's default."""
    max_queued: int | None = Field(examples=[1000])
    """The most instances that wait; a submission beyond is refused; null: the operator's default."""
    max_stored_bytes: int | None = Field(examples=[1000000000000])
    """The most bytes in bundles, with what is announced; null: the operator's default."""
    created_at: AwareDatetime = Field(examples=["2026-11-25T12:00:00Z"])
    """When it was made."""


class UserQuery(PageQuery):
    """Which users."""

    role: Role | None = None
    """Only those with this role."""
    email: Annotated[str, StringConstraints(max_length=254)] | None = Field(None, description="a part of the address",
        examples=["@example.com"])


class UserList(Output):
    """Users, newest first."""

    items: list[User]
    """The page's items."""
    next: str | None = Field(examples=["WyIyMDI2LTExLTI1VDEyOjAwOjAwKzAwOjAwIl0"])
    """The cursor of the next page; null on the last one."""


class AuditQuery(PageQuery):
    """Which entries."""

    user: UUID | None = Field(None, examples=["8c1e3f2b-7a5d-4b7e-855c-9d2f0a1e4b5c"])
    """Only what this user did."""
    path: Annotated[str, StringConstraints(max_length=500)] | None = Field(None, description="what paths begin with",
        examples=["/api/v1/users"])


class AuditEntry(Output):
    """What somebody did, or tried and was not let."""

    number: int = Field(examples=[4711])
    """In the order of being written."""
    at: AwareDatetime = Field(examples=["2026-11-25T12:00:00Z"])
    """When."""
    user: UUID | None = Field(examples=["8c1e3f2b-7a5d-4b7e-855c-9d2f0a1e4b5c"])
    """Who; null for a try to log in."""
    email: str | None = Field(examples=["ada@example.com"])
    """The user's address at that time; null for a try to log in."""
    token: UUID | None = Field(examples=["8c1e3f2b-7a5d-4b7e-855c-9d2f0a1e4b5c"])
    """The API token by which it was done; null for a login."""
    address: str | None = Field(examples=["192.0.2.1"])
    """Where the request came from."""
    method: str = Field(examples=["PATCH"])
    """Of the request."""
    path: str = Field(examples=["/api/v1/users/3f2b8c1e-5d7a-4e7b-9c55-0a1d2f3e4b5c"])
    """Of the request."""
    status: int = Field(examples=[200])
    """Of the answer."""
    request: str = Field(examples=["0f1e2d3c4b5a69788796a5b4c3d2e1f0"])
    """The id of the request, as in the logs and in X-Request-Id."""
    detail: dict[str, Any] = Field(examples=[{"role": "operator"}])
    """What more was said of it; no secrets."""


class AuditList(Output):
    """Entries, newest first."""

    items: list[AuditEntry]
    """The page's items."""
    next: str | None = Field(examples=["WyIyMDI2LTExLTI1VDEyOjAwOjAwKzAwOjAwIl0"])
    """The cursor of the next page; null on the last one."""
