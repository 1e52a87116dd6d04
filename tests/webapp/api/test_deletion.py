"""Deleting over HTTP: who may, what stands against it, and that nobody sees what is deleted."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, insert, update

from shared.domain.moves import NewJob
from shared.domain.specs import Program
from shared.domain.states import Kind
from shared.persistence.models import bundles, jobs, simulations
from tests.webapp.api.test_bundles import NAME, add_bundle
from tests.webapp.web import User, Web, problem
from webapp.api.schemas.bundles import Bundle
from webapp.api.schemas.simulations import Simulation


def ended(web: Web, user: User, **fields: Any) -> tuple[str, UUID]:
    """A simulation of one instance, which has ended, and the instance."""
    simulation = user.submit(**fields)
    [job] = web.jobs(simulation)
    web.start(job)
    web.finish(job)
    return simulation, job


def remove(user: User, path: str) -> None:
    response = user.open("DELETE", path)
    assert (response.status_code, response.get_data()) == (204, b""), response.get_data(as_text=True)


def patch(user: User, bundle: UUID, status: int = 200, **body: Any) -> Any:
    return user._checked(user.open("PATCH", f"/bundles/{bundle}", json=body), status)


# -- simulations ------------------------------------------------------------------------------------------------------

def test_what_is_deleted_is_seen_by_nobody(web: Web, operator: User, admin: User) -> None:
    simulation, job = ended(web, operator)
    bundle = add_bundle(web, operator.id, job=job)
    playback = uuid4()
    web.connections.lifecycle.submit_playback(NewJob(playback, Kind.PLAYBACK, operator.id, bundle, Program(command=())))
    web.settle()
    with web.database.transaction() as tx:
        tx.execute(update(jobs).where(jobs.c.id == playback).values(parameters={"rate": 1.0}, cancel_requested=True))
    web.connections.lifecycle.cancel_job(playback, actor="test")
    things = [
        *(f"/simulations/{simulation}{part}" for part in ("", "/status", "/instances", "/events")),
        *(f"/instances/{job}{part}" for part in ("", "/logs", "/files", "/files/x")),
        *(f"/bundles/{bundle}{part}" for part in ("", f"/files/{NAME}", "/messages", "/slice", "/uploads")),
        f"/playbacks/{playback}", f"/playbacks/{playback}/stream"]
    remove(operator, f"/simulations/{simulation}")
    for user in (operator, admin):
        for thing in things:
            problem(user.open("GET", thing), 404, "not_found")
        for items in ("/simulations", "/instances", "/bundles"):
            assert user.get(items)["items"] == [], items
        for method, path in (("DELETE", f"/simulations/{simulation}"), ("POST", f"/simulations/{simulation}/cancel"),
                             ("POST", f"/instances/{job}/cancel"), ("DELETE", f"/bundles/{bundle}"),
                             ("POST", f"/bundles/{bundle}/complete")):
            problem(user.open(method, path), 404, "not_found")
        patch(user, bundle, 404, hold=True)
        user.post("/playbacks", {"bundle": str(bundle)}, status=404)
        user.post("/simulations", {"template": operator.template(), "inputs": [str(bundle)]}, status=422)


def test_what_has_not_ended_is_to_be_cancelled_first(web: Web, operator: User) -> None:
    simulation = operator.submit()
    seen = problem(operator.open("DELETE", f"/simulations/{simulation}"), 409, "illegal_transition")
    assert f"/simulations/{simulation}/cancel" in seen["remedy"]
    web.settle()
    operator.post(f"/simulations/{simulation}/cancel", status=202)
    web.settle()
    remove(operator, f"/simulations/{simulation}")


def test_only_its_owner_and_admins_delete(web: Web, operator: User, viewer: User, admin: User) -> None:
    other = web.user("operator")
    first, job = ended(web, operator)
    second, _ = ended(web, operator, visibility="private")
    bundle = add_bundle(web, operator.id, job=job)
    for path in (f"/simulations/{first}", f"/bundles/{bundle}"):
        problem(viewer.open("DELETE", path), 403, "forbidden")
        problem(other.open("DELETE", path), 403, "forbidden")
    problem(other.open("DELETE", f"/simulations/{second}"), 404, "not_found")
    problem(other.open("PATCH", f"/bundles/{bundle}", json={"hold": True}), 403, "forbidden")
    remove(admin, f"/bundles/{bundle}")
    remove(admin, f"/simulations/{second}")
    remove(operator, f"/simulations/{first}")


def test_a_bundle_on_hold_keeps_its_simulation(web: Web, operator: User) -> None:
    simulation, job = ended(web, operator)
    bundle = add_bundle(web, operator.id, job=job)
    patch(operator, bundle, hold=True)
    for path in (f"/simulations/{simulation}", f"/bundles/{bundle}"):
        seen = problem(operator.open("DELETE", path), 409, "held")
        assert str(bundle) in seen["detail"] and f"/bundles/{bundle}" in seen["remedy"]
    assert operator.get(f"/simulations/{simulation}")["id"] == simulation
    patch(operator, bundle, hold=False)
    remove(operator, f"/simulations/{simulation}")


def test_a_stream_that_missed_the_end_is_cut_when_there_is_nothing_left(
        web: Web, operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.api.events.HEARTBEAT_SECONDS", 0.2)
    simulation = operator.submit()
    web.settle()
    response = operator.open("GET", f"/simulations/{simulation}/events")
    pieces = iter(response.response)
    assert b"event: reset" in bytes(next(pieces))  # type: ignore[arg-type]
    with web.database.transaction() as tx:  # as a sweep does that is faster than this process hears of the end
        tx.execute(delete(jobs).where(jobs.c.simulation == UUID(simulation)))
        tx.execute(delete(simulations).where(simulations.c.id == UUID(simulation)))
    assert b"event: end" not in b"".join(bytes(piece) for piece in pieces)  # type: ignore[arg-type]
    response.close()


def test_how_long_a_simulation_is_kept_is_told(operator: User) -> None:
    seen = operator.get(f"/simulations/{operator.submit(keep='failed', keep_days=30)}")
    Simulation.model_validate(seen)
    assert (seen["keep"], seen["keep_days"], seen["spec"]["keep_days"]) == ("failed", 30, 30)
    seen = operator.get(f"/simulations/{operator.submit()}")
    assert (seen["keep"], seen["keep_days"]) == ("all", None)


@pytest.mark.parametrize(("field", "value"), [
    ("keep", "some"), ("keep", None), ("keep_days", 0), ("keep_days", 36_501), ("keep_days", 1.5), ("keep_days", "1"),
    ("keep_days", True)])
def test_what_says_nothing_of_keeping_is_named(operator: User, field: str, value: Any) -> None:
    response = operator.open("POST", "/simulations", json={"template": operator.template(), field: value})
    assert [error["field"] for error in problem(response, 422, "invalid")["errors"]] == [field]


# -- bundles ----------------------------------------------------------------------------------------------------------

def test_a_bundle_is_changed_in_what_is_stated_and_nothing_else(web: Web, operator: User) -> None:
    bundle = add_bundle(web, operator.id, labels={"a": "b"}, size=5)
    seen = patch(operator, bundle, keep_days=30)
    Bundle.model_validate(seen)
    assert (seen["labels"], seen["hold"], seen["keep_days"], seen["size"]) == ({"a": "b"}, False, 30, 5)
    assert patch(operator, bundle, hold=True, labels={"c": "d"}) == seen | {"hold": True, "labels": {"c": "d"}}
    assert patch(operator, bundle, keep_days=None)["keep_days"] is None
    assert patch(operator, bundle) == operator.get(f"/bundles/{bundle}") == operator.get("/bundles")["items"][0]
    patch(operator, uuid4(), 404, hold=True)


@pytest.mark.parametrize(("field", "value"), [
    ("keep_days", 0), ("keep_days", 36_501), ("keep_days", 1.5), ("hold", None), ("hold", "yes"), ("hold", 1),
    ("labels", None), ("labels", {"a b": "c"}), ("name", "other"), ("state", "READY")])
def test_a_change_that_cannot_be_is_named(web: Web, operator: User, field: str, value: Any) -> None:
    bundle = add_bundle(web, operator.id)
    response = operator.open("PATCH", f"/bundles/{bundle}", json={field: value})
    assert problem(response, 422, "invalid")["errors"][0]["field"].startswith(field)


def test_a_bundle_that_is_played_is_not_deleted(web: Web, operator: User) -> None:
    bundle = add_bundle(web, operator.id)
    playback = uuid4()
    web.connections.lifecycle.submit_playback(NewJob(playback, Kind.PLAYBACK, operator.id, bundle, Program(command=())))
    seen = problem(operator.open("DELETE", f"/bundles/{bundle}"), 409, "in_use")
    assert str(playback) in seen["detail"] and "stop" in seen["remedy"]


def test_content_of_a_deleted_bundle_is_uploaded_anew(web: Web, operator: User) -> None:
    body = {"name": "field run", "files": [{"name": "a.db3", "size": 1, "sha256": "0" * 64}]}
    web.connections.store.make_bucket()
    first = operator.post("/bundles", body, status=201)["id"]
    assert operator.get(f"/bundles/{first}")["size"] == 1
    with web.database.transaction() as tx:
        tx.execute(update(bundles).values(state="READY"))
    assert operator.post("/bundles", body, status=200)["id"] == first
    remove(operator, f"/bundles/{first}")
    assert operator.post("/bundles", body, status=201)["id"] != first


# -- files of instances -----------------------------------------------------------------------------------------------

def file(path: str) -> dict[str, Any]:
    return {"path": path, "size": 4, "sha256": "a" * 64}


def test_files_of_an_instance_are_listed_and_lead_to_themselves(web: Web, operator: User) -> None:
    _, job = ended(web, operator)
    web.set_attempt(job, files=[file("b.txt"), file("a/ä b.txt")])
    seen = operator.get(f"/instances/{job}/files")
    assert seen == {"items": [{"name": name, "size": 4, "sha256": "a" * 64, "attempt": 1}
                              for name in ("a/ä b.txt", "b.txt")], "next": None}
    response = operator.open("GET", f"/instances/{job}/files/a/ä b.txt")
    assert response.status_code == 302
    assert f"/attempts/{job}/1/output/a/%C3%A4%20b.txt?" in response.headers["Location"]
    for name in ("a", "b.txt/", "other", "a/%00"):
        problem(operator.open("GET", f"/instances/{job}/files/{name}"), 404, "not_found")


def test_files_are_those_of_the_attempt_that_is_asked_for(web: Web, operator: User) -> None:
    _, job = ended(web, operator)
    web.set_attempt(job, files=[file("first.txt")])
    with web.database.transaction() as tx:
        from shared.persistence.models import attempts

        tx.execute(update(jobs).where(jobs.c.id == job).values(attempt=2))
        tx.execute(insert(attempts).values(job=job, number=2, files=[file("second.txt")]))
    for query, names in {"": ["second.txt"], "?attempt=1": ["first.txt"], "?attempt=2": ["second.txt"]}.items():
        assert [item["name"] for item in operator.get(f"/instances/{job}/files{query}")["items"]] == names
    assert operator.open("GET", f"/instances/{job}/files/first.txt?attempt=1").status_code == 302
    problem(operator.open("GET", f"/instances/{job}/files/first.txt"), 404, "not_found")
    problem(operator.open("GET", f"/instances/{job}/files?attempt=3"), 404, "not_found")
    problem(operator.open("GET", f"/instances/{job}/files?attempt=0"), 422, "invalid")


def test_an_instance_that_waits_has_no_files_yet(web: Web, operator: User) -> None:
    web.connections.lifecycle.set_admission(is_open=False)
    [job] = web.jobs(operator.submit())
    assert operator.get(f"/instances/{job}/files")["items"] == []


def test_files_of_what_is_private_are_as_good_as_missing(web: Web, operator: User, viewer: User) -> None:
    _, job = ended(web, operator, visibility="private")
    web.set_attempt(job, files=[file("a.txt")])
    for path in ("files", "files/a.txt"):
        problem(viewer.open("GET", f"/instances/{job}/{path}"), 404, "not_found")
        assert operator.open("GET", f"/instances/{job}/{path}").status_code < 400
