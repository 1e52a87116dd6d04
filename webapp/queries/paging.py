"""Lists, newest first, a page at a time by keyset: the cursor names the last item seen, so new items shift nothing."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, Connection, Row, Select, Table, and_, or_, tuple_

from shared.persistence.deletion import shown
from webapp.problems import BadRequest

DEFAULT_LIMIT = 50
MAX_LIMIT = 200

Rows = Sequence[Row[Any]]


@dataclass(frozen=True)
class Page:
    """Which part of a list is wanted."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


def newest_first(tx: Connection, wanted: Select[Any], table: Table, page: Page) -> tuple[Rows, str | None]:
    """The page's rows of `wanted` (which selects created_at and id of `table`) and the cursor to the next."""
    key = tuple_(table.c.created_at, table.c.id)
    if page.cursor is not None:
        at, id_ = decode(page.cursor, lambda at, id_: (datetime.fromisoformat(at), UUID(id_)))
        wanted = wanted.where(key < tuple_(at, id_))
    rows = tx.execute(wanted.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(page.limit + 1)).all()
    return cut(rows, page, lambda row: [row.created_at.isoformat(), str(row.id)])


def cut(rows: Rows, page: Page, key: Callable[[Row[Any]], list[Any]]) -> tuple[Rows, str | None]:
    """One row more than the page holds was asked for: whether it is there tells whether there is a next page."""
    if len(rows) <= page.limit:
        return rows, None
    rows = rows[:page.limit]
    return rows, encode(key(rows[-1]))


def encode(key: list[Any]) -> str:
    """The cursor of the row with this key."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).rstrip(b"=").decode()


def decode(cursor: str, read: Callable[..., Any]) -> Any:
    """`read` applied to the parts of a cursor's key. BadRequest when the cursor is none of ours."""
    try:
        return read(*json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)))
    except (ValueError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise BadRequest("the cursor is none that we gave", code="bad_cursor",
                         remedy="take `next` of the page before, or leave the cursor out") from error


def visible(table: Table, viewer: UUID | BindParameter[Any] | None) -> ColumnElement[bool]:
    """Whether the viewer may see the rows of `table`, which has an owner and a visibility, and may be deleted."""
    if viewer is None:
        return shown(table)
    return and_(shown(table), or_(table.c.visibility == "team", table.c.owner == viewer))
