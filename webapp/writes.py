"""The small writes that are no states: users and their tokens, the audit trail, templates, bundles, and what recorders
report. Called by views, install, templates, audit, progress and internal, each inside a transaction of its own."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from shared.domain.errors import Conflict
from shared.domain.states import LIVE
from shared.persistence.deletion import hold_still
from shared.persistence.models import NOW, api_tokens, attempts, bundles, jobs, template_versions, templates, users


def now(tx: Connection) -> datetime:
    """The database's time, the only one that is written down."""
    at: datetime = tx.execute(select(NOW)).scalar_one()
    return at


# -- users --------------------------------------------------------------------------------------------------------

def add_user(tx: Connection, user: UUID, email: str, password_hash: str, role: str, **values: Any) -> bool:
    """Make the user; False when there is one of that address already."""
    return tx.execute(upsert(users).values(id=user, email=email, password_hash=password_hash, role=role, **values)
                      .on_conflict_do_nothing()).rowcount == 1


def change_user(tx: Connection, user: UUID, changes: dict[str, Any], *, end_logins: bool) -> Row[Any] | None:
    """Change these columns; None when there is no such user. With `end_logins` every login of before is void."""
    values = changes | ({"session_version": users.c.session_version + 1} if end_logins else {})
    return tx.execute(update(users).where(users.c.id == user, users.c.deleted_at.is_(None))
                      .values(values).returning(users)).first()


def delete_user(tx: Connection, user: UUID) -> bool:
    """Take the user out of sight, his logins and his address with him; workers.retention takes him off what he owns.
    False when there is none."""
    return change_user(tx, user, {"disabled": True, "deleted_at": NOW}, end_logins=True) is not None


def leave_an_admin(tx: Connection, user: UUID) -> None:
    """Conflict when the user is the only admin who is not disabled: nobody would be left who could undo his going."""
    admins = tx.execute(select(users.c.id).where(users.c.role == "admin", ~users.c.disabled)
                        .order_by(users.c.id).with_for_update(key_share=True)).scalars().all()
    if admins == [user]:
        raise Conflict("this is the only admin", code="last_admin", remedy="make another user an admin first")


# -- API tokens ---------------------------------------------------------------------------------------------------

def add_token(tx: Connection, owner: UUID, digest: str, **values: Any) -> None:
    """Make the API token of these columns."""
    tx.execute(insert(api_tokens).values(owner=owner, digest=digest, **values))


def use_token(tx: Connection, digest: str) -> Row[Any] | None:
    """Write down that the token was used; None when there is none that has not expired."""
    return tx.execute(update(api_tokens).where(
        api_tokens.c.digest == digest, func.coalesce(api_tokens.c.expires_at > NOW, True))
        .values(last_used_at=NOW).returning(api_tokens)).first()


def delete_token(tx: Connection, owner: UUID, token: UUID) -> bool:
    """Delete the user's token; False when he has no such one."""
    return tx.execute(delete(api_tokens).where(api_tokens.c.id == token, api_tokens.c.owner == owner)).rowcount == 1


# -- audit --------------------------------------------------------------------------------------------------------

def add_audit(tx: Connection, entry: dict[str, Any]) -> None:
    """Add an entry to the trail. It does not wait for the disk: what it tells of did."""
    tx.execute(_ADD_AUDIT, entry | {"detail": json.dumps(entry["detail"])})


# Sent as one, so that the setting holds for this statement alone.
_ADD_AUDIT = text("""
    SET LOCAL synchronous_commit TO off;
    INSERT INTO audit ("user", email, token, address, method, path, status, request, detail)
    VALUES (:user, :email, :token, :address, :method, :path, :status, :request, CAST(:detail AS jsonb))""")


# -- templates ----------------------------------------------------------------------------------------------------

def add_template(tx: Connection, owner: UUID | None, spec: dict[str, Any], images: Mapping[str, Any],
                 at: datetime) -> bool:
    """Make the template with version 1; False when the name is taken. `images`: what they are, as each
    is stated."""
    template = uuid4()
    made = tx.execute(upsert(templates).values(id=template, name=spec["name"], owner=owner, created_at=at)
                      .on_conflict_do_nothing()).rowcount == 1
    if made:
        tx.execute(insert(template_versions).values(template=template, version=1, spec=spec, images=images,
                                                     created_at=at))
    return made


def add_version(tx: Connection, name: str, spec: dict[str, Any], images: Mapping[str, Any]) -> int | None:
    """Give the template another version unless its newest is the same; the new number. Locks the template."""
    template = tx.execute(select(templates.c.id).where(templates.c.name == name).with_for_update()).scalar_one()
    newest = tx.execute(select(template_versions)
                        .where(template_versions.c.template == template)
                        .order_by(template_versions.c.version.desc()).limit(1)).one()
    if (newest.spec, newest.images) == (spec, images):
        return None
    tx.execute(insert(template_versions).values(template=template, version=newest.version + 1, spec=spec,
                                                 images=images))
    return int(newest.version) + 1


def set_archived(tx: Connection, name: str, *, archived: bool) -> None:
    """Put the template into the archive, or take it out; what is there already stays as it is."""
    there = templates.c.archived_at.is_not(None)
    tx.execute(update(templates).where(templates.c.name == name, ~there if archived else there)
               .values(archived_at=NOW if archived else None))


# -- bundles --------------------------------------------------------------------------------------------------------

def change_bundle(tx: Connection, bundle: UUID, values: dict[str, Any]) -> None:
    """Change labels, hold or keep_days of a bundle. NotFound when it is deleted meanwhile."""
    hold_still(tx, [bundle])
    tx.execute(update(bundles).where(bundles.c.id == bundle).values(values))


# -- what recorders report ------------------------------------------------------------------------------------------

def append_log(tx: Connection, job: UUID, attempt: int, *, offset: int, skipped: int, chunk: bytes,
               window: int) -> int:
    """Add `chunk` (UTF-8) to the attempt's log if it goes on where the log ends, and keep the last `window` bytes;
    nothing of before when bytes were skipped.

    Returns where the log ends now: another place than the caller thinks, when the chunk was not taken."""
    this = (attempts.c.job == job, attempts.c.number == attempt)
    row = tx.execute(select(attempts.c.log_tail, attempts.c.log_end).where(*this).with_for_update()).one()
    end = int(row.log_end)
    if offset != end or not chunk:
        return end
    before = b"" if skipped else row.log_tail.encode()
    tail = (before + chunk)[-window:].decode(errors="ignore")
    tx.execute(update(attempts).where(*this).values(log_tail=tail, log_end=end + skipped + len(chunk)))
    return end + skipped + len(chunk)


def set_log_key(tx: Connection, job: UUID, attempt: int, key: str) -> None:
    """The whole log lies in object storage."""
    tx.execute(update(attempts).where(attempts.c.job == job, attempts.c.number == attempt).values(log_key=key))


def set_facts(tx: Connection, job: UUID, attempt: int, facts: str) -> None:
    """Keep what the recorder found, a JSON text that has been parsed strictly."""
    tx.execute(text("UPDATE attempts SET facts = CAST(:facts AS jsonb) WHERE job = :job AND number = :attempt"),
               {"facts": facts, "job": job, "attempt": attempt})


def set_address(tx: Connection, job: UUID, attempt: int, address: dict[str, Any]) -> None:
    """Keep where the attempt's player listens."""
    tx.execute(update(attempts).where(attempts.c.job == job, attempts.c.number == attempt).values(address=address))


def set_progress(tx: Connection, latest: Iterable[tuple[UUID, int, dict[str, Any]]]) -> None:
    """The last (job, attempt, progress) of each; those whose attempt is over are left alone. Locks jobs by id."""
    statement = (update(jobs)
                 .where(jobs.c.id == bindparam("row"), jobs.c.attempt == bindparam("n"),
                        or_(*(jobs.c.state == state for state in sorted(LIVE))))  # no IN (...): many rows at once
                 .values({"progress": bindparam("latest", type_=JSONB), "progress_at": NOW}))
    rows = [{"row": job, "n": attempt, "latest": progress} for job, attempt, progress in latest]
    tx.execute(statement, sorted(rows, key=lambda row: str(row["row"])))
