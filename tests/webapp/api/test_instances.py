from uuid import UUID, uuid4

from sqlalchemy import update

from shared.domain.states import State
from shared.persistence.models import events, jobs
from tests.webapp.web import User, Web, problem
from webapp.api.schemas.instances import Instance, InstanceList


def test_an_instance_tells_its_whole_life(web: Web, operator: User) -> None:
    simulation = operator.submit(parameters={"a": 1}, limits={"run_seconds": 9}, seed=7)
    [job] = web.jobs(simulation)
    web.start(job)
    with web.database.transaction() as tx:
        tx.execute(update(jobs).where(jobs.c.id == job).values(progress={"percent": 40, "sim_time": 1.5}))
    web.set_attempt(job, log_tail="".join(f"line {number}\n" for number in range(200)), log_end=1790)
    web.finish(job, "crashed", message="exit code 3", passed=False, metrics={"path": 1.5})
    seen = operator.get(f"/instances/{job}")
    Instance.model_validate(seen)
    assert [(move["from"], move["to"], move["reason"], move["attempt"]) for move in seen["transitions"]] == [
        ("QUEUED", "STARTING", None, 1), ("STARTING", "RUNNING", None, 1), ("RUNNING", "COLLECTING", "crashed", 1),
        ("COLLECTING", "FAILED", "crashed", 1)]
    numbers = [move["number"] for move in seen["transitions"]]
    assert numbers == sorted(set(numbers))
    assert seen["log_tail"].splitlines() == [f"line {number}" for number in range(100, 200)]
    assert (seen["state"], seen["phase"], seen["reason"]) == ("FAILED", "completed", "crashed")
    assert (seen["message"], seen["passed"], seen["metrics"]) == ("exit code 3", False, {"path": 1.5})
    assert (seen["parameters"], seen["seed"]) == ({"a": 1}, 1462434388)
    assert seen["limits"]["run_seconds"] == 9
    assert seen["progress"] == {"percent": 40, "sim_time": 1.5, "message": None}
    assert seen["simulation"] == simulation and seen["started_at"] and seen["ended_at"] and seen["bundles"] == []


def test_success_is_no_reason(web: Web, operator: User) -> None:
    [job] = web.jobs(operator.submit())
    web.start(job)
    web.finish(job)
    assert operator.get(f"/instances/{job}")["reason"] is None


def test_what_is_not_numbered_yet_is_not_shown(web: Web, operator: User) -> None:
    [job] = web.jobs(operator.submit())
    web.settle()
    with web.database.transaction() as tx:
        tx.execute(update(events).where(events.c.job == job).values(number=None))
    assert operator.get(f"/instances/{job}")["transitions"] == []


def test_a_simulations_instances_come_by_index(web: Web, operator: User) -> None:
    simulation = operator.submit(repeats=5)
    web.settle()
    first = operator.get(f"/simulations/{simulation}/instances?limit=2")
    InstanceList.model_validate(first)
    second = operator.get(f"/simulations/{simulation}/instances?limit=3&cursor={first['next']}")
    assert [item["index"] for item in first["items"] + second["items"]] == [0, 1, 2, 3, 4]
    assert second["next"] is None
    waiting = operator.get(f"/simulations/{simulation}/instances?state=QUEUED")["items"]
    assert [item["index"] for item in waiting] == [4]


def test_all_instances_come_newest_first_and_can_be_narrowed(web: Web, operator: User) -> None:
    old = operator.submit(name="old", labels={"pr": "1"}, repeats=3)
    new = operator.submit(name="new", repeats=3)
    web.settle()
    page = operator.get("/instances?limit=4")
    rest = operator.get(f"/instances?limit=4&cursor={page['next']}")
    assert [(item["simulation"], item["index"]) for item in page["items"] + rest["items"]] == [
        (new, 2), (new, 1), (new, 0), (old, 2), (old, 1), (old, 0)]
    assert {item["simulation"] for item in operator.get("/instances?label=pr:1")["items"]} == {old}
    assert {item["simulation"] for item in operator.get("/instances?name=new")["items"]} == {new}
    assert len(operator.get("/instances?state=STARTING")["items"]) == 4
    assert len(operator.get("/instances?state=STARTING&name=new")["items"]) == 1
    item = page["items"][0]
    single = operator.get(f"/instances/{item['id']}")
    assert item == {name: value for name, value in single.items() if name not in ("transitions", "log_tail")}


def test_cancelling_at_once_where_nothing_was_started(web: Web, operator: User) -> None:
    [job] = web.jobs(operator.submit())
    web.settle()
    seen = operator.post(f"/instances/{job}/cancel", status=202)
    Instance.model_validate(seen)
    assert (seen["state"], seen["reason"]) == ("CANCELLED", "cancelled_by_user")
    assert operator.post(f"/instances/{job}/cancel", status=202)["state"] == "CANCELLED"


def test_cancelling_what_runs_stops_it(web: Web, operator: User) -> None:
    [job] = web.jobs(operator.submit())
    web.start(job)
    assert operator.post(f"/instances/{job}/cancel", status=202)["state"] == State.STOPPING
    web.settle()
    assert operator.get(f"/instances/{job}")["transitions"][-1]["to"] == State.STOPPING


def test_what_is_not_there_is_404(operator: User) -> None:
    for method, path in (("GET", ""), ("GET", "/logs"), ("POST", "/cancel")):
        problem(operator.open(method, f"/instances/{uuid4()}{path}"), 404, "not_found")
    problem(operator.open("GET", f"/instances/{UUID(int=0)}/files"), 404, "not_found")
