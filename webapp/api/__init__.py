"""The HTTP API: one module a resource, their shapes in schemas. `register` is called by create_app."""

from flask_openapi3.openapi import OpenAPI

from webapp.api import (
    auth,
    bundles,
    events,
    excerpts,
    instances,
    logs,
    playbacks,
    results,
    simulations,
    system,
    templates,
    users,
)
from webapp.api.docs import docs
from webapp.api.plain import plain


def register(app: OpenAPI, prefix: str) -> None:
    """Put every route into `app`, those of the API under `prefix`."""
    app.register_blueprint(plain)
    app.register_blueprint(docs)
    for api in (auth.doors, auth.api, templates.api, simulations.api, results.api, events.api, instances.api, logs.api,
                bundles.api, excerpts.api, playbacks.api, users.api, system.api):
        app.register_api(api, url_prefix=prefix)
