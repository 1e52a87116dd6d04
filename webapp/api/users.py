"""/users and /audit: who has access, with which role and limits, and what was done. For admins."""

from types import SimpleNamespace
from uuid import UUID, uuid4

from flask import Response

from shared.domain.errors import Conflict, FieldError, NotFound
from shared.persistence.queries import claim_answer
from webapp import audit, writes
from webapp.api.headers import once
from webapp.api.resource import PROBLEM, Resource, answer
from webapp.api.schemas.base import Id
from webapp.api.schemas.users import AuditList, AuditQuery, NewUser, User, UserChanges, UserList, UserQuery
from webapp.auth.passwords import hash_password
from webapp.auth.permissions import caller, needs
from webapp.idempotency import Answer, Key, key_of_request, replayed
from webapp.parts import parts
from webapp.queries import audit as trail
from webapp.queries import users as queries

api = Resource("users", "Who has access; for admins")


@api.get("/users", responses={200: UserList})
@needs("admin")
def list_users(query: UserQuery) -> Response:
    """Users, newest first."""
    with parts().connections.database.single() as tx:
        items, following = queries.page(tx, query.role, query.email, query.page())
    return answer({"items": items, "next": following})


@api.post("/users", responses={201: once(User), 409: PROBLEM})
@needs("admin")
def create_user(body: NewUser) -> Response:
    """Give somebody access."""
    audit.note(email=body.email, role=body.role)
    key = key_of_request(parts().settings, caller().id, body)
    status, made = (key and key.known(parts().connections.database)) or _make(body, key)
    return answer(made, status, {"Location": f"{parts().settings.api_str}/users/{made['id']}"})


def _make(body: NewUser, key: Key | None) -> Answer:
    password_hash = hash_password(body.password)
    with parts().connections.database.transaction() as tx:
        stated = body.model_dump(exclude={"password"}) | {"created_at": writes.now(tx)}
        user = uuid4()
        made = queries.resource(SimpleNamespace(id=user, disabled=False, **stated))
        if key and (known := claim_answer(tx, key.answering(201, made))):
            return replayed(known)
        if not writes.add_user(tx, user, password_hash=password_hash, **stated):
            raise Conflict(f"there is a user with the address {body.email} already", code="name_taken",
                           errors=[FieldError("email", "is taken")], remedy="PATCH that user, or take another address")
    return 201, made


@api.get("/users/<uuid:id>", responses={200: User, 404: PROBLEM})
@needs("admin")
def show_user(path: Id) -> Response:
    """One user."""
    with parts().connections.database.single() as tx:
        row = queries.by_id(tx, path.id)
    if row is None:
        raise _no_user(path.id)
    return answer(queries.resource(row))


@api.patch("/users/<uuid:id>", responses={200: User, 404: PROBLEM, 409: PROBLEM})
@needs("admin")
def change_user(path: Id, body: UserChanges) -> Response:
    """Change role, password, limits or access. Another password, or none any more, ends all logins of the user."""
    changes = body.model_dump(include=body.model_fields_set)
    audit.note(**{name: value for name, value in changes.items() if name != "password"},
               **({"password": "changed"} if "password" in changes else {}))
    end_logins = "password" in changes or changes.get("disabled", False)
    if "password" in changes:
        changes["password_hash"] = hash_password(changes.pop("password"))
    with parts().connections.database.transaction() as tx:
        if changes.get("disabled") or changes.get("role", "admin") != "admin":
            writes.leave_an_admin(tx, path.id)
        row = writes.change_user(tx, path.id, changes, end_logins=end_logins) if changes else queries.by_id(tx, path.id)
    parts().accounts.forget(path.id)
    if row is None:
        raise _no_user(path.id)
    return answer(queries.resource(row))


@api.delete("/users/<uuid:id>", responses={204: None, 404: PROBLEM, 409: PROBLEM})
@needs("admin")
def delete_user(path: Id) -> Response:
    """Take the access away for good, and free the address. What the user made stays, and within minutes is owned by
    nobody: admins may act on it."""
    with parts().connections.database.transaction() as tx:
        writes.leave_an_admin(tx, path.id)
        gone = writes.delete_user(tx, path.id)
    parts().accounts.forget(path.id)
    if not gone:
        raise _no_user(path.id)
    return Response(status=204)


@api.get("/audit", responses={200: AuditList})
@needs("admin")
def list_audit(query: AuditQuery) -> Response:
    """What users did, or tried and were not let; newest first."""
    with parts().connections.database.single() as tx:
        items, following = trail.page(tx, query.user, query.path, query.page())
    return answer({"items": items, "next": following})


def _no_user(user: UUID) -> NotFound:
    return NotFound(f"there is no user {user}")
