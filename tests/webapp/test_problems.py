import pytest
from flask import Flask

from shared.domain import errors
from shared.domain.errors import FieldError, SimyardError
from tests.webapp.web import problem
from webapp import problems


class Rare(errors.Conflict):
    """One that nobody has mapped."""

    code = "rare"


@pytest.mark.parametrize(("error", "status", "code"), [
    (problems.BadRequest("x"), 400, "bad_request"),
    (problems.Unauthenticated("x"), 401, "unauthenticated"),
    (errors.Forbidden("x"), 403, "forbidden"),
    (errors.NotFound("x"), 404, "not_found"),
    (errors.Conflict("x", code="name_taken"), 409, "name_taken"),
    (errors.IllegalTransition("x"), 409, "illegal_transition"),
    (Rare("x"), 409, "rare"),
    (errors.InvalidSpec("x"), 422, "invalid_spec"),
    (errors.QuotaExceeded("x"), 429, "quota"),
    (errors.Refused("x"), 422, "refused"),
    (errors.Unavailable("x"), 503, "unavailable"),
])
def test_each_of_our_errors_has_its_status(error: SimyardError, status: int, code: str) -> None:
    app = Flask(__name__)
    problems.register(app)
    error.remedy, error.errors = "do that", (FieldError("a.b", "is wrong"),)

    @app.get("/")
    def fail() -> str:
        raise error

    response = app.test_client().get("/")
    told = problem(response, status, code)
    assert told["errors"] == [{"field": "a.b", "message": "is wrong"}]
    assert (told["detail"], told["remedy"]) == ("x", "do that")
    assert told["retryable"] is (status in (429, 503)) is ("Retry-After" in response.headers)
    assert ("WWW-Authenticate" in response.headers) is (status == 401)


def test_every_error_of_the_domain_has_a_status() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SimyardError)]
    assert [kind for kind in kinds if kind is not SimyardError and not set(kind.__mro__) & set(problems.STATUS)] == []
