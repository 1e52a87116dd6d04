"""Playbacks, as the API answers them."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select

from shared.domain.states import Kind
from shared.persistence.models import attempts, bundles, jobs
from webapp.queries.paging import visible


def find(tx: Connection, playback: UUID, viewer: UUID | None) -> Row[Any] | None:
    """id, owner, state, bundle, parameters and address (of its player, null while there is none), if the viewer may see
    what is played."""
    return tx.execute(
        select(jobs.c.id, jobs.c.owner, jobs.c.state, jobs.c.bundle, jobs.c.parameters, attempts.c.address)
        .join(bundles, bundles.c.id == jobs.c.bundle)
        .outerjoin(attempts, (attempts.c.job == jobs.c.id) & (attempts.c.number == jobs.c.attempt))
        .where(jobs.c.id == playback, jobs.c.kind == Kind.PLAYBACK, visible(bundles, viewer))).first()
