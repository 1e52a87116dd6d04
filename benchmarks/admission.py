"""How fast jobs are admitted while a hundred thousand wait, and how fairly: in few large sweeps, and one by one."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from uuid import UUID, uuid4

import psycopg2
from psycopg2.extras import execute_values

from benchmarks.report import Figure
from shared.domain.states import Kind
from shared.lifecycle import Lifecycle
from shared.messaging.announcer import Announcer, Work
from shared.persistence.database import Database
from tests.databases import create_database, drop_database
from tests.stack import Stack

USERS = 50
WAITING = 100_000
SLOTS = 100
FREED = 10  # slots that are free at each admission
ADMISSIONS = 100


class Nobody(Announcer):
    """Told of everything, does nothing: only admission is measured."""

    def __init__(self) -> None:
        pass

    def send(self, work: object) -> None:
        """Nothing."""

    def publish(self, events: object) -> None:
        """Nothing."""


def measure(stack: Stack) -> Iterator[Figure]:
    """On the stack's own Postgres, in a database of its own."""
    for name, sweeps in (("50 sweeps", USERS), ("100,000 simulations of one", WAITING)):
        url = create_database(stack.ready["database_url"], "bench_admission", migrate=True)
        database = Database(url.replace("postgresql:", "postgresql+psycopg2:"), pool_size=4, application="bench")
        try:
            rate, jain = run(url, database, sweeps)
        finally:
            database.close()
            drop_database(stack.ready["database_url"], "bench_admission")
        yield Figure(f"admissions per second, {WAITING:,} wait in {name}", rate, "per second", at_least=500,
                     detail=f"{FREED} at a time, {SLOTS} slots, {USERS} users")
        yield Figure(f"fairness among {USERS} users (Jain), {name}", jain, "", at_least=0.95)


def run(url: str, database: Database, sweeps: int) -> tuple[float, float]:
    """Admissions per second, and Jain's index of the slots that each user held over time."""
    owners = fill(url, sweeps)
    lifecycle = Lifecycle(database, Nobody(), dict.fromkeys(Kind, SLOTS), after=ignore)
    lifecycle.admit()
    seconds, admitted, held = 0.0, 0, Counter[str]()
    for _ in range(ADMISSIONS):
        end_some(url)
        began = time.perf_counter()
        admitted += lifecycle.admit()
        seconds += time.perf_counter() - began
        held += live(url)
    return admitted / seconds, jain(held, owners)


def ignore(work: Sequence[Work]) -> None:
    """What is due after a commit is left."""


def jain(held: Counter[str], owners: Sequence[UUID]) -> float:
    """(sum x)^2 / (n sum x^2): 1 when all got the same, 1/n when one got all (Jain, Chiu, Hawe 1984)."""
    shares = [held[str(owner)] for owner in owners]
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def fill(url: str, sweeps: int) -> list[UUID]:
    """Users, and what they wait for: the same number each."""
    owners = [uuid4() for _ in range(USERS)]
    with psycopg2.connect(url) as tx, tx.cursor() as cursor:
        execute_values(cursor, "INSERT INTO users (id, email, password_hash, role) VALUES %s",
                       [(str(owner), f"{owner}@example.com", "x", "operator") for owner in owners])
        size = WAITING // sweeps
        execute_values(cursor, """
            INSERT INTO simulations (id, name, owner, visibility, template, template_version, spec, program, seed,
                                     priority, total, state, counts, verdicts) VALUES %s""", [
            (str(uuid4()), "s", str(owners[place % USERS]), "team", "t", 1, "{}", "{}", 1, 0, size, "QUEUED",
             f'{{"QUEUED": {size}}}', "{}") for place in range(sweeps)], page_size=1000)
        cursor.execute("""
            INSERT INTO jobs (id, kind, owner, simulation, index, parameters, seed, state)
            SELECT gen_random_uuid(), 'instance', owner, id, place, '{}', place, 'QUEUED'
            FROM simulations CROSS JOIN generate_series(0, total - 1) place""")
    connection = psycopg2.connect(url)
    connection.autocommit = True
    connection.cursor().execute("VACUUM ANALYZE")
    connection.close()
    return owners


def end_some(url: str) -> None:
    """Free slots, at random, as instances of different length would."""
    with psycopg2.connect(url) as tx, tx.cursor() as cursor:
        cursor.execute("""
            UPDATE jobs SET state = 'SUCCEEDED', ended_at = now() WHERE id IN (
                SELECT id FROM jobs WHERE state = 'STARTING' ORDER BY random() LIMIT %s)""", [FREED])


def live(url: str) -> Counter[str]:
    """How many slots each user holds."""
    with psycopg2.connect(url) as tx, tx.cursor() as cursor:
        cursor.execute("SELECT owner::text, count(*) FROM jobs WHERE state = 'STARTING' GROUP BY owner")
        return Counter(dict(cursor.fetchall()))
