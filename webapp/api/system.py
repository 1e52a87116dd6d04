"""/system: the deployment as a whole, and its pause. For admins."""

from importlib.metadata import version
from typing import Any

from flask import Response

from webapp.api.resource import Resource, answer
from webapp.api.schemas.system import System
from webapp.auth.permissions import needs
from webapp.parts import parts
from webapp.queries import system as queries

api = Resource("system", "The deployment as a whole; for admins")


@api.get("/system", responses={200: System})
@needs("admin")
def show_system() -> Response:
    """Version, schema, runtime, and whether admission is paused."""
    return answer(_system())


@api.post("/system/pause", responses={200: System})
@needs("admin")
def pause_system() -> Response:
    """Let nothing more start. What runs goes on and ends; what waits says why."""
    parts().connections.lifecycle.pause(paused=True)
    return answer(_system())


@api.post("/system/resume", responses={200: System})
@needs("admin")
def resume_system() -> Response:
    """Go on."""
    parts().connections.lifecycle.pause(paused=False)
    return answer(_system())


def _system() -> dict[str, Any]:
    with parts().connections.database.single() as tx:
        return {"version": version("simyard"), "schema": queries.schema(tx), "runtime": parts().settings.runtime,
                "paused": queries.paused(tx)}
