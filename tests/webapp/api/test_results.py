"""GET /simulations/{id}/results: every instance once, in pieces, whole or broken off."""

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, update

from shared.domain.errors import Unavailable
from shared.persistence.models import bundles, jobs
from tests.webapp.web import User, Web, problem
from webapp import results
from webapp.api.schemas.instances import Results
from webapp.queries import results as queries

BEGUN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def table(user: User, simulation: str) -> list[dict[str, str]]:
    written = user.open("GET", f"/simulations/{simulation}/results?format=csv").get_data(as_text=True)
    assert written.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(written, newline="")))


def record(web: Web, job: UUID, name: str) -> str:
    id_ = uuid4()
    with web.database.transaction() as tx:
        tx.execute(insert(bundles).values(id=id_, name=name, visibility="team", job=job, attempt=1, state="READY",
                                          digest=name))
    return str(id_)


def test_every_instance_is_told_with_what_came_of_it(web: Web, operator: User) -> None:
    simulation = operator.submit(parameters={"speed": {"grid": [0.5, 1]}, "world": "open"}, seed=7, repeats=2)
    first, second, *_ = web.jobs(simulation)
    web.start(first)
    recorded = [record(web, first, "a"), record(web, first, "b")]
    web.finish(first, passed=True, metrics={"length": 12.5, "bumps": 0})
    web.start(second)
    web.finish(second, "crashed", passed=False, message="exit code 3")
    with web.database.transaction() as tx:
        tx.execute(update(jobs).where(jobs.c.id == first).values(started_at=BEGUN,
                                                                 ended_at=BEGUN + timedelta(seconds=90.5)))
    response = operator.open("GET", f"/simulations/{simulation}/results")
    assert response.mimetype == "application/json"
    told = json.loads(response.get_data())
    Results.model_validate(told)
    assert told["simulation"] == simulation
    items = told["items"]
    assert [item["index"] for item in items] == [0, 1, 2, 3]
    assert items[0] == {
        "index": 0, "id": str(first), "state": "SUCCEEDED", "reason": None, "passed": True, "attempt": 1,
        "exit_code": None, "seed": items[0]["seed"], "parameters": {"speed": 0.5, "world": "open"},
        "metrics": {"length": 12.5, "bumps": 0}, "started_at": "2026-01-01T12:00:00.000000Z",
        "ended_at": "2026-01-01T12:01:30.500000Z", "duration_seconds": 90.5, "bundles": recorded}
    assert (items[1]["state"], items[1]["reason"], items[1]["passed"]) == ("FAILED", "crashed", False)
    listed = operator.get(f"/simulations/{simulation}/instances")["items"]
    shared = set(listed[0]) & set(items[0])
    assert [{name: item[name] for name in shared} for item in items] == [
        {name: item[name] for name in shared} for item in listed]


def test_a_table_has_the_same_with_a_column_for_each_name(web: Web, operator: User) -> None:
    simulation = operator.submit(
        template=operator.template(parameters={"type": "object", "properties": {"aaa": {"default": 1}}}),
        method="list", parameters={"speed": 0.5, "deep": {"value": {"a": [1, "ä"]}}},
        points=[{}, {"speed": None}, {"extra": True, "speed": "fa,st \"x\"\ny"}])
    first, second, _ = web.jobs(simulation)
    for job, metrics in ((first, {"length": 12.5}), (second, {"bumps": 1e-7})):
        web.start(job)
        web.finish(job, passed=job == first, metrics=metrics)
    recorded = [record(web, first, "a"), record(web, first, "b")]
    response = operator.open("GET", f"/simulations/{simulation}/results?format=csv")
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    rows = table(operator, simulation)
    assert list(rows[0]) == [
        "index", "id", "state", "reason", "passed", "attempt", "exit_code", "seed", "parameters.speed",
        "parameters.deep", "parameters.aaa", "parameters.extra", "metrics.bumps", "metrics.length", "started_at",
        "ended_at", "duration_seconds", "bundles"]
    assert [row["parameters.speed"] for row in rows] == ["0.5", "", "fa,st \"x\"\ny"]
    assert json.loads(rows[0]["parameters.deep"]) == {"a": [1, "ä"]}
    assert [row["parameters.extra"] for row in rows] == ["", "", "true"]
    assert [row["metrics.length"] for row in rows] == ["12.5", "", ""]
    assert [row["metrics.bumps"] for row in rows] == ["", "1e-07", ""]
    assert [row["passed"] for row in rows] == ["true", "false", ""]
    assert [row["bundles"] for row in rows] == [" ".join(recorded), "", ""]
    items = operator.get(f"/simulations/{simulation}/results")["items"]
    for name in ("id", "state", "started_at", "ended_at"):
        assert [row[name] for row in rows] == [item[name] or "" for item in items]
    for name in ("index", "attempt", "seed", "duration_seconds"):
        assert [row[name] for row in rows] == ["" if item[name] is None else str(item[name]) for item in items]


def test_the_file_is_named_after_the_simulation(operator: User) -> None:
    simulation = operator.submit(name="night/run ä\"\r\n")
    given = operator.open("GET", f"/simulations/{simulation}/results?format=csv").headers["Content-Disposition"]
    assert given == "attachment; filename*=UTF-8''night%2Frun%20%C3%A4%22%0D%0A_results.csv"


def test_no_cell_is_a_formula(web: Web, operator: User) -> None:
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'x", "x=1", ""]
    simulation = operator.submit(method="list", points=[
        {"=name": each, "number": -1.5, "nested": {"value": ["=1"]}} for each in texts])
    rows = table(operator, simulation)
    assert [row["parameters.=name"] for row in rows] == [
        "'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "'\rx", "'x", "x=1", ""]
    assert {row["parameters.number"] for row in rows} == {"-1.5"}
    assert {row["parameters.nested"] for row in rows} == {'["=1"]'}


@given(st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
       | st.lists(st.integers()))
def test_a_cell_reads_back_as_what_it_was(value: Any) -> None:
    [[read, end]] = csv.reader(io.StringIO(results._lines([[results._cell(value), "end"]]), newline=""))
    assert end == "end"
    assert not (isinstance(value, str) and read.startswith(results.FORMULA))
    if isinstance(value, str):
        assert read in (value, f"'{value}")
    else:
        assert json.loads(read) == value


def test_many_come_in_batches_each_by_itself(
        web: Web, operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 2 * queries.BATCH + 1
    simulation = operator.submit(parameters={"a": {"range": [1, count, 1]}})
    web.settle()
    seen: list[int] = []
    real = queries.batch

    def batch(*args: Any) -> Any:
        found = real(*args)
        seen.append(len(found))
        return found

    monkeypatch.setattr(queries, "batch", batch)
    pieces = operator.open("GET", f"/simulations/{simulation}/results?format=csv", buffered=False).iter_encoded()
    next(pieces), next(pieces)
    assert seen == [queries.BATCH]  # the next is not read before it is asked for
    assert [pool.checkedout() for pool in (web.database._engine.pool, web.database._single.pool)] == [0, 0]
    assert b"".join(pieces).count(b"\r\n") == count - queries.BATCH
    assert seen == [queries.BATCH, queries.BATCH, 1]
    items = operator.get(f"/simulations/{simulation}/results")["items"]
    assert [item["parameters"]["a"] for item in items] == list(range(1, count + 1))


@pytest.mark.parametrize("form", ["json", "csv"])
def test_what_vanishes_on_the_way_breaks_the_transfer(web: Web, operator: User, form: str) -> None:
    simulation = operator.submit(repeats=queries.BATCH + 1)
    pieces = operator.open("GET", f"/simulations/{simulation}/results?format={form}", buffered=False).iter_encoded()
    next(pieces)
    with web.database.transaction() as tx:
        tx.execute(delete(jobs).where(jobs.c.simulation == UUID(simulation), jobs.c.index == queries.BATCH))
    with pytest.raises(Unavailable, match=f"missing from index {queries.BATCH}"):
        list(pieces)


def test_a_metric_that_has_no_column_yet_breaks_the_table(web: Web, operator: User) -> None:
    simulation = operator.submit()
    [job] = web.jobs(simulation)
    pieces = operator.open("GET", f"/simulations/{simulation}/results?format=csv", buffered=False).iter_encoded()
    assert b"metrics" not in next(pieces)
    web.start(job)
    web.finish(job, metrics={"length": 1})
    with pytest.raises(Unavailable, match="length"):
        list(pieces)
    assert table(operator, simulation)[0]["metrics.length"] == "1"


def test_names_and_rows_are_seen_by_who_may_see_the_simulation(web: Web, operator: User) -> None:
    hidden = operator.submit(visibility="private")
    other = web.user("operator")
    for query in ("", "?format=csv"):
        problem(other.open("GET", f"/simulations/{hidden}/results{query}"), 404, "not_found")
        problem(other.open("GET", f"/simulations/{uuid4()}/results{query}"), 404, "not_found")
        assert web.user("admin").open("GET", f"/simulations/{hidden}/results{query}").status_code == 200


def test_the_submission_links_to_them(operator: User) -> None:
    links = operator.post("/simulations", {"template": operator.template()}, status=202)["links"]
    assert re.fullmatch(r"/api/v1/simulations/[0-9a-f-]{36}/results", links["results"])
    assert len(operator.get(links["results"])["items"]) == 1
