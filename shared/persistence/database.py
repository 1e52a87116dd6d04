"""The door to Postgres. Opened by connections; raises Unavailable when the database does not answer."""

import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg2
import sqlalchemy
from sqlalchemy import Connection, QueuePool, text
from sqlalchemy.event import listen
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.domain.errors import Unavailable

# What SQLAlchemy lets through unwrapped, as when it puts a connection's isolation level back.
FROM_THE_DRIVER = (psycopg2.OperationalError, psycopg2.InterfaceError)
CONNECT_OPTIONS = {
    "connect_timeout": 5,
    "keepalives_idle": 15,
    "tcp_user_timeout": 30_000,
    "options": "-c lock_timeout=10s -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s",
}


class Database:
    """Two pools of connections to one Postgres: for transactions, and for single statements. Nothing is opened before
    it is used."""

    def __init__(self, url: str, *, pool_size: int, application: str) -> None:
        options: dict[str, Any] = {
            "pool_size": pool_size, "max_overflow": 0, "pool_timeout": 10, "pool_recycle": 900,
            "pool_use_lifo": True, "executemany_mode": "values_plus_batch",
            "connect_args": CONNECT_OPTIONS | {"application_name": f"simyard-{application}"},
        }
        create_engine = sqlalchemy.create_engine  # looked up here, for traces put their own in its place
        self._engine = create_engine(url, **options)
        # A pool of its own: switching a connection to and fro costs what leaving out BEGIN and COMMIT saves.
        self._single = create_engine(url, isolation_level="AUTOCOMMIT", **options)
        for engine in (self._engine, self._single):
            listen(engine, "checkout", _refuse_if_closed)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Commit at the end of the block, roll back on an error; Unavailable when the database does not answer."""
        with self._translate_errors(), self._engine.begin() as tx:
            yield tx

    @contextmanager
    def single(self) -> Iterator[Connection]:
        """Each statement by itself, without a transaction's two round trips: for who only reads, and for the gate,
        which is one statement."""
        with self._translate_errors(), self._single.connect() as tx:
            yield tx

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A read-only transaction in which every statement sees the same moment."""
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self._translate_errors(), self._engine.connect().execution_options(**options) as tx:
            yield tx

    def ping(self) -> None:
        """Return when the database answers, raise Unavailable when not."""
        with self.transaction() as tx:
            tx.execute(text("SELECT 1"))

    def pools(self) -> dict[str, tuple[int, int]]:
        """Of each pool how many connections it may have, and how many are out at this moment."""
        engines = {"transaction": self._engine, "single": self._single}
        pools = {name: cast(QueuePool, engine.pool) for name, engine in engines.items()}
        return {name: (pool.size(), pool.checkedout()) for name, pool in pools.items()}

    def close(self) -> None:
        """Close every idle connection."""
        self._engine.dispose()
        self._single.dispose()

    @staticmethod
    @contextmanager
    def _translate_errors() -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError, PoolTimeout, *FROM_THE_DRIVER) as error:
            raise Unavailable(_first_line(error), code="database_unavailable",
                              remedy="see that Postgres runs and that DATABASE_URL is right") from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise Unavailable(_first_line(error), code="database_unavailable") from error
            raise


def _refuse_if_closed(connection: Any, _record: Any, _proxy: Any) -> None:
    """Have the pool begin anew when the server has closed an idle connection, as one that was restarted has: its end
    is there to be read then, though nothing was asked. A look costs nothing, a ping a round trip on every use."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise InvalidatePoolError("the server has closed the connection")


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return f"the database did not answer: {str(cause).strip().splitlines()[0] if str(cause).strip() else 'no detail'}"
