"""The HTTP process. `create_app` is called by wsgi under gunicorn, and by tests."""

from collections.abc import Callable
from typing import Any

from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from werkzeug.middleware.proxy_fix import ProxyFix

from shared.connections import Connections
from shared.settings import WebSettings
from webapp import api, hooks, problems
from webapp.api.schemas.base import Problem
from webapp.auth.accounts import Accounts
from webapp.auth.api_tokens import ApiTokens
from webapp.auth.credentials import ACCESS, CSRF, CSRF_HEADER
from webapp.auth.throttle import Throttle
from webapp.auth.tokens import Tokens, configure
from webapp.images.resolver import Resolver
from webapp.internal import internal
from webapp.metrics import Metrics
from webapp.parts import NAME, Parts
from webapp.progress import Progress
from webapp.statuses import Statuses
from webapp.streams.hub import Hub
from webapp.streams.relays import Relays
from webapp.streams.tunnels import Tunnels
from webapp.templates import Templates

SECURITY: Any = {
    "bearer": {"type": "http", "scheme": "bearer",
               "description": "the access_token of POST /auth/login, or an API token of POST /auth/tokens"},
    "cookie": {"type": "apiKey", "in": "cookie", "name": ACCESS,
               "description": f"set by POST /auth/login; what changes anything needs the header {CSRF_HEADER} besides, "
                              f"with the value of the cookie {CSRF}"}}


def create_app(settings: WebSettings, connections: Connections) -> OpenAPI:
    """The application over these doors. Nothing is opened and no thread runs before the first request that needs it;
    `app.extensions["simyard"].close()` ends its streams and threads."""
    app = OpenAPI("webapp", info=Info(title="Simyard", version="1"), security_schemes=SECURITY, doc_ui=False,
                  validation_error_model=Problem, static_folder=None)
    app.url_map.strict_slashes = False
    app.ensure_sync = _as_it_is  # type: ignore[method-assign,assignment]  # asked for all views and hooks
    if trusted := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=trusted, x_proto=trusted, x_host=trusted)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.json.compact = True  # type: ignore[attr-defined]
    hub = Hub(connections.database, connections.pubsub)
    app.extensions[NAME] = Parts(
        settings=settings, connections=connections, accounts=Accounts(connections.database),
        tokens=Tokens(connections.redis, settings), api_tokens=ApiTokens(connections.database),
        throttle=Throttle(connections.redis), templates=Templates(connections.database),
        images=Resolver(settings), statuses=Statuses(connections.database), hub=hub,
        progress=Progress(connections.database, connections.pubsub), relays=Relays(), tunnels=Tunnels(),
        metrics=Metrics(settings, connections, hub))
    configure(app, settings)
    problems.register(app)
    hooks.register(app)
    app.register_blueprint(internal)
    api.register(app, settings.api_str)
    return app


def _as_it_is(view: Callable[..., Any]) -> Callable[..., Any]:
    """No view of ours and no hook is asynchronous."""
    return view
