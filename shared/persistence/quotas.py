"""What one user may use of a deployment: instances at once, instances waiting, bytes stored. Called by lifecycle in the
transaction that would use more, by admission for what runs, and by web to say how much is in use."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, func, select

from shared.domain.errors import FieldError, QuotaExceeded
from shared.domain.states import Kind, State
from shared.persistence.models import bundles, jobs, simulations, users


@dataclass(frozen=True)
class Limits:
    """The most of each; None is no limit. The operator's are those of users who have none of their own."""

    running: int | None = None
    queued: int | None = None
    stored_bytes: int | None = None


NO_LIMITS = Limits()


@dataclass(frozen=True)
class Fault:
    """What there would be too much of; `passes` whether it may fit later."""

    field: str
    message: str
    passes: bool = True


def limits_of(tx: Connection, user: UUID, defaults: Limits) -> Limits:
    """The user's own limits where he has some."""
    own = tx.execute(select(users.c.max_running, users.c.max_queued, users.c.max_stored_bytes)
                     .where(users.c.id == user)).first() or (None, None, None)
    return Limits(*(default if mine is None else mine for mine, default in zip(
        own, (defaults.running, defaults.queued, defaults.stored_bytes), strict=True)))


def queued(tx: Connection, user: UUID) -> int:
    """How many instances of the user wait."""
    return tx.execute(select(func.count()).select_from(jobs).where(
        jobs.c.owner == user, jobs.c.kind == Kind.INSTANCE, jobs.c.state == State.QUEUED)).scalar_one()


def stored_bytes(tx: Connection, user: UUID) -> int:
    """The size of all bundles of the user, with what is announced of uploads."""
    # Summed out of an index alone, less what goes with deleted simulations: that is never there for long.
    own = select(func.coalesce(func.sum(bundles.c.size), 0)).where(
        bundles.c.owner == user, bundles.c.deleted_at.is_(None))
    hidden = (own.join(jobs, jobs.c.id == bundles.c.job).join(simulations, simulations.c.id == jobs.c.simulation)
              .where(simulations.c.deleted_at.is_not(None)))
    return int(tx.execute(select(own.scalar_subquery() - hidden.scalar_subquery())).scalar_one())


def faults(tx: Connection, user: UUID, defaults: Limits, *, more_queued: int = 0,
           more_bytes: int = 0) -> list[Fault]:
    """What the user would have too much of, with the number in use and the limit."""
    limits = limits_of(tx, user, defaults)
    found = []
    if more_queued and limits.queued is not None:
        used = queued(tx, user)
        if more_queued > limits.queued:
            found.append(Fault("quota.queued", f"{more_queued} instances are more than the {limits.queued} that may "
                                               "wait at once", passes=False))
        elif used + more_queued > limits.queued:
            found.append(Fault("quota.queued", f"{used} of {limits.queued} instances wait already, "
                                               f"and these would be {more_queued} more"))
    if limits.stored_bytes is not None:
        used = stored_bytes(tx, user)
        if more_bytes > limits.stored_bytes:
            found.append(Fault("quota.stored_bytes", f"{more_bytes} bytes are more than the {limits.stored_bytes} that "
                                                     "may be stored", passes=False))
        elif used + max(1, more_bytes) > limits.stored_bytes:  # who submits will store something
            found.append(Fault("quota.stored_bytes", f"{used} of {limits.stored_bytes} bytes are stored already"
                               + (f", and these would be {more_bytes} more" if more_bytes else "")))
    return found


def check(tx: Connection, user: UUID, defaults: Limits, *, more_queued: int = 0, more_bytes: int = 0) -> None:
    """QuotaExceeded when the user would have too much. What one user that has a limit asks for is taken one by one, so
    that many requests at once do not get past it together."""
    if limits_of(tx, user, defaults) == NO_LIMITS:
        return
    tx.execute(select(users.c.id).where(users.c.id == user).with_for_update(key_share=True))
    if found := faults(tx, user, defaults, more_queued=more_queued, more_bytes=more_bytes):
        raise exceeded(found)


def exceeded(found: Sequence[Fault]) -> QuotaExceeded:
    """The refusal for these faults."""
    passes = all(each.passes for each in found)
    return QuotaExceeded("; ".join(each.message for each in found), passes=passes,
                         errors=[FieldError(each.field, each.message) for each in found],
                         remedy="wait until some have started, delete what is not needed, or ask an admin for more"
                         if passes else "split it, or ask an admin for a higher limit: it will never fit as it is")
