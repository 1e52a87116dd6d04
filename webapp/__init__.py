"""The HTTP process. `create_app` is called by wsgi under gunicorn, and by tests."""

from typing import Any

from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI

from shared.connections import Connections
from shared.settings import WebSettings
from webapp import api, hooks, problems
from webapp.api.schemas.base import Problem
from webapp.auth.accounts import Accounts
from webapp.auth.tokens import Tokens, configure
from webapp.hub import Hub
from webapp.internal import internal
from webapp.parts import NAME, Parts
from webapp.progress import Progress
from webapp.relays import Relays
from webapp.statuses import Statuses
from webapp.templates import Templates

BEARER: Any = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                     "description": "the access_token of POST /auth/login"}}


def create_app(settings: WebSettings, connections: Connections) -> OpenAPI:
    """The application over these doors. Nothing is opened and no thread runs before the first request that needs it;
    `app.extensions["simyard"].close()` ends its streams and threads."""
    app = OpenAPI("webapp", info=Info(title="Simyard", version="1"), security_schemes=BEARER, doc_ui=False,
                  validation_error_model=Problem, static_folder=None)
    app.url_map.strict_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.json.compact = True  # type: ignore[attr-defined]
    app.extensions[NAME] = Parts(
        settings=settings, connections=connections, accounts=Accounts(connections.database),
        tokens=Tokens(connections.redis, settings), templates=Templates(connections.database),
        statuses=Statuses(connections.database), hub=Hub(connections.database, connections.pubsub),
        progress=Progress(connections.database, connections.pubsub), relays=Relays())
    configure(app, settings)
    problems.register(app)
    hooks.register(app)
    app.register_blueprint(internal)
    api.register(app, settings.api_str)
    return app
