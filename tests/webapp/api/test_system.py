from tests.webapp.web import User, Web
from webapp.api.schemas.system import System


def test_the_system_tells_what_it_is(admin: User) -> None:
    seen = admin.get("/system")
    System.model_validate(seen)
    assert seen["runtime"] == "local" and seen["paused"] is False
    assert seen["schema"] and seen["version"]


def test_while_paused_nothing_starts_and_what_waits_says_why(web: Web, admin: User, operator: User) -> None:
    running = operator.submit()
    web.settle()
    assert admin.post("/system/pause", status=200)["paused"]
    waiting = operator.submit()
    web.settle()
    assert operator.get(f"/simulations/{running}/status")["counts"]["STARTING"] == 1
    assert operator.get(f"/simulations/{waiting}/status")["counts"]["QUEUED"] == 1
    assert operator.get(f"/simulations/{waiting}/queue")["held_by"] == ["paused by operator"]
    assert admin.post("/system/resume", status=200)["paused"] is False
    web.settle()
    assert operator.get(f"/simulations/{waiting}/status")["counts"]["STARTING"] == 1
