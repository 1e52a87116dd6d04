"""jobs that have no simulation, and bundles that are uploaded"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0002'
down_revision = '0001'

JOB_KINDS = "kind IN ('ingest', 'instance', 'playback')"
JOB_BELONGS = ("CASE WHEN kind = 'instance' THEN simulation IS NOT NULL AND index IS NOT NULL AND bundle IS NULL AND "
               "program IS NULL ELSE simulation IS NULL AND index IS NULL AND bundle IS NOT NULL AND "
               "program IS NOT NULL END")
BUNDLE_STATES = "state IN ('DAMAGED', 'FAILED', 'INGESTING', 'READY', 'REJECTED', 'UPLOADING')"


def upgrade() -> None:
    op.alter_column('jobs', 'simulation', nullable=True)
    op.alter_column('jobs', 'index', nullable=True)
    op.alter_column('events', 'simulation', nullable=True)
    op.add_column('jobs', sa.Column('bundle', sa.UUID(), nullable=True))
    op.add_column('jobs', sa.Column('program', postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_foreign_key(op.f('fk_jobs_bundle'), 'jobs', 'bundles', ['bundle'], ['id'], ondelete='CASCADE')
    op.drop_constraint(op.f('ck_jobs_kind'), 'jobs')
    op.create_check_constraint(op.f('ck_jobs_kind'), 'jobs', JOB_KINDS)
    op.create_check_constraint(op.f('ck_jobs_belongs'), 'jobs', JOB_BELONGS)
    op.create_index('ix_jobs_waiting', 'jobs', ['kind', 'created_at'], unique=False,
                    postgresql_where=sa.text("state = 'QUEUED' AND simulation IS NULL"))
    op.create_index('ix_jobs_bundle', 'jobs', ['bundle'], unique=False, postgresql_where=sa.text("bundle IS NOT NULL"))
    op.add_column('bundles', sa.Column('index_key', sa.Text(), nullable=True))
    op.alter_column('bundles', 'messages', server_default=sa.text('0'))
    op.alter_column('bundles', 'problems', server_default=sa.text("'[]'"))
    op.drop_constraint(op.f('ck_bundles_state'), 'bundles')
    op.create_check_constraint(op.f('ck_bundles_state'), 'bundles', BUNDLE_STATES)
    op.create_index('ix_bundles_digest', 'bundles', ['digest'], unique=False)
    op.add_column('attempts', sa.Column('address', postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_table('bundle_uploads',
    sa.Column('bundle', sa.UUID(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('place', sa.Integer(), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('sha256', sa.Text(), nullable=False),
    sa.Column('upload_id', sa.Text(), nullable=False),
    sa.Column('part_size', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['bundle'], ['bundles.id'], name=op.f('fk_bundle_uploads_bundle'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('bundle', 'name', name=op.f('pk_bundle_uploads'))
    )


def downgrade() -> None:
    op.execute("DELETE FROM jobs WHERE kind <> 'instance'")
    op.execute("DELETE FROM bundles WHERE state NOT IN ('READY', 'DAMAGED', 'REJECTED')")
    op.drop_table('bundle_uploads')
    op.drop_column('attempts', 'address')
    op.drop_index('ix_bundles_digest', 'bundles')
    op.drop_constraint(op.f('ck_bundles_state'), 'bundles')
    op.create_check_constraint(op.f('ck_bundles_state'), 'bundles', "state IN ('READY', 'DAMAGED', 'REJECTED')")
    op.alter_column('bundles', 'problems', server_default=None)
    op.alter_column('bundles', 'messages', server_default=None)
    op.drop_column('bundles', 'index_key')
    op.drop_index('ix_jobs_bundle', 'jobs')
    op.drop_index('ix_jobs_waiting', 'jobs')
    op.drop_constraint(op.f('ck_jobs_belongs'), 'jobs')
    op.drop_constraint(op.f('ck_jobs_kind'), 'jobs')
    op.create_check_constraint(op.f('ck_jobs_kind'), 'jobs', "kind IN ('instance')")
    op.drop_column('jobs', 'program')
    op.drop_column('jobs', 'bundle')
    op.alter_column('events', 'simulation', nullable=False)
    op.alter_column('jobs', 'index', nullable=False)
    op.alter_column('jobs', 'simulation', nullable=False)
