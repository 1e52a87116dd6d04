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
    Column("admission_open", Boolean, nullable=False, server_default=true()),  # the stack's word: it is up
    Column("paused", Boolean, nullable=False, server_default=false()),  # an admin's word
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
    Column("email", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("disabled", Boolean, nullable=False, server_default=false()),
    Column("session_version", Integer, nullable=False, server_default=text("0")),  # logins of another one are void
    Column("max_running", Integer),  # null: the operator's default
    Column("max_queued", Integer),
    Column("max_stored_bytes", BigInteger),
    _moment("deleted_at"),  # nobody's from then on; the row goes last, when nothing names it as owner
    _moment("created_at", now=True),
    CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),
    Index("ix_users_email", "email", unique=True, postgresql_where=text("deleted_at IS NULL")),
)

api_tokens = Table(
    "api_tokens", metadata,
    Column("id", UUID, primary_key=True),
    Column("owner", UUID, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),  # sha256 of the token, which is kept nowhere
    Column("scopes", JSONB, nullable=False),
    _moment("expires_at"),
    _moment("last_used_at"),
    _moment("created_at", now=True),
    Index("ix_api_tokens_owner", "owner"),
)

audit = Table(  # what people did, or tried and were not let; outlives them
    "audit", metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    _moment("at", now=True),
    Column("user", UUID),
    Column("email", Text),
    Column("token", UUID),  # the API token by which it was done
    Column("address", Text),
    Column("method", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("request", Text, nullable=False),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'")),
    Index("ix_audit_at", "at"),
)

idempotency_keys = Table(  # written in the transaction that creates what the answer names
    "idempotency_keys", metadata,
    Column("owner", UUID, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request", Text, nullable=False),  # HMAC-SHA-256 of route and body
    Column("status", SmallInteger, nullable=False),
    Column("body", JSONB, nullable=False),
    _moment("created_at", now=True),
)

templates = Table(
    "templates", metadata,
    Column("id", UUID, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("owner", UUID, ForeignKey("users.id", ondelete="SET NULL")),
    _moment("archived_at"),
    _moment("created_at", now=True),
)

template_versions = Table(
    "template_versions", metadata,
    Column("template", UUID, ForeignKey("templates.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("spec", JSONB, nullable=False),
    Column("images", JSONB, nullable=False, server_default=text("'{}'")),  # what they are, as each is stated
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
    Column("keep", Text, nullable=False, server_default="all"),  # whose recordings: 'all', 'failed' or 'none'
    Column("keep_days", Integer),  # after its end; null is for ever
    _moment("deleted_at"),  # seen by nobody from then on; the rows go in batches
    _moment("created_at", now=True),
    _moment("updated_at", now=True),
    CheckConstraint(_one_of("state", State), name="state"),
    CheckConstraint("visibility IN ('team', 'private')", name="visibility"),
    CheckConstraint("keep IN ('all', 'failed', 'none')", name="keep"),
    Index("ix_simulations_owner", "owner", text("created_at DESC"), text("id DESC")),
    Index("ix_simulations_open", "owner", text("priority DESC"), "created_at", "id",
          postgresql_where=text(f"NOT ({_one_of('state', ENDED)}) AND NOT stop_requested")),
    Index("ix_simulations_keep_days", "updated_at", postgresql_where=text("keep_days IS NOT NULL")),
    Index("ix_simulations_deleted", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
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
    Index("ix_jobs_owner", "owner", postgresql_where=text("owner IS NOT NULL")),
    Index("ix_jobs_queued_owner", "owner", postgresql_where=text("state = 'QUEUED' AND kind = 'instance'")),
    Index("ix_jobs_ended", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    # So that the ended, of whom there may be millions, are counted without being looked at: 7 bytes each.
    Index("ix_jobs_tally", "kind", "state", postgresql_where=text(_one_of("state", ENDED))),
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
    Column("image_digest", Text),  # of the main container, as the node told of it
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
    Column("size", BigInteger, nullable=False, server_default=text("0")),  # of its files, or of those announced
    Column("hold", Boolean, nullable=False, server_default=false()),  # nothing and nobody deletes it
    Column("keep_days", Integer),
    _moment("deleted_at"),
    _moment("created_at", now=True),
    CheckConstraint(_one_of("state", BundleState), name="state"),
    Index("ix_bundles_job", "job"),
    # So that a user's bytes are summed without looking at his bundles.
    Index("ix_bundles_owner", "owner", postgresql_include=["size", "deleted_at"]),
    Index("ix_bundles_keep_days", "created_at", postgresql_where=text("keep_days IS NOT NULL")),
    Index("ix_bundles_deleted", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    Index("ix_bundles_held", "job", postgresql_where=text("hold")),
    Index("ix_bundles_index_key", "index_key", postgresql_where=text("index_key IS NOT NULL")),
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
    Index("ix_bundle_files_key", "key"),
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

garbage = Table(  # objects that nothing stands behind any more; the row goes once the object has
    "garbage", metadata,
    Column("key", Text, primary_key=True),  # one that ends with / is all that lies below it
    _moment("since", now=True),
    Index("ix_garbage_since", "since"),
)
