"""A workshop over a real bucket, with short words for what is recorded, deleted and swept, and the law of the place:
every object is referred to or garbage, and every reference has its object."""

import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, text, true, update

from shared.domain.moves import Submission
from shared.domain.specs import Program, Record
from shared.domain.states import State
from shared.persistence.database import Database
from shared.persistence.deletion import shown
from shared.persistence.models import (
    NOW,
    attempts,
    blobs,
    bundle_files,
    bundles,
    garbage,
    jobs,
    metadata,
    simulations,
)
from shared.storage import keys
from shared.storage.store import Store
from tests.shared.test_lifecycle_of_ingests import Shelf
from tests.workers.conftest import Workshop
from tests.workers.test_collecting import facts, recording
from workers import retention
from workers.collecting import collect

AUDIT_DAYS = 365


class Yard(Workshop, Shelf):
    """Its store is a real one; the runtime stays a fake."""

    def __init__(self, database: Database, store: Store) -> None:
        super().__init__(database)
        self.real = store
        self.doors.connections.store = store

    # -- making ------------------------------------------------------------------------------------------------------

    def put(self, key: str, content: bytes) -> dict[str, Any]:
        self.real._client.put_object(self.real.bucket, key, io.BytesIO(content), len(content))
        return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def simulate(self, *contents: bytes, keep: str = "all", keep_days: int | None = None, outcome: str = "success",
                 passed: bool | None = None) -> UUID:
        """An ended simulation; each of its instances has recorded one content, and left a note and a log."""
        simulation = uuid4()
        program = Program(command=("/bin/true",), record=Record(required=False))
        self.lifecycle.submit(Submission(
            simulation, "night run", self.user, "team", {}, "robot", 1, {}, program, 7, 0, None,
            [({}, place) for place in range(len(contents))], keep, keep_days))
        for row, content in zip(self.jobs(simulation), contents, strict=True):
            self.lifecycle.admit()
            assert self.pass_gate(row.id)
            self.record(row.id, content, outcome, passed)
        return simulation

    def record(self, job: UUID, content: bytes, outcome: str, passed: bool | None) -> None:  # type: ignore[override]
        """From STARTING to its end, with what a recorder uploads and says."""
        place = {name: keys.attempt_prefix(job, 1) + name
                 for name in ("output/run/run.db3", "derived/0/index", "output/notes/a b.txt", "log.txt")}
        data = self.put(place["output/run/run.db3"], content)
        index = self.put(place["derived/0/index"], b"index of " + content)
        note = self.put(place["output/notes/a b.txt"], b"note")
        self.put(place["log.txt"], b"words")
        said = facts(
            recordings=[recording(files=[data | {"name": "run.db3", "path": "run/run.db3", "role": "data"}],
                                  index=index | {"path": "0/index"})],
            files=[note | {"path": "notes/a b.txt"}], result={"passed": passed},
            log={"size": 5, "tail": "words", "uploaded": True})
        assert self.move(job, State.COLLECTING, outcome=outcome)
        self.say(job, said)

    def say(self, job: UUID, said: dict[str, Any]) -> None:
        with self.database.transaction() as tx:
            tx.execute(text("UPDATE attempts SET facts = CAST(:said AS jsonb) WHERE job = :job"),
                       {"said": json.dumps(said), "job": job})
        collect(self.doors, job)

    def ingested(self, content: bytes) -> UUID:
        """A bundle that was uploaded and found READY."""
        job = self.collecting_ingest()
        bundle: UUID = self.job(job).bundle
        data = self.put(keys.uploaded_file(bundle, 0), content)
        index = self.put(keys.derived_file(job, 1, "0/index"), b"index of " + content)
        _, etag = self.real.stat(keys.uploaded_file(bundle, 0))
        file = data | {"name": "a.db3", "path": "a.db3", "role": "data", "etag": etag}
        self.say(job, facts(ingested={"recording": recording(".", files=[file], index=index | {"path": "0/index"})}))
        return bundle

    def bundles_of(self, simulation: UUID) -> Sequence[UUID]:
        with self.database.transaction() as tx:
            return tx.execute(
                select(bundles.c.id).join(jobs, jobs.c.id == bundles.c.job)
                .where(shown(bundles), jobs.c.simulation == simulation).order_by(jobs.c.index)).scalars().all()

    def row(self, bundle: UUID) -> Any:
        with self.database.transaction() as tx:
            return tx.execute(select(bundles).where(bundles.c.id == bundle)).one()

    def change(self, bundle: UUID, **values: Any) -> None:
        with self.database.transaction() as tx:
            tx.execute(update(bundles).where(bundles.c.id == bundle).values(values))

    def age(self, days: float, *which: UUID) -> None:
        """Let so many days have passed for all that is kept, or for these simulations and bundles."""
        passed = func.make_interval(0, 0, 0, 0, 0, 0, days * 86400)
        with self.database.transaction() as tx:
            for table, column in ((simulations, "updated_at"), (bundles, "created_at")):
                these = table.c.id.in_(which) if which else true()
                tx.execute(update(table).where(these).values({column: NOW - passed}))

    # -- sweeping ----------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """A whole round, as the command does it."""
        self.lifecycle.settle()
        retention.finish(self.doors, AUDIT_DAYS)

    # -- looking -----------------------------------------------------------------------------------------------------

    def contents(self, bundle: UUID) -> list[bytes]:
        """What its files hold, byte for byte."""
        with self.database.transaction() as tx:
            found = tx.execute(select(bundle_files.c.key).where(bundle_files.c.bundle == bundle)).scalars().all()
        return [self.get(key) for key in found]

    def get(self, key: str) -> bytes:
        with self.real._client.get_object(self.real.bucket, key) as answer:
            return bytes(answer.read())

    def objects(self) -> set[str]:
        return set(self.real.keys(""))

    def rows(self) -> dict[str, int]:
        """How many rows each table has, those without any left out."""
        with self.database.transaction() as tx:
            counts = {table.name: tx.execute(select(func.count()).select_from(table)).scalar_one()
                      for table in metadata.tables.values()}
        return {name: count for name, count in counts.items() if count and name not in ("users", "installation")}

    def check_the_law(self) -> None:
        """Every object is referred to or garbage; every reference has its object."""
        with self.database.transaction() as tx:
            referred = {*tx.execute(select(blobs.c.key)).scalars(),
                        *tx.execute(select(bundles.c.index_key).where(bundles.c.index_key.is_not(None))).scalars(),
                        *tx.execute(select(attempts.c.log_key).where(attempts.c.log_key.is_not(None))).scalars()}
            for row in tx.execute(select(attempts.c.job, attempts.c.number, attempts.c.files)):
                referred |= {keys.recorded_file(row.job, row.number, file["path"]) for file in row.files}
            waiting = set(tx.execute(select(garbage.c.key)).scalars())
            unheld = tx.execute(select(blobs.c.key).where(blobs.c.key.not_in(select(bundle_files.c.key)))).all()
        there = self.objects()
        prefixes = tuple(key for key in waiting if key.endswith("/"))
        assert referred - there == set(), "a reference without its object"
        assert {key for key in there - referred - waiting if not key.startswith(prefixes)} == set(), "a leak"
        assert unheld == [], "a content that no bundle has"
        assert referred & waiting == set(), "garbage that is referred to"
