"""The application over real servers, and a user of each role. The headers of every answer are held against the
description."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Response, request, request_finished
from werkzeug.routing import Rule

from shared.connections import Connections
from shared.settings import WebSettings
from standalone.servers import Servers
from tests.webapp.described import differences
from tests.webapp.web import HASHER, User, Web, make_settings
from webapp import create_app
from webapp.auth import passwords
from webapp.bell import Bell


@pytest.fixture
def settings(servers: Servers, database_url: str) -> WebSettings:
    return make_settings(
        database_url=database_url, redis_url=servers.redis_url, minio_endpoint=servers.s3.endpoint,
        minio_access_key=servers.s3.access_key, minio_secret_key=servers.s3.secret_key,
        minio_bucket=servers.s3.bucket)


@pytest.fixture(scope="session")
def rules() -> Iterator[None]:
    """Werkzeug compiles two functions for each route of each application, which takes longer than all else in making
    one: here once for all applications, for the functions are told their rule when they are called."""
    compile_builder = Rule._compile_builder
    compiled: dict[Any, Any] = {}

    def look_up(rule: Rule, append_unknown: bool = True) -> Any:
        key = rule.rule, rule.subdomain, str(rule.defaults), append_unknown
        if key not in compiled:
            compiled[key] = compile_builder(rule, append_unknown)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rule, "_compile_builder", look_up)
        yield


@pytest.fixture
def make_web(rules: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[WebSettings], Web]]:
    """Applications of any settings, all closed in the end. What a password's hash costs is no part of what they do."""
    monkeypatch.setattr(passwords, "_HASHER", HASHER)
    made: list[Web] = []

    def make(settings: WebSettings) -> Web:
        bell = Bell()
        connections = Connections(settings, application="test", pool_size=10, after=bell.ring)
        bell.serve(connections.lifecycle)
        app = create_app(settings, connections)
        request_finished.connect(compare, app)
        made.append(Web(app, connections, bell))
        return made[-1]

    wrong: list[str] = []

    def compare(_: object, response: Response) -> None:
        wrong.extend(differences(request.url_rule, request.method, response))

    yield make
    assert wrong == []
    for web in made:
        web.bell.wait(30)
        web.parts.close()
        web.connections.close()


@pytest.fixture
def web(settings: WebSettings, make_web: Callable[[WebSettings], Web]) -> Web:
    return make_web(settings)


@pytest.fixture
def lonely(make_web: Callable[[WebSettings], Web]) -> Web:
    """An application whose servers are all down."""
    return make_web(make_settings())


@pytest.fixture
def admin(web: Web) -> User:
    return web.user("admin")


@pytest.fixture
def operator(web: Web) -> User:
    return web.user("operator")


@pytest.fixture
def viewer(web: Web) -> User:
    return web.user("viewer")
