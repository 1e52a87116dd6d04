"""Chooses which queued jobs get the free slots. Called by lifecycle.admit, inside its transaction."""

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text, update

from shared.domain.states import Kind
from shared.persistence.models import installation

ADMISSION_LOCK = 0x51_4D_59_02

# One row at least, so that it also says whether admission is open.
_LIVE = text("""
    SELECT installation.admission_open AND NOT installation.paused AS is_open, live.*,
           EXISTS (SELECT FROM jobs WHERE state = 'QUEUED' AND simulation IS NULL) AS others_wait
    FROM installation LEFT JOIN (
        SELECT s.owner, j.simulation, s.max_parallel, coalesce(u.max_running, :most) AS most, count(*) AS jobs
        FROM jobs j JOIN simulations s ON s.id = j.simulation LEFT JOIN users u ON u.id = s.owner
        WHERE j.state IN ('STARTING', 'RUNNING', 'STOPPING', 'COLLECTING')
        GROUP BY s.owner, j.simulation, s.max_parallel, u.max_running) live ON true
""")

# Two statements sent as one, each with a snapshot of its own: what is live is counted after the lock was had.
_LOCKED_LIVE = text(f"SELECT pg_advisory_xact_lock(:lock); {_LIVE.text}")

# Of each owner the oldest simulations of the highest priority that have something to start, no more than there are
# slots: however many wait, no others can be chosen. Then their oldest jobs. Owners are found by skipping through an
# index from one to the next, so that what one admission costs does not grow with what waits. (EXISTS in place of the
# ordered subquery tempts the planner to read all jobs.)
_OPEN = "s.state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED') AND NOT s.stop_requested"
_DUE = "state = 'QUEUED' AND (not_before IS NULL OR not_before <= clock_timestamp())"
_OLDEST = f"""
    SELECT s.id, s.owner, s.priority, s.max_parallel, s.created_at FROM simulations s
    WHERE {_OPEN} AND s.id <> ALL (CAST(:full AS uuid[])) AND s.owner {{of}}
          AND (SELECT index FROM jobs WHERE simulation = s.id AND {_DUE} ORDER BY index LIMIT 1) IS NOT NULL
    ORDER BY s.priority DESC, s.created_at, s.id LIMIT :free"""  # noqa: S608 - of constants alone
_CANDIDATES = text(f"""
    WITH RECURSIVE owners AS (
        (SELECT s.owner FROM simulations s WHERE {_OPEN} AND s.owner IS NOT NULL ORDER BY s.owner LIMIT 1)
        UNION ALL
        SELECT (SELECT s.owner FROM simulations s WHERE {_OPEN} AND s.owner > owners.owner ORDER BY s.owner LIMIT 1)
        FROM owners WHERE owners.owner IS NOT NULL),
    waiting AS (
        SELECT oldest.*, coalesce(u.max_running, :most) AS most
        FROM owners JOIN users u ON u.id = owners.owner
        CROSS JOIN LATERAL ({_OLDEST.format(of="= owners.owner")}) oldest
        WHERE owners.owner <> ALL (CAST(:sated AS uuid[])) AND coalesce(u.max_running, :most, 1) > 0
        UNION ALL
        SELECT nobodys.*, CAST(:most AS integer) FROM ({_OLDEST.format(of="IS NULL")}) nobodys
        WHERE NOT :nobody_sated)
    SELECT s.id AS simulation, s.owner, s.priority, s.max_parallel, s.most, j.id
    FROM waiting s CROSS JOIN LATERAL (
        SELECT id, index FROM jobs WHERE simulation = s.id AND {_DUE} ORDER BY index LIMIT :free) j
    ORDER BY s.created_at, s.id, j.index
""")  # noqa: S608 - of constants alone

# What somebody else is about to move is left out, never waited for.
_TAKE = text("SELECT id FROM jobs WHERE id = ANY (CAST(:ids AS uuid[])) AND state = 'QUEUED' "
             "ORDER BY id FOR NO KEY UPDATE SKIP LOCKED")


# Of those that have no simulation, the oldest of the owner with the fewest live.
_OTHERS = text("""
    WITH live AS (SELECT owner, count(*) AS jobs FROM jobs
                  WHERE kind = :kind AND state IN ('STARTING', 'RUNNING', 'STOPPING', 'COLLECTING') GROUP BY owner),
         waiting AS (SELECT id, owner, created_at,
                            row_number() OVER (PARTITION BY owner ORDER BY created_at, id) AS place
                     FROM jobs WHERE kind = :kind AND state = 'QUEUED' AND simulation IS NULL
                           AND (not_before IS NULL OR not_before <= clock_timestamp())),
         first AS (SELECT w.id FROM waiting w LEFT JOIN live ON live.owner IS NOT DISTINCT FROM w.owner
                   ORDER BY w.place + coalesce(live.jobs, 0), w.created_at, w.id
                   LIMIT greatest(0, :slots - (SELECT coalesce(sum(jobs), 0) FROM live)))
    SELECT id FROM jobs WHERE id IN (SELECT id FROM first) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
""")


def choose(tx: Connection, slots: Mapping[str, int], most: int | None = None) -> list[UUID]:
    """The jobs to start now, locked until the transaction ends: by priority, then the owner with the fewest live,
    then age. One admission at a time in the whole installation, so that slots are never given twice. `most`: instances
    at once of an owner who has no limit of his own."""
    rows = tx.execute(_LOCKED_LIVE, {"lock": ADMISSION_LOCK, "most": most}).all()
    if not rows[0].is_open:
        return []
    wanted = _instances(tx, slots[Kind.INSTANCE], rows, most)
    taken = set(tx.execute(_TAKE, {"ids": [str(job) for job in wanted]}).scalars())
    chosen = [job for job in wanted if job in taken]
    if rows[0].others_wait:
        for kind in (Kind.INGEST, Kind.PLAYBACK):
            chosen += tx.execute(_OTHERS, {"kind": kind, "slots": slots[kind]}).scalars().all()
    return chosen


def due(tx: Connection, slots: int, most: int | None = None) -> int:
    """How many instances an admission would choose at this moment; it takes nothing and waits for nobody."""
    rows = tx.execute(_LIVE, {"most": most}).all()
    return len(_instances(tx, slots, rows, most)) if rows[0].is_open else 0


def _instances(tx: Connection, slots: int, rows: Sequence[Row[Any]], most: int | None) -> list[UUID]:
    live = [row for row in rows if row.jobs is not None]
    free = slots - sum(row.jobs for row in live)
    if free <= 0:
        return []
    by_owner: Counter[UUID | None] = Counter()
    by_simulation: Counter[UUID] = Counter()
    for row in live:
        by_owner[row.owner] += row.jobs
        by_simulation[row.simulation] += row.jobs
    full = [str(row.simulation) for row in live if row.max_parallel is not None and row.jobs >= row.max_parallel]
    sated = [str(row.owner) for row in live
             if row.owner is not None and row.most is not None and by_owner[row.owner] >= row.most]
    candidates = tx.execute(_CANDIDATES, {
        "free": free, "full": full, "sated": sated, "most": most,
        "nobody_sated": most is not None and by_owner[None] >= most}).all()
    return _fill(free, candidates, by_owner, by_simulation)


def _fill(free: int, candidates: Any, by_owner: Counter[UUID | None], by_simulation: Counter[UUID]) -> list[UUID]:
    """Give out the slots one by one. Only the oldest simulation of each owner and priority is ever in question."""
    waiting: dict[UUID, deque[Row[Any]]] = defaultdict(deque)
    for row in candidates:
        waiting[row.simulation].append(row)
    queues: dict[tuple[int, UUID | None], deque[tuple[int, deque[Row[Any]]]]] = defaultdict(deque)
    for age, rows in enumerate(waiting.values()):
        queues[rows[0].priority, rows[0].owner].append((age, rows))
    chosen: list[UUID] = []
    while len(chosen) < free and queues:
        key = min(queues, key=lambda key: (-key[0], by_owner[key[1]], queues[key][0][0]))
        rows = queues[key][0][1]
        row = rows.popleft()
        by_owner[row.owner] += 1
        by_simulation[row.simulation] += 1
        chosen.append(row.id)
        if row.most is not None and by_owner[row.owner] >= row.most:
            queues = defaultdict(deque, {key: queue for key, queue in queues.items() if key[1] != row.owner})
        elif not rows or (row.max_parallel is not None and by_simulation[row.simulation] >= row.max_parallel):
            queues[key].popleft()
            if not queues[key]:
                del queues[key]
    return chosen


def set_paused(tx: Connection, paused: bool) -> None:
    """Whether an admin has paused admission."""
    tx.execute(update(installation).values(paused=paused))


def set_open(tx: Connection, is_open: bool) -> None:
    """Whether admission gives out slots at all."""
    tx.execute(update(installation).values(admission_open=is_open))
