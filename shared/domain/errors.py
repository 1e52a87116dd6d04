"""Our errors, in two families: Refused (asking again will not help) and Unavailable (it may). Doors raise them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field, e.g. FieldError("parameters.max_speed", "9 is greater than the maximum of 2")."""

    field: str
    message: str


class SimyardError(Exception):
    """The base of what we raise on purpose: `code` for programs, the text for people, `remedy` for both."""

    code = "error"

    def __init__(self, detail: str, *, code: str | None = None, remedy: str | None = None,
                 errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.remedy = remedy
        self.errors = tuple(errors)


class Refused(SimyardError):
    """The request is understood and not carried out; the same request again is refused again."""

    code = "refused"


class InvalidSpec(Refused):
    """A template or submission that cannot be; `errors` names the fields."""

    code = "invalid_spec"


class NotFound(Refused):
    """It does not exist, or is not yours to see."""

    code = "not_found"


class Forbidden(Refused):
    """You may see it, but your role may not do this."""

    code = "forbidden"


class Conflict(Refused):
    """It stands against what is already there."""

    code = "conflict"


class QuotaExceeded(Refused):
    """Beyond what this deployment allows; `passes` says whether it may be allowed later as it is."""

    code = "quota"

    def __init__(self, detail: str, *, code: str | None = None, remedy: str | None = None,
                 errors: Sequence[FieldError] = (), passes: bool = True) -> None:
        super().__init__(detail, code=code, remedy=remedy, errors=errors)
        self.passes = passes


class IllegalTransition(Conflict):
    """The job is not in a state from which this move exists."""

    code = "illegal_transition"


class Unavailable(SimyardError):
    """A part we need does not answer; the same request may succeed later."""

    code = "unavailable"
