"""What alembic runs: takes DATABASE_URL from the environment and lets one process at a time migrate."""

import time

from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from shared.persistence.models import metadata
from shared.settings import DatabaseSettings, read

MIGRATION_LOCK = 0x51_4D_59_03


def run_online() -> None:
    """Migrate the database of the settings, under a polled lock (a waiting one would hold a snapshot open)."""
    engine = create_engine(read(DatabaseSettings).database_url.get_secret_value(), poolclass=NullPool)
    with engine.connect() as lock, engine.connect() as connection:
        while not lock.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": MIGRATION_LOCK}).scalar_one():
            lock.commit()
            time.sleep(0.2)
        context.configure(connection=connection, target_metadata=metadata, compare_server_default=False)
        with context.begin_transaction():
            context.run_migrations()


def run_offline() -> None:
    """Print the SQL instead (`alembic upgrade head --sql`)."""
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
