"""Numbers committed events and derives simulations from them. Called after every commit that wrote an event, and by the
sweep, which heals what a crash left unnumbered. The only writer of a simulation's state and counts."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, func, insert, or_, select, text, update

from shared.domain.events import Event
from shared.domain.states import ENDED, State, derive
from shared.persistence.database import Database
from shared.persistence.models import NOW, events, installation, simulations

NUMBERING_LOCK = 0x51_4D_59_01
WAITING_LOCK = 0x51_4D_59_04
BATCH = 2000

# Locking first and numbering in a second statement matters: only a statement begun after the lock was had sees
# everything that the previous holder numbered.
_NUMBER = text("""
    WITH fresh AS (SELECT id, row_number() OVER (ORDER BY id) AS place FROM events
                   WHERE number IS NULL ORDER BY id LIMIT :batch),
         counter AS (UPDATE installation SET last_event = last_event + (SELECT count(*) FROM fresh)
                     WHERE EXISTS (SELECT FROM fresh) RETURNING last_event - (SELECT count(*) FROM fresh) AS base)
    UPDATE events SET number = counter.base + fresh.place FROM fresh, counter WHERE events.id = fresh.id
    RETURNING events.number, events.simulation, events.job, events.kind, events.from_state, events.to_state,
              events.reason, events.at, events.attempt, events.passed
""")


_TOUCHED = (
    select(simulations.c.id, simulations.c.counts, simulations.c.verdicts, simulations.c.state,
           simulations.c.stop_requested, simulations.c.owner)
    .where(or_(simulations.c.id.in_(bindparam("ids", expanding=True)), simulations.c.stale))
    .order_by(simulations.c.id).with_for_update(key_share=True))
_DERIVED = (
    update(simulations).where(simulations.c.id == bindparam("row"))
    .values(counts=bindparam("counts"), verdicts=bindparam("verdicts"), state=bindparam("state"), stale=False,
            updated_at=NOW))


def number_events(database: Database) -> list[Event]:
    """Give every committed event its number, dense and in commit order, and bring the simulations up to date.

    Returns what this call numbered, in order; whoever numbers an event publishes it. Returns nothing when somebody
    waits to number already: he begins after now, and so numbers ours too.
    """
    numbered: list[Event] = []
    while True:
        with database.transaction() as tx:
            if not _take_turn(tx):
                return numbered
            rows = sorted(tx.execute(_NUMBER, {"batch": BATCH}).all(), key=lambda row: row.number)
            batch = [_event(row) for row in rows] + _derive_simulations(tx, rows)
        numbered += batch
        if len(rows) < BATCH:
            return numbered


def _take_turn(tx: Connection) -> bool:
    """Wait for the numbering lock, unless somebody waits already. The place of the one who waits is a session's lock,
    given up before numbering begins; a connection on which that fails is thrown away, and the lock with it."""
    if not tx.execute(select(func.pg_try_advisory_lock(WAITING_LOCK))).scalar_one():
        return False
    try:
        tx.execute(select(func.pg_advisory_xact_lock(NUMBERING_LOCK)))
        tx.execute(select(func.pg_advisory_unlock(WAITING_LOCK)))
    except BaseException:  # whatever it is: the pool must not lend a connection that has the lock
        tx.invalidate()
        raise
    return True


def _event(row: Row[Any]) -> Event:
    return Event(number=row.number, simulation=row.simulation, job=row.job, kind=row.kind, state=State(row.to_state),
                 reason=row.reason, at=row.at, attempt=row.attempt)


def _derive_simulations(tx: Connection, rows: Sequence[Row[Any]]) -> list[Event]:
    """Apply the numbered moves to the counts; a simulation whose state changes by it gets an event of its own."""
    moves: dict[UUID, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        if row.job is not None and row.simulation is not None:
            moves[row.simulation].append(row)
    touched = tx.execute(_TOUCHED, {"ids": list(moves)}).all()
    if not touched:
        return []
    changes, updates = [], []
    for simulation in touched:
        counts, verdicts = _tally(simulation, moves[simulation.id])
        state = derive(counts, simulation.stop_requested)
        updates.append({"row": simulation.id, "counts": counts, "verdicts": verdicts, "state": str(state)})
        if state != simulation.state:
            changes.append({"simulation": simulation.id, "kind": "simulation", "owner": simulation.owner,
                            "actor": "system", "from_state": simulation.state, "to_state": str(state)})
    tx.execute(_DERIVED, updates)
    return _insert_numbered(tx, changes)


def _tally(simulation: Row[Any], moves: Sequence[Row[Any]]) -> tuple[dict[str, int], dict[str, int]]:
    counts, verdicts = Counter(simulation.counts), Counter(simulation.verdicts)
    for move in moves:
        counts[move.from_state] -= 1
        counts[move.to_state] += 1
        change = (move.to_state in ENDED) - (move.from_state in ENDED)  # neither, when an attempt is tried again
        if move.passed is not None and change:
            verdicts["none"] -= change
            verdicts["passed" if move.passed else "not_passed"] += change
    return dict(counts), dict(verdicts)


def _insert_numbered(tx: Connection, changes: list[dict[str, Any]]) -> list[Event]:
    if not changes:
        return []
    last = tx.execute(
        update(installation).values(last_event=installation.c.last_event + len(changes))
        .returning(installation.c.last_event)
    ).scalar_one()
    first = last - len(changes) + 1
    rows = tx.execute(
        insert(events).returning(events.c.number, events.c.simulation, events.c.job, events.c.kind,
                                 events.c.to_state, events.c.reason, events.c.at, events.c.attempt),
        [change | {"number": first + place} for place, change in enumerate(changes)],
    ).all()
    return [_event(row) for row in sorted(rows, key=lambda row: row.number)]
