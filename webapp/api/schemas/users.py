"""Users as admins see them, and the audit trail."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from webapp.api.schemas.base import Input, Output, PageQuery

Role = Literal["viewer", "operator", "admin"]
Email = Annotated[str, StringConstraints(min_length=3, max_length=254, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$",
                                         to_lower=True)]
Password = Annotated[str, StringConstraints(min_length=8, max_length=1024)]
Limit = Annotated[int, Field(ge=0, lt=2**31)] | None
Bytes = Annotated[int, Field(ge=0, lt=2**53)] | None


class NewUser(Input):
    """Somebody who is to have access."""

    email: Email
    password: Password
    role: Role = "viewer"
    max_running: Limit = None
    max_queued: Limit = None
    max_stored_bytes: Bytes = None


class UserChanges(Input):
    """What is to be different; what is not stated stays."""

    role: Role = "viewer"
    password: Password = ""
    disabled: bool = False
    max_running: Limit = None
    max_queued: Limit = None
    max_stored_bytes: Bytes = None


class User(Output):
    """Somebody with access."""

    id: UUID
    email: str
    role: Role
    disabled: bool
    max_running: int | None
    max_queued: int | None
    max_stored_bytes: int | None
    created_at: AwareDatetime


class UserQuery(PageQuery):
    """Which users."""

    role: Role | None = None
    email: Annotated[str, StringConstraints(max_length=254)] | None = Field(None, description="a part of the address")


class UserList(Output):
    """Users, newest first."""

    items: list[User]
    next: str | None


class AuditQuery(PageQuery):
    """Which entries."""

    user: UUID | None = None
    path: Annotated[str, StringConstraints(max_length=500)] | None = Field(None, description="what paths begin with")


class AuditEntry(Output):
    """What somebody did, or tried and was not let."""

    number: int
    at: AwareDatetime
    user: UUID | None
    email: str | None
    token: UUID | None
    address: str | None
    method: str
    path: str
    status: int
    request: str
    detail: dict[str, Any]


class AuditList(Output):
    """Entries, newest first."""

    items: list[AuditEntry]
    next: str | None
