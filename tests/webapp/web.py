"""The application as tests use it, its users, and short words for what they do."""

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from argon2 import PasswordHasher
from flask.testing import FlaskClient
from flask_openapi3.openapi import OpenAPI
from sqlalchemy import insert, select, update
from werkzeug.test import TestResponse

from shared.connections import Connections
from shared.domain.moves import Move
from shared.domain.states import State
from shared.lifecycle import End
from shared.persistence.database import Database
from shared.persistence.models import attempts, jobs, users
from shared.settings import WebSettings
from webapp.bell import Bell
from webapp.parts import NAME, Parts

PASSWORD = "a password"
SECRET = "0123456789abcdef0123456789abcdef"
HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # as the application's, but quick
PASSWORD_HASH = HASHER.hash(PASSWORD)
API = "/api/v1"

# Servers that answer nobody: for what must work, or fail well, without any.
NOWHERE = {"database_url": "postgresql://nobody:x@127.0.0.1:9/none", "redis_url": "redis://127.0.0.1:9/0",
           "minio_endpoint": "127.0.0.1:9", "minio_access_key": "k", "minio_secret_key": "secretsecret"}


def make_settings(**values: Any) -> WebSettings:
    """As WebSettings reads them, but for the environment of this process."""
    return WebSettings(_env_file=None, **(NOWHERE | {"secret_key": SECRET, "max_running_instances": 4} | values))


@dataclass
class Web:
    """An application with a bell, as wsgi makes it."""

    app: OpenAPI
    connections: Connections
    bell: Bell
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> Parts:
        found: Parts = self.app.extensions[NAME]
        return found

    @property
    def database(self) -> Database:
        return self.connections.database

    def settle(self) -> None:
        """Wait until what was committed has been admitted, numbered and published."""
        assert self.bell.wait(30)

    def user(self, role: str, email: str | None = None) -> "User":
        """A new user, logged in."""
        id_ = uuid4()
        email = email or f"{id_}@example.com"
        with self.database.transaction() as tx:
            tx.execute(insert(users).values(id=id_, email=email, password_hash=PASSWORD_HASH, role=role))
        account = self.parts.accounts.read(id_)
        assert account is not None
        with self.app.app_context():
            pair = self.parts.tokens.begin(account)
        return User(id_, email, role, self.app.test_client(), pair["access_token"], pair["refresh_token"])

    # -- what workers do ---------------------------------------------------------------------------------------------

    def jobs(self, simulation: str) -> list[UUID]:
        with self.database.transaction() as tx:
            return list(tx.execute(select(jobs.c.id).where(jobs.c.simulation == UUID(simulation))
                                   .order_by(jobs.c.index)).scalars())

    def start(self, job: UUID, token_hash: str = "", attempt: int = 1) -> None:
        """STARTING -> RUNNING, as a launch does."""
        self.settle()
        assert self.connections.lifecycle.pass_gate(job, attempt, host="h", boot="b", token_hash=token_hash)
        self.move(job, State.STARTING, State.RUNNING, attempt=attempt)

    def move(self, job: UUID, old: State, new: State, attempt: int = 1, **fields: Any) -> None:
        assert self.connections.lifecycle.transition_many([Move(job, attempt, old, new, **fields)], actor="test")
        self.settle()

    def finish(self, job: UUID, outcome: str = "success", attempt: int = 1, **fields: Any) -> None:
        """RUNNING -> COLLECTING -> ended."""
        self.move(job, State.RUNNING, State.COLLECTING, attempt=attempt, outcome=outcome)
        assert self.connections.lifecycle.finish(End(job, attempt, outcome, **fields))
        self.settle()

    def set_attempt(self, job: UUID, number: int = 1, **values: Any) -> None:
        """What a recorder or collecting wrote about the attempt."""
        with self.database.transaction() as tx:
            tx.execute(update(attempts).where(attempts.c.job == job, attempts.c.number == number).values(values))


@dataclass
class User:
    """Somebody who is logged in."""

    id: UUID
    email: str
    role: str
    client: FlaskClient
    access: str
    refresh: str

    def get(self, path: str, *, status: int = 200, **options: Any) -> Any:
        """The JSON of the answer, which has this status."""
        return self._checked(self.client.get(self._path(path), headers=self.headers(options), **options), status)

    def post(self, path: str, body: Any = None, *, status: int, **options: Any) -> Any:
        return self._checked(self.client.post(self._path(path), json=body, headers=self.headers(options), **options)
                             if body is not None else
                             self.client.post(self._path(path), headers=self.headers(options), **options), status)

    def patch(self, path: str, body: Any, *, status: int = 200) -> Any:
        return self._checked(self.client.patch(self._path(path), json=body, headers=self.headers({})), status)

    def put(self, path: str, body: Any, *, status: int = 200) -> Any:
        return self._checked(self.client.put(self._path(path), json=body, headers=self.headers({})), status)

    def delete(self, path: str, *, status: int = 204) -> Any:
        return self._checked(self.client.delete(self._path(path), headers=self.headers({})), status)

    def open(self, method: str, path: str, **options: Any) -> TestResponse:
        """The bare answer."""
        return self.client.open(self._path(path), method=method, headers=self.headers(options), **options)

    def headers(self, options: dict[str, Any]) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access}"} | options.pop("headers", {})

    @staticmethod
    def _path(path: str) -> str:
        return path if path.startswith(API) else API + path

    @staticmethod
    def _checked(response: TestResponse, status: int) -> Any:
        assert response.status_code == status, response.get_data(as_text=True)
        return json.loads(response.get_data()) if response.get_data() else None

    # -- short words -------------------------------------------------------------------------------------------------

    def template(self, **fields: Any) -> str:
        """A new template that runs /bin/true; its name."""
        name = f"t{uuid4().hex[:12]}"
        self.post("/templates", {"name": name, "command": ["/bin/true"]} | fields, status=201)
        return name

    def submit(self, template: str | None = None, **fields: Any) -> str:
        """A new simulation; its id."""
        made: str = self.post("/simulations", {"template": template or self.template()} | fields, status=202)["id"]
        return made


def problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """The problem document of the answer, which must be one of this status and code."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.mimetype == "application/problem+json"
    body: dict[str, Any] = json.loads(response.get_data())
    assert set(body) == {"type", "title", "status", "code", "detail", "retryable", "remedy", "errors"}
    assert (body["status"], body["code"]) == (status, code), body
    assert "Traceback" not in response.get_data(as_text=True)
    return body
