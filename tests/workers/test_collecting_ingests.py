"""The end of an ingest: what the ingester left becomes the bundle, if storage still holds what it read."""

import json
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from shared.persistence.database import Database
from shared.persistence.models import bundle_files
from shared.storage import keys
from tests.shared.test_lifecycle_of_ingests import Shelf
from tests.workers.conftest import Workshop
from tests.workers.test_collecting import facts, recording
from workers.collecting import collect
from workers.garbage import delete_garbage

SHA = "a" * 64
ORIGINAL = {"name": "a.db3", "path": "a.db3", "size": 9, "sha256": SHA, "role": "data", "etag": "same"}
REBUILT = {"name": "metadata.yaml", "path": "0/metadata.yaml", "size": 5, "sha256": "b" * 64, "role": "rebuilt"}
INDEX = {"path": "0/index", "size": 7, "sha256": "c" * 64}


class Bench(Workshop, Shelf):
    """A workshop that ingests."""


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)


def found(*files: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"recording": recording(".", files=list(files or (ORIGINAL, REBUILT)), index=INDEX, **fields)}


def told(bench: Bench, said: dict[str, Any], outcome: str = "success") -> UUID:
    """A COLLECTING ingest whose recorder has said this, with everything in the store."""
    job = bench.collecting_ingest(outcome)
    with bench.database.transaction() as tx:
        tx.execute(text("UPDATE attempts SET facts = CAST(:said AS jsonb) WHERE job = :job"),
                   {"said": json.dumps(facts(ingested=said)), "job": job})
    bench.store.sizes |= {keys.uploaded_file(bench.job(job).bundle, 0): 9,
                          keys.derived_file(job, 1, "0/metadata.yaml"): 5, keys.derived_file(job, 1, "0/index"): 7}
    return job


def test_a_recording_fills_its_bundle(bench: Bench) -> None:
    job = told(bench, found())
    collect(bench.doors, job)
    assert bench.job(job).state == "SUCCEEDED"
    bundle = bench.bundle(job)
    assert (bundle.state, bundle.messages) == ("READY", 3)
    assert bundle.index_key == keys.derived_file(job, 1, "0/index")
    with bench.database.transaction() as tx:
        files = {row.name: (row.key, row.role) for row in tx.execute(select(bundle_files))}
    assert files == {"a.db3": (keys.uploaded_file(bundle.id, 0), "data"),
                     "metadata.yaml": (keys.derived_file(job, 1, "0/metadata.yaml"), "rebuilt")}


def test_content_that_is_held_already_is_not_held_twice(bench: Bench) -> None:
    collect(bench.doors, told(bench, found(ORIGINAL)))
    second = told(bench, found(ORIGINAL))
    collect(bench.doors, second)
    delete_garbage(bench.doors)
    assert bench.store.deleted == [keys.uploaded_file(bench.job(second).bundle, 0)]


@pytest.mark.parametrize("reason", ["not_a_recording", "hostile"])
def test_what_is_rejected_ends_for_that_reason(bench: Bench, reason: str) -> None:
    job = told(bench, found(ORIGINAL, state="REJECTED", reason=reason, topics=[], messages=0))
    collect(bench.doors, job)
    assert (bench.job(job).state, bench.job(job).outcome) == ("FAILED", reason)
    assert (bench.bundle(job).state, bench.bundle(job).reason) == ("REJECTED", reason)


def test_what_is_not_what_was_announced_is_an_upload_that_failed(bench: Bench) -> None:
    job = told(bench, {"unsound": "a.db3: it has 8 bytes, announced were 9"})
    collect(bench.doors, job)
    assert (bench.job(job).outcome, bench.bundle(job).state) == ("upload_failed", "FAILED")
    assert "8 bytes" in bench.bundle(job).problems[0]["message"]


@pytest.mark.parametrize("change", [{"sizes": 8}, {"etags": "other"}, {"sizes": None}])
def test_what_was_changed_since_it_was_read_never_becomes_ready(bench: Bench, change: dict[str, Any]) -> None:
    job = told(bench, found())
    key = keys.uploaded_file(bench.job(job).bundle, 0)
    for table, value in change.items():
        if value is None:
            bench.store.sizes.pop(key)
        else:
            getattr(bench.store, table)[key] = value
    collect(bench.doors, job)
    assert (bench.job(job).outcome, bench.bundle(job).state) == ("upload_failed", "FAILED")


def test_files_that_were_never_announced_are_not_believed(bench: Bench) -> None:
    job = told(bench, found(ORIGINAL | {"name": "b.db3"}))
    collect(bench.doors, job)
    assert (bench.job(job).outcome, bench.bundle(job).state) == ("runtime_error", "FAILED")


def test_an_ingester_that_left_nothing_has_failed(bench: Bench) -> None:
    job = told(bench, {})
    collect(bench.doors, job)
    assert bench.job(job).outcome == "runtime_error"


def test_what_a_crashed_ingester_left_is_not_used(bench: Bench) -> None:
    job = told(bench, found(), "crashed")
    collect(bench.doors, job)
    assert (bench.job(job).outcome, bench.bundle(job).state) == ("crashed", "FAILED")


def test_what_a_simulator_says_of_an_ingest_is_ignored(bench: Bench) -> None:
    job = bench.collecting()
    with bench.database.transaction() as tx:
        tx.execute(text("UPDATE attempts SET facts = CAST(:said AS jsonb) WHERE job = :job"),
                   {"said": json.dumps(facts(ingested=found())), "job": job})
    collect(bench.doors, job)
    assert bench.job(job).outcome == "no_recording"
