"""The audit trail: every request of a known user that changes something or was forbidden, a refused refresh of a login
of ours included, and every try to log in.
Called by hooks after each answer, so no view can forget it; `note` lets a view say more.

It is written once the answer is known, in a statement of its own: a crash between the two loses the entry, but never
what jobs went through, which their events tell with the actor in the same transaction."""

import logging
from typing import Any

from flask import Response, g, request

from shared.domain.errors import Unavailable
from webapp import writes
from webapp.auth.accounts import Account
from webapp.auth.credentials import SAFE
from webapp.parts import parts

log = logging.getLogger(__name__)

LOGIN = "login.login"  # the one entry without a user: who tried is in its detail


def note(**detail: Any) -> None:
    """Have this said in the present request's entry. No secrets."""
    g.audit = g.get("audit", {}) | detail


def holder(account: Account) -> None:
    """Whose login the present request shows, though it has no caller: the entry is his, if there is one."""
    g.holder = account


def record(response: Response) -> None:
    """Write the entry of this answer, if it calls for one. Never fails: what was done is done."""
    status = response.status_code
    if request.method in SAFE or (status >= 400 and status not in (401, 403)):
        return  # nothing was done; of those who are held back (429) there may be enough to fill the table
    caller = g.get("caller")
    who = caller or (g.get("holder") if status >= 400 else None)  # who goes on with his login has not done anything
    if who is None and request.endpoint != LOGIN:
        return
    entry = {"user": who and who.id, "email": who and who.email, "token": caller and caller.shown.token,
             "address": request.remote_addr, "method": request.method, "status": status, "request": g.request_id,
             "path": request.path[:500].replace("\0", "\N{REPLACEMENT CHARACTER}"),
             "detail": g.get("audit", {}) | ({"refused": g.refused} if status >= 400 and "refused" in g else {})}
    try:
        with parts().connections.database.single() as tx:
            writes.add_audit(tx, entry)
    except Unavailable as error:
        log.warning("not written to the audit trail: %s: %s", entry, error)
    except Exception:  # the answer stands, whatever is wrong with its entry
        log.exception("not written to the audit trail: %s", entry)
