"""The tables. Migrations compare with this; lifecycle writes the states, queries read them."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from shared.domain.states import ENDED, LIVE, BundleState, Kind, State

metadata = MetaData(naming_convention={
    "ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s", "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
})

# The database's clock is the only one that leases and limits are held against.
NOW = func.clock_timestamp(type_=DateTime(timezone=True))


def _one_of(column: str, values: Iterable[str]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in sorted(values))})"


def _moment(name: str, *, now: bool = False) -> Column[datetime]:
    return Column(name, DateTime(timezone=True), nullable=not now, server_default=NOW if now else None)


installation = Table(  # one row
    "installation", metadata,
    Column("id", UUID, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("admission_open", Boolean, nullable=False, server_default=true()),
    Column("last_event", BigInteger, nullable=False, server_default=text("0")),  # the highest event number given
)

leases = Table(
    "leases", metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("until", DateTime(timezone=True), nullable=False),
)

users = Table(
    "users", metadata,
    Column("id", UUID, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    _moment("created_at", now=True),
    CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),
)

idempotency_keys = Table(  # written in the transaction that creates what the answer names
    "idempotency_keys", metadata,
    Column("owner", UUID, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request", Text, nullable=False),  # sha256 of route and body
    Column("status", SmallInteger, nullable=False),
    Column("body", JSONB, nullable=False),
    _moment("created_at", now=True),
)

templates = Table(
    "templates", metadata,
    Column("id", UUID, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("owner", UUID, ForeignKey("users.id", ondelete="SET NULL")),
    _moment("created_at", now=True),
)

template_versions = Table(
    "template_versions", metadata,
    Column("template", UUID, ForeignKey("templates.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("spec", JSONB, nullable=False),
    _moment("created_at", now=True),
)

simulations = Table(
    "simulations", metadata,
    Column("id", UUID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("owner", UUID, ForeignKey("users.id", ondelete="SET NULL")),
    Column("visibility", Text, nullable=False),
    Column("labels", JSONB, nullable=False, server_default=text("'{}'")),
    Column("template", Text, nullable=False),
    Column("template_version", Integer, nullable=False),
    Column("spec", JSONB, nullable=False),  # the submission, with its seed and version pinned
    Column("program", JSONB, nullable=False),  # what every attempt runs
    Column("seed", BigInteger, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("max_parallel", Integer),
    Column("total", Integer, nullable=False),
    Column("state", Text, nullable=False),  # derived from counts, by number_events alone
    Column("counts", JSONB, nullable=False),
    Column("verdicts", JSONB, nullable=False),
    Column("stop_requested", Boolean, nullable=False, server_default=false()),
    Column("stale", Boolean, nullable=False, server_default=false()),  # derive the state anew though no job moved
    _moment("created_at", now=True),
    _moment("updated_at", now=True),
    CheckConstraint(_one_of("state", State), name="state"),
    CheckConstraint("visibility IN ('team', 'private')", name="visibility"),
    Index("ix_simulations_live", "created_at", postgresql_where=text(f"NOT ({_one_of('state', ENDED)})")),
    Index("ix_simulations_newest", text("created_at DESC"), text("id DESC")),
    Index("ix_simulations_stale", "id", postgresql_where=text("stale")),
)

jobs = Table(
    "jobs", metadata,
    Column("id", UUID, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("owner", UUID, ForeignKey("users.id", ondelete="SET NULL")),
    Column("simulation", UUID, ForeignKey("simulations.id", ondelete="CASCADE")),  # of instances alone
    Column("index", Integer),
    Column("bundle", UUID, ForeignKey("bundles.id", ondelete="CASCADE", use_alter=True)),  # what the others work on
    Column("program", JSONB(none_as_null=True)),  # of those that have no simulation to say it
    Column("parameters", JSONB, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False, server_default=text("0")),
    Column("attempt", Integer, nullable=False, server_default=text("1")),
    Column("outcome", Text),  # 'success' or a reason; written once an attempt, the first wins
    Column("message", Text),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),  # no automatic retry any more
    Column("exit_code", Integer),
    Column("passed", Boolean),
    Column("metrics", JSONB),
    Column("progress", JSONB),
    _moment("progress_at"),
    _moment("created_at", now=True),
    _moment("state_since", now=True),
    _moment("not_before"),  # an automatic retry waits until then
    _moment("queue_deadline"),
    _moment("due_at"),  # when the sweep sends this state's task again
    _moment("started_at"),
    _moment("ended_at"),
    UniqueConstraint("simulation", "index"),
    CheckConstraint(_one_of("kind", Kind), name="kind"),
    CheckConstraint("CASE WHEN kind = 'instance' THEN simulation IS NOT NULL AND index IS NOT NULL AND bundle IS NULL "
                    "AND program IS NULL ELSE simulation IS NULL AND index IS NULL AND bundle IS NOT NULL AND "
                    "program IS NOT NULL END", name="belongs"),
    CheckConstraint(_one_of("state", State), name="state"),
    Index("ix_jobs_queued", "simulation", "index", postgresql_where=text("state = 'QUEUED'")),
    Index("ix_jobs_waiting", "kind", "created_at", postgresql_where=text("state = 'QUEUED' AND simulation IS NULL")),
    Index("ix_jobs_bundle", "bundle", postgresql_where=text("bundle IS NOT NULL")),
    Index("ix_jobs_live", "id", postgresql_where=text(_one_of("state", LIVE))),
    Index("ix_jobs_queue_deadline", "queue_deadline",
          postgresql_where=text("state = 'QUEUED' AND queue_deadline IS NOT NULL")),
    Index("ix_jobs_newest", text("created_at DESC"), text("id DESC")),
)

attempts = Table(
    "attempts", metadata,
    Column("job", UUID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("counted", Boolean, nullable=False, server_default=true()),  # toward retry.max_attempts
    Column("host", Text),
    Column("boot", Text),
    Column("token_hash", Text),
    _moment("gate_passed_at"),
    _moment("started_at"),
    _moment("ended_at"),
    Column("exit_code", Integer),
    Column("outcome", Text),
    Column("message", Text),
    Column("salvages", SmallInteger, nullable=False, server_default=text("0")),
    Column("kept", Boolean, nullable=False, server_default=false()),  # its folder holds what did not arrive
    Column("facts", JSONB),  # what the recorder found, not yet trusted
    Column("log_tail", Text, nullable=False, server_default=""),
    Column("log_end", BigInteger, nullable=False, server_default=text("0")),  # bytes of log seen so far
    Column("log_key", Text),  # the whole log in object storage, when the tail is not all of it
    Column("files", JSONB, nullable=False, server_default=text("'[]'")),  # recorded files that are no bag
    Column("usage", JSONB),
    Column("address", JSONB),  # where a player listens: url, token, websocket_url
)

events = Table(
    "events", metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("number", BigInteger, unique=True),  # dense and in commit order; null until number_events has seen it
    Column("simulation", UUID, ForeignKey("simulations.id", ondelete="CASCADE")),
    Column("job", UUID, ForeignKey("jobs.id", ondelete="CASCADE")),
    Column("kind", Text, nullable=False),
    Column("owner", UUID),
    Column("actor", Text, nullable=False),
    Column("from_state", Text),
    Column("to_state", Text, nullable=False),
    Column("reason", Text),
    Column("attempt", Integer),
    Column("passed", Boolean),
    _moment("at", now=True),
    Index("ix_events_unnumbered", "id", postgresql_where=text("number IS NULL")),
    Index("ix_events_simulation", "simulation", "number"),
    Index("ix_events_job", "job", "number"),
)

# Content, held once. The sha256 is what a recorder said, the etag is object storage's own: only together do they tell
# that two contents are one.
blobs = Table(
    "blobs", metadata,
    Column("key", Text, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("etag", Text, nullable=False),
    UniqueConstraint("sha256", "size", "etag"),
)

bundles = Table(
    "bundles", metadata,
    Column("id", UUID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("owner", UUID, ForeignKey("users.id", ondelete="SET NULL")),
    Column("visibility", Text, nullable=False),
    Column("labels", JSONB, nullable=False, server_default=text("'{}'")),
    Column("job", UUID, ForeignKey("jobs.id", ondelete="SET NULL")),
    Column("attempt", Integer),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("digest", Text, nullable=False),
    Column("storage", Text),
    Column("messages", BigInteger, nullable=False, server_default=text("0")),
    Column("start_ns", BigInteger),
    Column("end_ns", BigInteger),
    Column("duration_seconds", Float),
    Column("problems", JSONB, nullable=False, server_default=text("'[]'")),
    Column("certificate", JSONB),
    Column("index_key", Text),  # the sidecar index in object storage, null when nothing of it can be read
    _moment("created_at", now=True),
    CheckConstraint(_one_of("state", BundleState), name="state"),
    Index("ix_bundles_job", "job"),
    Index("ix_bundles_digest", "digest"),
    Index("ix_bundles_newest", text("created_at DESC"), text("id DESC")),
)

bundle_files = Table(
    "bundle_files", metadata,
    Column("bundle", UUID, ForeignKey("bundles.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("key", Text, ForeignKey("blobs.key"), nullable=False),
    Column("sha256", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("role", Text, nullable=False),
)

bundle_uploads = Table(  # what was announced; gone once the bundle has its files
    "bundle_uploads", metadata,
    Column("bundle", UUID, ForeignKey("bundles.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("place", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("upload_id", Text, nullable=False),
    Column("part_size", BigInteger, nullable=False),
)

bundle_topics = Table(
    "bundle_topics", metadata,
    Column("bundle", UUID, ForeignKey("bundles.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("type", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("frequency_hz", Float),
    Column("first_ns", BigInteger),
    Column("last_ns", BigInteger),
    Column("decodable", Boolean, nullable=False),
)
