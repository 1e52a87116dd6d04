"""Where a simulation stands among all that wait, and what holds it: admission's rules, told in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from shared.domain.events import rfc3339
from shared.domain.states import LIVE

# From the counts of simulations that have not ended: as of the last numbered event.
_QUEUED = "coalesce((s.counts->>'QUEUED')::int, 0)"
_RUNNING = " + ".join(f"coalesce((s.counts->>'{state}')::int, 0)" for state in sorted(LIVE))
_UNENDED = "s.state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED')"

_SHARES = text(f"""
    SELECT s.owner, s.priority, sum({_QUEUED})::int AS queued, sum({_RUNNING})::int AS running,
           coalesce(sum({_QUEUED}) FILTER (WHERE (s.created_at, s.id) < (:created_at, :simulation)), 0)::int AS older,
           coalesce(u.max_running, :most) AS most
    FROM simulations s LEFT JOIN users u ON u.id = s.owner
    WHERE {_UNENDED} GROUP BY s.owner, s.priority, u.max_running
""")  # noqa: S608 - of constants alone
_MINE = text(f"""
    SELECT s.owner, s.priority, s.created_at, s.max_parallel, s.stop_requested, {_QUEUED} AS queued,
           {_RUNNING} AS running, installation.paused, installation.admission_open,
           (SELECT CASE WHEN bool_and(not_before > clock_timestamp()) THEN min(not_before) END FROM jobs
            WHERE simulation = s.id AND state = 'QUEUED') AS not_before
    FROM simulations s CROSS JOIN installation WHERE s.id = :simulation
""")  # noqa: S608 - of constants alone


@dataclass
class Owner:
    """What an owner has, as seen by somebody of one priority."""

    most: int | None
    running: int = 0
    above: int = 0  # those that wait with a higher priority
    queued: int = 0  # those that wait with that very priority
    older: int = 0  # of these the ones that were submitted before what is asked for

    def room(self, wanted: int) -> int:
        """How many of `wanted` more its limit allows."""
        return max(0, wanted if self.most is None else min(wanted, self.most - self.running))

    def take_place(self) -> int:
        """Let those above run; how many that are."""
        started = self.room(self.above)
        self.running += started
        return started


def read(tx: Connection, simulation: UUID, slots: int, most: int | None, viewer: UUID) -> dict[str, Any]:
    """The contract's queue of a simulation; the transaction must be a snapshot. `slots`: places for instances; `most`:
    running ones of an owner without a limit of his own."""
    mine = tx.execute(_MINE, {"simulation": simulation}).one()
    this = {"simulation": simulation, "created_at": mine.created_at}
    shares = tx.execute(_SHARES, this | {"most": most}).all()
    return {
        "id": str(simulation), "queued": mine.queued, "running": mine.running,
        "position": position(shares, mine) if mine.queued else None,
        "held_by": holds(shares, mine, slots, viewer) if mine.queued else [],
        "slots": {"used": sum(share.running for share in shares), "total": slots},
    }


def position(shares: Sequence[Any], mine: Any) -> int:
    """How many of those that wait start before the first of `mine`, and that one: by priority, then the owner with the
    fewest running, then age, as admission chooses; were nothing to end or come. Owners at their limit stand aside;
    the max_parallel of others is not looked at."""
    owners = _owners(shares, mine.priority)
    ahead = sum(owner.take_place() for owner in owners.values())
    own = owners.pop(mine.owner)
    level = own.running + own.older  # how many its owner will have running when its turn comes
    for owner in owners.values():
        fewer = level - owner.running
        ahead += min(owner.queued, owner.room(fewer + (owner.older > fewer)))  # as many, and the next one is older
    return int(ahead + own.older) + 1


def _owners(shares: Sequence[Any], priority: int) -> dict[UUID | None, Owner]:
    found: dict[UUID | None, Owner] = {}
    for share in shares:
        owner = found.setdefault(share.owner, Owner(share.most))
        owner.running += share.running
        if share.priority > priority:
            owner.above += share.queued
        if share.priority == priority:
            owner.queued, owner.older = share.queued, share.older
    return found


def holds(shares: Sequence[Any], mine: Any, slots: int, viewer: UUID) -> list[str]:
    """What keeps the next instance of `mine` waiting, in words."""
    used = sum(share.running for share in shares)
    own = [share for share in shares if share.owner == mine.owner]
    running, most = sum(share.running for share in own), own[0].most if own else None
    whose = "your" if mine.owner == viewer else "its owner's"
    reasons = [
        (mine.paused, "paused by operator"),
        (not mine.admission_open, "the service is being stopped"),
        (mine.stop_requested, "it is being cancelled"),
        (mine.max_parallel is not None and mine.running >= mine.max_parallel,
         f"its max_parallel: {mine.running} of {mine.max_parallel} running"),
        (most is not None and running >= most, f"{whose} limit: {running} of {most} running"),
        (used >= slots, f"cluster full: {used} of {slots} slots taken"),
        (mine.not_before is not None, mine.not_before and f"tried again at {rfc3339(mine.not_before)}"),
    ]
    return [words for holds, words in reasons if holds]
