"""Uploads that nobody completes do not fill the storage for ever."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from shared.domain.errors import Unavailable
from shared.domain.moves import NewJob
from shared.domain.specs import Program
from shared.domain.states import Kind
from shared.persistence.database import Database
from shared.persistence.models import NOW, bundles
from shared.storage import keys
from tests.workers.conftest import chores
from tests.workers.test_collecting_ingests import Bench
from workers import abandoned as module
from workers.abandoned import forget_uploads


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)


def aged(bench: Bench, hours: float) -> UUID:
    bundle = bench.upload()
    with bench.database.transaction() as tx:
        tx.execute(update(bundles).where(bundles.c.id == bundle).values(created_at=NOW - timedelta(hours=hours)))
    return bundle


def row(bench: Bench, bundle: UUID) -> Any:
    with bench.database.transaction() as tx:
        return tx.execute(select(bundles).where(bundles.c.id == bundle)).one()


def test_an_upload_of_yesterday_is_given_up_with_its_parts(bench: Bench) -> None:
    old, young = aged(bench, 25), aged(bench, 23)
    forget_uploads(bench.doors)
    assert (row(bench, old).state, row(bench, old).reason) == ("FAILED", "upload_failed")
    assert "within a day" in row(bench, old).problems[0]["message"]
    assert row(bench, young).state == "UPLOADING"
    assert bench.store.aborted == bench.store.deleted == [keys.uploaded_file(old, 0)]
    assert forget_uploads(bench.doors)
    assert len(bench.store.deleted) == 1


def test_what_is_completed_meanwhile_is_never_touched(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    old = aged(bench, 25)
    completing: Any = bench.store.abort

    def complete_first(key: str, upload_id: str) -> None:
        new = NewJob(uuid4(), Kind.INGEST, bench.user, old, Program(command=()))
        assert not bench.lifecycle.submit_ingest(new)  # it was given up before anything was deleted
        completing(key, upload_id)

    monkeypatch.setattr(bench.store, "abort", complete_first)
    forget_uploads(bench.doors)
    assert row(bench, old).state == "FAILED"


def test_what_a_failed_ingest_leaves_in_the_storage_goes_too(bench: Bench) -> None:
    job = bench.collecting_ingest("upload_failed")
    bench.finish(job, "upload_failed", message="its sha256 is another")
    forget_uploads(bench.doors)
    assert bench.store.deleted == [keys.uploaded_file(bench.job(job).bundle, 0)]


def test_it_takes_no_more_than_its_time_of_a_sweep(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        aged(bench, 25)
    monkeypatch.setattr(module, "SECONDS", -1.0)
    assert not forget_uploads(bench.doors)
    assert bench.store.deleted == []


def test_while_storage_is_down_it_is_left_for_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    old = aged(bench, 25)

    def down(key: str, upload_id: str) -> None:
        raise Unavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "abort", down)
        assert not chores(bench.doors).step()
    assert bench.store.deleted == []
    chores(bench.doors).step()
    assert bench.store.deleted == [keys.uploaded_file(old, 0)]


def test_what_is_being_ingested_is_let_alone(bench: Bench) -> None:
    job = bench.ingest()
    with bench.database.transaction() as tx:
        tx.execute(update(bundles).values(created_at=NOW - timedelta(days=9)))
    forget_uploads(bench.doors)
    assert bench.bundle(job).state == "INGESTING"
