"""Takes simulations and bundles out of sight, and afterwards their rows out of the tables, a few at a time; takes users
who were deleted off theirs. The first is called by lifecycle, the others by workers.retention.

What is hidden is used by nobody, and nobody can begin to: who wants to use a bundle holds it still first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Table,
    and_,
    delete,
    func,
    or_,
    select,
    true,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import UUID as UUID_TYPE

from shared.domain.errors import Conflict, IllegalTransition, NotFound
from shared.domain.states import ENDED, LIVE, Kind, State
from shared.persistence.garbage import discard, release
from shared.persistence.models import (
    NOW,
    attempts,
    audit,
    bundle_files,
    bundle_uploads,
    bundles,
    events,
    idempotency_keys,
    jobs,
    simulations,
    templates,
    users,
)
from shared.persistence.queries import IDEMPOTENCY_KEY_LIFE

# As two conditions of their own, each with an index that holds nothing else.
_UNENDED = or_(jobs.c.state == State.QUEUED, jobs.c.state.in_(LIVE))
# Simulations that have not ended, and those of which something is not numbered yet: they may be run again.
_OPEN = union_all(select(simulations.c.id).where(simulations.c.state.not_in(ENDED)),
                  select(events.c.simulation).where(events.c.number.is_(None), events.c.simulation.is_not(None)))
_INPUT = func.jsonb_array_elements_text(simulations.c.program["inputs"]).table_valued("value")
_INPUT_ID = _INPUT.c.value.cast(UUID_TYPE)
_IN_USE = union_all(
    select(jobs.c.bundle).where(jobs.c.bundle.is_not(None), _UNENDED),
    select(_INPUT_ID).select_from(simulations).join(_INPUT, true()).where(simulations.c.id.in_(_OPEN)))
_VERBS = {Kind.INGEST: "is being ingested", Kind.PLAYBACK: "is being played"}
_REMEDIES = {Kind.INGEST: "wait until it has been looked into", Kind.PLAYBACK: "stop the playback first"}


@dataclass(frozen=True)
class Purged:
    """Whose rows are gone: jobs that may have stored something, and uploaded bundles."""

    jobs: Sequence[UUID] = ()
    uploads: Sequence[UUID] = ()


# -- out of sight -------------------------------------------------------------------------------------------------

def shown(table: Table) -> ColumnElement[bool]:
    """Whether the rows of `table`, simulations or bundles, are to be seen: a bundle goes with its simulation."""
    if table is not bundles:
        return table.c.deleted_at.is_(None)
    job, simulation = jobs.alias(), simulations.alias()
    gone = (select(job.c.id).join(simulation, simulation.c.id == job.c.simulation)
            .where(job.c.id == bundles.c.job, simulation.c.deleted_at.is_not(None)))
    return and_(bundles.c.deleted_at.is_(None), ~gone.exists())


def hold_still(tx: Connection, wanted: Iterable[UUID]) -> None:
    """Let none of these bundles be deleted before the transaction, which begins to use or to keep them, ends. NotFound
    when one has been."""
    if not (ids := set(wanted)):
        return
    origins = select(jobs.c.simulation).join(bundles, bundles.c.job == jobs.c.id).where(bundles.c.id.in_(ids))
    tx.execute(select(simulations.c.id).where(simulations.c.id.in_(origins)).order_by(simulations.c.id)
               .with_for_update(read=True, key_share=True))
    # Only a second statement sees what those have committed that were waited for.
    there = tx.execute(select(bundles.c.id).where(bundles.c.id.in_(ids), shown(bundles)).order_by(bundles.c.id)
                       .with_for_update(read=True, key_share=True)).scalars().all()
    if gone := ids - set(there):
        raise NotFound(f"there is no bundle {min(gone)}")


def delete_simulation(tx: Connection, simulation: UUID) -> None:
    """Hide a simulation, every instance of which has ended, and with it the bundles that it recorded. NotFound,
    IllegalTransition, or Conflict naming the bundle that is on hold or in use."""
    this = (simulations.c.id == simulation, shown(simulations))
    if tx.execute(select(simulations.c.id).where(*this).with_for_update()).first() is None:
        raise NotFound(f"there is no simulation {simulation}")
    if tx.execute(select(jobs.c.id).where(jobs.c.simulation == simulation, _UNENDED).limit(1)).first():
        raise IllegalTransition(f"simulation {simulation} has not ended",
                                remedy=f"cancel it with POST /simulations/{simulation}/cancel, or wait for its end")
    below = bundles.c.job.in_(select(jobs.c.id).where(jobs.c.simulation == simulation))
    _refuse_if_needed(tx, below)
    tx.execute(update(simulations).where(*this).values(deleted_at=NOW))


def delete_bundle(tx: Connection, bundle: UUID) -> None:
    """Hide a bundle. NotFound, or Conflict when it is on hold or in use."""
    this = (bundles.c.id == bundle, shown(bundles))
    if tx.execute(select(bundles.c.id).where(*this).with_for_update()).first() is None:
        raise NotFound(f"there is no bundle {bundle}")
    _refuse_if_needed(tx, bundles.c.id == bundle)
    tx.execute(update(bundles).where(*this).values(deleted_at=NOW))


def _refuse_if_needed(tx: Connection, which: ColumnElement[bool]) -> None:
    if held := tx.execute(select(bundles.c.id).where(which, bundles.c.hold, shown(bundles)).limit(1)).scalar():
        raise Conflict(f"bundle {held} is on hold", code="held",
                       remedy=f'release it with PATCH /bundles/{held} {{"hold": false}}')
    user = tx.execute(select(bundles.c.id, jobs.c.id.label("job"), jobs.c.kind)
                      .join(jobs, jobs.c.bundle == bundles.c.id).where(which, _UNENDED).limit(1)).first()
    if user is not None:
        raise Conflict(f"bundle {user.id} {_VERBS[Kind(user.kind)]}, by job {user.job}", code="in_use",
                       remedy=_REMEDIES[Kind(user.kind)])
    user = tx.execute(select(bundles.c.id, simulations.c.id.label("simulation")).select_from(simulations)
                      .join(_INPUT, true()).join(bundles, bundles.c.id == _INPUT_ID)
                      .where(simulations.c.id.in_(_OPEN), which).limit(1)).first()
    if user is not None:
        raise Conflict(f"bundle {user.id} is an input of simulation {user.simulation}", code="in_use",
                       remedy="cancel that simulation, or wait for its end")


# -- out of the tables ----------------------------------------------------------------------------------------------

def hidden_instances(tx: Connection, limit: int) -> Sequence[UUID]:
    """Instances of deleted simulations. Those with an event that has no number yet are left: numbers are dense."""
    fresh = select(events.c.job).where(events.c.number.is_(None), events.c.job.is_not(None))
    played = select(bundles.c.job).join(jobs, jobs.c.bundle == bundles.c.id).where(
        jobs.c.id.in_(fresh), bundles.c.job.is_not(None))
    return tx.execute(
        select(jobs.c.id).join(simulations, simulations.c.id == jobs.c.simulation)
        .where(simulations.c.deleted_at.is_not(None), jobs.c.state.in_(ENDED), jobs.c.id.not_in(fresh),
               jobs.c.id.not_in(played)).limit(limit)).scalars().all()


def purge_instances(tx: Connection, ids: Sequence[UUID]) -> Purged:
    """Delete these instances with attempts, events and bundles. Whatever nothing refers to any more is garbage."""
    locked = tx.execute(select(jobs.c.id).where(jobs.c.id.in_(ids)).order_by(jobs.c.id).with_for_update()
                        ).scalars().all()
    recorded = tx.execute(select(bundles.c.id).where(bundles.c.job.in_(locked))).scalars().all()
    below = _delete_bundles(tx, recorded)
    started = _started(tx, jobs.c.id.in_(locked))
    tx.execute(delete(jobs).where(jobs.c.id.in_(locked)))
    return Purged([*started, *below])


def hidden_bundles(tx: Connection, limit: int) -> Sequence[UUID]:
    """Deleted bundles of which no upload is left to be aborted, and no event to be numbered."""
    fresh = select(jobs.c.bundle).join(events, events.c.job == jobs.c.id).where(
        events.c.number.is_(None), jobs.c.bundle.is_not(None))
    return tx.execute(
        select(bundles.c.id).where(bundles.c.deleted_at.is_not(None), bundles.c.id.not_in(fresh),
                                   bundles.c.id.not_in(select(bundle_uploads.c.bundle)))
        .limit(limit)).scalars().all()


def purge_bundles(tx: Connection, ids: Sequence[UUID]) -> Purged:
    """Delete these bundles with their files, topics, and the jobs that worked on them."""
    uploaded = tx.execute(select(bundles.c.id).where(bundles.c.id.in_(ids), bundles.c.job.is_(None))).scalars().all()
    return Purged(_delete_bundles(tx, ids), uploaded)


def _delete_bundles(tx: Connection, ids: Sequence[UUID]) -> Sequence[UUID]:
    """The jobs that worked on them and may have stored something; they are gone too."""
    tx.execute(select(bundles.c.id).where(bundles.c.id.in_(ids)).order_by(bundles.c.id).with_for_update())
    workers = _started(tx, jobs.c.bundle.in_(ids))
    contents = tx.execute(select(bundle_files.c.key).where(bundle_files.c.bundle.in_(ids)).distinct()).scalars().all()
    indexes = tx.execute(delete(bundles).where(bundles.c.id.in_(ids)).returning(bundles.c.index_key)).scalars()
    discard(tx, [key for key in indexes if key])
    release(tx, contents)
    return workers


def _started(tx: Connection, which: ColumnElement[bool]) -> Sequence[UUID]:
    return tx.execute(select(jobs.c.id).where(which, jobs.c.id.in_(
        select(attempts.c.job).where(attempts.c.gate_passed_at.is_not(None))))).scalars().all()


def purge_simulations(tx: Connection) -> int:
    """Delete the simulations of which nothing else is left; how many."""
    return tx.execute(delete(simulations).where(
        simulations.c.deleted_at.is_not(None),
        ~select(jobs.c.id).where(jobs.c.simulation == simulations.c.id).exists(),
        ~select(events.c.id).where(events.c.simulation == simulations.c.id, events.c.number.is_(None)).exists()
    )).rowcount


# -- users ------------------------------------------------------------------------------------------------------------

def departed(tx: Connection, patience: timedelta) -> Sequence[UUID]:
    """Users that were deleted so long ago."""
    return tx.execute(select(users.c.id).where(users.c.deleted_at < NOW - patience)).scalars().all()


def disown(tx: Connection, user: UUID, limit: int) -> int:
    """Take the user off so many of his rows; how many there were. Locks them by id."""
    for table in (simulations, jobs, bundles, templates):  # what an instance records is its simulation's owner's
        # As a range and ordered, so that they come out of the index, wherever in the table they lie.
        some = (select(table.c.id).where(table.c.owner.between(user, user)).order_by(table.c.owner).limit(limit)
                .cte("some").prefix_with("MATERIALIZED"))
        held = (select(table.c.id).where(table.c.id.in_(select(some.c.id))).order_by(table.c.id)
                .with_for_update(key_share=True))
        if done := tx.execute(update(table).where(table.c.id.in_(held)).values(owner=None)).rowcount:
            return done
    return 0


def purge_user(tx: Connection, user: UUID) -> None:
    """Delete the row of a user who owns nothing any more, with his tokens."""
    tx.execute(delete(users).where(users.c.id == user))


# -- what has been kept for long enough -------------------------------------------------------------------------------

def _over(since: ColumnElement[datetime], days: ColumnElement[int]) -> ColumnElement[bool]:
    return since < NOW - func.make_interval(0, 0, 0, days)


def due_simulations(tx: Connection, limit: int) -> Sequence[Row[Any]]:
    """Ended simulations whose keep_days are over and below which no bundle is on hold or in use: id, name, total,
    keep_days, updated_at."""
    held = (select(bundles.c.id).join(jobs, jobs.c.id == bundles.c.job)
            .where(jobs.c.simulation == simulations.c.id, bundles.c.hold, bundles.c.deleted_at.is_(None)).exists())
    used = (select(jobs.c.simulation).join(bundles, bundles.c.job == jobs.c.id)
            .where(bundles.c.id.in_(_IN_USE), jobs.c.simulation.is_not(None)))
    return tx.execute(
        select(simulations.c.id, simulations.c.name, simulations.c.total, simulations.c.keep_days,
               simulations.c.updated_at)
        .where(simulations.c.keep_days.is_not(None), shown(simulations),
               simulations.c.state.in_(ENDED), _over(simulations.c.updated_at, simulations.c.keep_days), ~held,
               simulations.c.id.not_in(used))
        .order_by(simulations.c.updated_at).limit(limit)).all()


def weight(tx: Connection, simulation: UUID) -> Row[Any]:
    """How many bundles a simulation has recorded that are still there, and their bytes: (count, size)."""
    return tx.execute(select(func.count().label("bundles"), func.coalesce(func.sum(bundles.c.size), 0).label("size"))
                      .join(jobs, jobs.c.id == bundles.c.job)
                      .where(jobs.c.simulation == simulation, shown(bundles))).one()


def due_bundles(tx: Connection, limit: int) -> Sequence[Row[Any]]:
    """Bundles whose keep_days are over, neither on hold nor in use: id, name, size, keep_days, created_at."""
    return tx.execute(
        select(bundles.c.id, bundles.c.name, bundles.c.size, bundles.c.keep_days, bundles.c.created_at)
        .where(bundles.c.keep_days.is_not(None), shown(bundles), ~bundles.c.hold,
               _over(bundles.c.created_at, bundles.c.keep_days), bundles.c.id.not_in(_IN_USE))
        .order_by(bundles.c.created_at).limit(limit)).all()


def _expired(audit_days: int) -> dict[str, tuple[Table, ColumnElement[bool]]]:
    return {"answers to an Idempotency-Key": (
                idempotency_keys, idempotency_keys.c.created_at < NOW - IDEMPOTENCY_KEY_LIFE),
            "audit": (audit, audit.c.at < NOW - timedelta(days=audit_days))}


def count_expired(tx: Connection, audit_days: int) -> dict[str, int]:
    """How many rows are too old: answers that were kept for an Idempotency-Key, and audit."""
    return {name: tx.execute(select(func.count()).select_from(table).where(old)).scalar_one()
            for name, (table, old) in _expired(audit_days).items()}


def delete_expired(tx: Connection, audit_days: int, limit: int) -> dict[str, int]:
    """Delete so many of each; how many there were."""
    done = {}
    for name, (table, old) in _expired(audit_days).items():
        key = tuple_(*table.primary_key.columns)
        some = select(*table.primary_key.columns).where(old).limit(limit)
        done[name] = tx.execute(delete(table).where(key.in_(some))).rowcount
    return done
