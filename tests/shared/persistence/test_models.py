"""The migrations make what the models say."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from shared.persistence.database import Database
from shared.persistence.models import metadata


def test_the_migrations_make_the_tables_of_the_models(database: Database) -> None:
    with database.transaction() as tx:
        assert compare_metadata(MigrationContext.configure(tx), metadata) == []
