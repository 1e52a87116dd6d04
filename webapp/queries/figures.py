"""What a monitor is told of the jobs, all as of one moment. Asked by metrics at each scrape, so every statement stays
cheap however many jobs there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, func, literal, select, text, union_all

from shared.domain.states import ENDED, LIVE, Kind, Reason, State
from shared.persistence import admission
from shared.persistence.models import NOW, attempts, jobs

PATIENCE = timedelta(seconds=3)
WINDOW = timedelta(minutes=15)
WINDOW_JOBS = 2000
QUANTILES = (0.5, 0.95, 0.99)
RECORDER_ENDS = ("well", "replaced", "failed")


@dataclass(frozen=True)
class PhaseTimes:
    """How long the jobs of a kind that ended lately were in one phase."""

    kind: str
    phase: str
    jobs: int
    total_seconds: float
    quantile_seconds: Sequence[float]  # those of QUANTILES


@dataclass(frozen=True)
class Leader:
    """The host of the watcher that leads, or led last (empty: none ever did), and whether it does."""

    host: str
    leads: bool


@dataclass(frozen=True)
class Figures:
    """Everything a scrape wants to know of the database."""

    jobs: Mapping[tuple[str, str], int]  # by kind and state
    used: Mapping[str, int]  # slots that are taken, by kind
    launches: Mapping[str, int]  # starts that are due or under way, by kind
    upkeep: int  # stops and collects that are
    phases: Sequence[PhaseTimes]
    recorders: Mapping[str, int]  # by RECORDER_ENDS
    leader: Leader


def _count_of(kind: Kind, state: State, *conditions: Any) -> Select[Any]:
    return select(literal(str(kind)).label("kind"), literal(str(state)).label("state"), func.count().label("jobs")) \
        .where(*conditions or (jobs.c.kind == kind, jobs.c.state == state))


# The ended out of an index of their own, one end of one kind at a time, which takes half as long as grouping them; the
# queued out of those by which they are chosen. The live are few.
_JOBS = union_all(
    *(_count_of(kind, state) for kind in Kind for state in sorted(ENDED)),
    _count_of(Kind.INSTANCE, State.QUEUED, jobs.c.state == State.QUEUED, jobs.c.simulation.is_not(None)),
    *(_count_of(kind, State.QUEUED, jobs.c.kind == kind, jobs.c.state == State.QUEUED, jobs.c.simulation.is_(None))
      for kind in (Kind.PLAYBACK, Kind.INGEST)),
    select(jobs.c.kind, jobs.c.state, func.count()).where(jobs.c.state.in_(sorted(LIVE)))
    .group_by(jobs.c.kind, jobs.c.state))

_UNGATED = text("""
    SELECT kind, count(*) AS jobs FROM jobs JOIN attempts ON attempts.job = jobs.id AND attempts.number = jobs.attempt
    WHERE state = 'STARTING' AND gate_passed_at IS NULL GROUP BY kind
""")

_OTHERS_DUE = text("""
    SELECT count(*) FROM (
        SELECT FROM jobs WHERE kind = :kind AND state = 'QUEUED' AND simulation IS NULL
               AND (not_before IS NULL OR not_before <= clock_timestamp()) LIMIT :free) due
""")

_PHASES = text("""
    WITH lately AS (SELECT id, kind, attempt, created_at, ended_at FROM jobs
                    WHERE state IN :ended AND ended_at > clock_timestamp() - :window
                    ORDER BY ended_at DESC LIMIT :jobs)
    SELECT job.kind, phase.name, count(*) AS jobs, sum(phase.seconds) AS total,
           percentile_cont(:quantiles) WITHIN GROUP (ORDER BY phase.seconds) AS quantiles
    FROM lately job
    CROSS JOIN LATERAL (
        SELECT min(gate_passed_at) AS first_gate,
               max(gate_passed_at) FILTER (WHERE number = job.attempt) AS gate,
               max(started_at) FILTER (WHERE number = job.attempt) AS started,
               max(ended_at) FILTER (WHERE number = job.attempt) AS ended
        FROM attempts WHERE job = job.id) last
    CROSS JOIN LATERAL (VALUES
        ('waiting', CAST(extract(epoch FROM last.first_gate - job.created_at) AS float)),
        ('starting', CAST(extract(epoch FROM last.started - last.gate) AS float)),
        ('running', CAST(extract(epoch FROM last.ended - last.started) AS float)),
        ('collecting', CAST(extract(epoch FROM job.ended_at - last.ended) AS float))) phase (name, seconds)
    WHERE phase.seconds IS NOT NULL
    GROUP BY job.kind, phase.name
""").bindparams(bindparam("ended", sorted(ENDED), expanding=True))

# Of the attempts whose program ran. One of which something did not arrive failed, whatever else it found.
_LATELY = (select(jobs.c.id).where(jobs.c.kind == Kind.INSTANCE, jobs.c.state.in_(sorted(ENDED)),
                                  jobs.c.ended_at > NOW - WINDOW)
           .order_by(jobs.c.ended_at.desc()).limit(WINDOW_JOBS).cte("lately"))
_RECORDER = case(
    (attempts.c.facts.is_(None) | attempts.c.kept | (attempts.c.outcome == Reason.UPLOAD_FAILED), "failed"),
    (attempts.c.salvages > 0, "replaced"), else_="well").label("recorder")
_RECORDERS = (select(_RECORDER, func.count().label("attempts")).join(_LATELY, _LATELY.c.id == attempts.c.job)
              .where(attempts.c.ended_at.is_not(None),
                     attempts.c.started_at.is_not(None) | attempts.c.exit_code.is_not(None))
              .group_by(_RECORDER))

_LEADER = text("SELECT split_part(holder, ':', 1) AS host, until > clock_timestamp() AS leads FROM leases "
               "WHERE name = 'watcher'")


def read(tx: Connection, slots: Mapping[str, int], most: int | None = None) -> Figures:
    """All of it, where so many slots of each kind are given out, and `most` of them to a user who has no limit of his
    own; the transaction should be a snapshot."""
    tx.execute(text("SELECT set_config('statement_timeout', :patience, true)"),
               {"patience": f"{PATIENCE.total_seconds()}s"})
    found = {(row.kind, row.state): row.jobs for row in tx.execute(_JOBS)}
    used = {str(kind): sum(found.get((kind, state), 0) for state in LIVE) for kind in Kind}
    free = {kind: max(0, slots[kind] - used[kind]) for kind in Kind}
    upkeep = sum(found.get((kind, state), 0) for kind in Kind for state in (State.STOPPING, State.COLLECTING))
    return Figures(found, used, _launches(tx, slots, free, most), upkeep, _phases(tx), _recorders(tx), _leader(tx))


def _launches(tx: Connection, slots: Mapping[str, int], free: Mapping[Kind, int], most: int | None) -> dict[str, int]:
    """Admitted jobs whose gate was not passed yet, and those that the free slots would let in at once."""
    due: dict[str, int] = dict.fromkeys(Kind, 0) | {row.kind: row.jobs for row in tx.execute(_UNGATED)}
    due[Kind.INSTANCE] += admission.due(tx, slots[Kind.INSTANCE], most)
    if tx.execute(text("SELECT admission_open AND NOT paused FROM installation")).scalar_one():
        for kind in (Kind.PLAYBACK, Kind.INGEST):
            due[kind] += tx.execute(_OTHERS_DUE, {"kind": kind, "free": free[kind]}).scalar_one()
    return due


def _phases(tx: Connection) -> list[PhaseTimes]:
    rows = tx.execute(_PHASES, {"window": WINDOW, "jobs": WINDOW_JOBS, "quantiles": list(QUANTILES)})
    return [PhaseTimes(row.kind, row.name, row.jobs, row.total, row.quantiles) for row in rows]


def _recorders(tx: Connection) -> dict[str, int]:
    return dict.fromkeys(RECORDER_ENDS, 0) | {row.recorder: row.attempts for row in tx.execute(_RECORDERS)}


def _leader(tx: Connection) -> Leader:
    row = tx.execute(_LEADER).one_or_none()
    return Leader("", leads=False) if row is None else Leader(row.host, row.leads)
