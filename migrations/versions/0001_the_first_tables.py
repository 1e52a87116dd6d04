"""the first tables"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
revision = '0001'
down_revision = None


def upgrade() -> None:
    op.create_table('blobs',
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('sha256', sa.Text(), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('etag', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_blobs')),
    sa.UniqueConstraint('sha256', 'size', 'etag', name=op.f('uq_blobs_sha256_size_etag'))
    )
    op.create_table('installation',
    sa.Column('id', sa.UUID(), server_default=sa.text('gen_random_uuid()'), nullable=False),
    sa.Column('admission_open', sa.Boolean(), server_default=sa.text('true'), nullable=False),
    sa.Column('last_event', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_installation'))
    )
    op.create_table('leases',
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('holder', sa.Text(), nullable=False),
    sa.Column('epoch', sa.BigInteger(), nullable=False),
    sa.Column('until', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_leases'))
    )
    op.create_table('users',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('email', sa.Text(), nullable=False),
    sa.Column('password_hash', sa.Text(), nullable=False),
    sa.Column('role', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name=op.f('ck_users_role')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_users')),
    sa.UniqueConstraint('email', name=op.f('uq_users_email'))
    )
    op.create_table('idempotency_keys',
    sa.Column('owner', sa.UUID(), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('request', sa.Text(), nullable=False),
    sa.Column('status', sa.SmallInteger(), nullable=False),
    sa.Column('body', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.ForeignKeyConstraint(['owner'], ['users.id'], name=op.f('fk_idempotency_keys_owner'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('owner', 'key', name=op.f('pk_idempotency_keys'))
    )
    op.create_table('simulations',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('owner', sa.UUID(), nullable=True),
    sa.Column('visibility', sa.Text(), nullable=False),
    sa.Column('labels', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('template', sa.Text(), nullable=False),
    sa.Column('template_version', sa.Integer(), nullable=False),
    sa.Column('spec', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('program', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('seed', sa.BigInteger(), nullable=False),
    sa.Column('priority', sa.SmallInteger(), nullable=False),
    sa.Column('max_parallel', sa.Integer(), nullable=True),
    sa.Column('total', sa.Integer(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('counts', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('verdicts', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('stop_requested', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('stale', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.CheckConstraint("state IN ('CANCELLED', 'COLLECTING', 'FAILED', 'QUEUED', 'RUNNING', 'STARTING', 'STOPPING', 'SUCCEEDED')", name=op.f('ck_simulations_state')),
    sa.CheckConstraint("visibility IN ('team', 'private')", name=op.f('ck_simulations_visibility')),
    sa.ForeignKeyConstraint(['owner'], ['users.id'], name=op.f('fk_simulations_owner'), ondelete='SET NULL'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_simulations'))
    )
    op.create_index('ix_simulations_live', 'simulations', ['created_at'], unique=False, postgresql_where=sa.text("NOT (state IN ('CANCELLED', 'FAILED', 'SUCCEEDED'))"))
    op.create_index('ix_simulations_newest', 'simulations', [sa.literal_column('created_at DESC'), sa.literal_column('id DESC')], unique=False)
    op.create_index('ix_simulations_stale', 'simulations', ['id'], unique=False, postgresql_where=sa.text('stale'))
    op.create_table('templates',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('owner', sa.UUID(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.ForeignKeyConstraint(['owner'], ['users.id'], name=op.f('fk_templates_owner'), ondelete='SET NULL'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_templates')),
    sa.UniqueConstraint('name', name=op.f('uq_templates_name'))
    )
    op.create_table('jobs',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('owner', sa.UUID(), nullable=True),
    sa.Column('simulation', sa.UUID(), nullable=False),
    sa.Column('index', sa.Integer(), nullable=False),
    sa.Column('parameters', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('seed', sa.BigInteger(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('version', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('attempt', sa.Integer(), server_default=sa.text('1'), nullable=False),
    sa.Column('outcome', sa.Text(), nullable=True),
    sa.Column('message', sa.Text(), nullable=True),
    sa.Column('cancel_requested', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('exit_code', sa.Integer(), nullable=True),
    sa.Column('passed', sa.Boolean(), nullable=True),
    sa.Column('metrics', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('progress', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('progress_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.Column('state_since', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.Column('not_before', sa.DateTime(timezone=True), nullable=True),
    sa.Column('queue_deadline', sa.DateTime(timezone=True), nullable=True),
    sa.Column('due_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("kind IN ('instance')", name=op.f('ck_jobs_kind')),
    sa.CheckConstraint("state IN ('CANCELLED', 'COLLECTING', 'FAILED', 'QUEUED', 'RUNNING', 'STARTING', 'STOPPING', 'SUCCEEDED')", name=op.f('ck_jobs_state')),
    sa.ForeignKeyConstraint(['owner'], ['users.id'], name=op.f('fk_jobs_owner'), ondelete='SET NULL'),
    sa.ForeignKeyConstraint(['simulation'], ['simulations.id'], name=op.f('fk_jobs_simulation'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_jobs')),
    sa.UniqueConstraint('simulation', 'index', name=op.f('uq_jobs_simulation_index'))
    )
    op.create_index('ix_jobs_live', 'jobs', ['id'], unique=False, postgresql_where=sa.text("state IN ('COLLECTING', 'RUNNING', 'STARTING', 'STOPPING')"))
    op.create_index('ix_jobs_newest', 'jobs', [sa.literal_column('created_at DESC'), sa.literal_column('id DESC')], unique=False)
    op.create_index('ix_jobs_queue_deadline', 'jobs', ['queue_deadline'], unique=False, postgresql_where=sa.text("state = 'QUEUED' AND queue_deadline IS NOT NULL"))
    op.create_index('ix_jobs_queued', 'jobs', ['simulation', 'index'], unique=False, postgresql_where=sa.text("state = 'QUEUED'"))
    op.create_table('template_versions',
    sa.Column('template', sa.UUID(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('spec', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.ForeignKeyConstraint(['template'], ['templates.id'], name=op.f('fk_template_versions_template'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('template', 'version', name=op.f('pk_template_versions'))
    )
    op.create_table('attempts',
    sa.Column('job', sa.UUID(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('counted', sa.Boolean(), server_default=sa.text('true'), nullable=False),
    sa.Column('host', sa.Text(), nullable=True),
    sa.Column('boot', sa.Text(), nullable=True),
    sa.Column('token_hash', sa.Text(), nullable=True),
    sa.Column('gate_passed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('exit_code', sa.Integer(), nullable=True),
    sa.Column('outcome', sa.Text(), nullable=True),
    sa.Column('message', sa.Text(), nullable=True),
    sa.Column('salvages', sa.SmallInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('kept', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('facts', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('log_tail', sa.Text(), server_default='', nullable=False),
    sa.Column('log_end', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('log_key', sa.Text(), nullable=True),
    sa.Column('files', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
    sa.Column('usage', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.ForeignKeyConstraint(['job'], ['jobs.id'], name=op.f('fk_attempts_job'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('job', 'number', name=op.f('pk_attempts'))
    )
    op.create_table('bundles',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('owner', sa.UUID(), nullable=True),
    sa.Column('visibility', sa.Text(), nullable=False),
    sa.Column('labels', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('job', sa.UUID(), nullable=True),
    sa.Column('attempt', sa.Integer(), nullable=True),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('digest', sa.Text(), nullable=False),
    sa.Column('storage', sa.Text(), nullable=True),
    sa.Column('messages', sa.BigInteger(), nullable=False),
    sa.Column('start_ns', sa.BigInteger(), nullable=True),
    sa.Column('end_ns', sa.BigInteger(), nullable=True),
    sa.Column('duration_seconds', sa.Float(), nullable=True),
    sa.Column('problems', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('certificate', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.CheckConstraint("state IN ('READY', 'DAMAGED', 'REJECTED')", name=op.f('ck_bundles_state')),
    sa.ForeignKeyConstraint(['job'], ['jobs.id'], name=op.f('fk_bundles_job'), ondelete='SET NULL'),
    sa.ForeignKeyConstraint(['owner'], ['users.id'], name=op.f('fk_bundles_owner'), ondelete='SET NULL'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_bundles'))
    )
    op.create_index('ix_bundles_job', 'bundles', ['job'], unique=False)
    op.create_index('ix_bundles_newest', 'bundles', [sa.literal_column('created_at DESC'), sa.literal_column('id DESC')], unique=False)
    op.create_table('events',
    sa.Column('id', sa.BigInteger(), autoincrement=True, nullable=False),
    sa.Column('number', sa.BigInteger(), nullable=True),
    sa.Column('simulation', sa.UUID(), nullable=False),
    sa.Column('job', sa.UUID(), nullable=True),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('owner', sa.UUID(), nullable=True),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('from_state', sa.Text(), nullable=True),
    sa.Column('to_state', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('attempt', sa.Integer(), nullable=True),
    sa.Column('passed', sa.Boolean(), nullable=True),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.ForeignKeyConstraint(['job'], ['jobs.id'], name=op.f('fk_events_job'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['simulation'], ['simulations.id'], name=op.f('fk_events_simulation'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_events')),
    sa.UniqueConstraint('number', name=op.f('uq_events_number'))
    )
    op.create_index('ix_events_job', 'events', ['job', 'number'], unique=False)
    op.create_index('ix_events_simulation', 'events', ['simulation', 'number'], unique=False)
    op.create_index('ix_events_unnumbered', 'events', ['id'], unique=False, postgresql_where=sa.text('number IS NULL'))
    op.create_table('bundle_files',
    sa.Column('bundle', sa.UUID(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('sha256', sa.Text(), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('role', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['bundle'], ['bundles.id'], name=op.f('fk_bundle_files_bundle'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['key'], ['blobs.key'], name=op.f('fk_bundle_files_key')),
    sa.PrimaryKeyConstraint('bundle', 'name', name=op.f('pk_bundle_files'))
    )
    op.create_table('bundle_topics',
    sa.Column('bundle', sa.UUID(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('type', sa.Text(), nullable=False),
    sa.Column('count', sa.BigInteger(), nullable=False),
    sa.Column('frequency_hz', sa.Float(), nullable=True),
    sa.Column('first_ns', sa.BigInteger(), nullable=True),
    sa.Column('last_ns', sa.BigInteger(), nullable=True),
    sa.Column('decodable', sa.Boolean(), nullable=False),
    sa.ForeignKeyConstraint(['bundle'], ['bundles.id'], name=op.f('fk_bundle_topics_bundle'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('bundle', 'name', 'type', name=op.f('pk_bundle_topics'))
    )
    op.execute("INSERT INTO installation DEFAULT VALUES")


def downgrade() -> None:
    op.drop_table('bundle_topics')
    op.drop_table('bundle_files')
    op.drop_index('ix_events_unnumbered', table_name='events', postgresql_where=sa.text('number IS NULL'))
    op.drop_index('ix_events_simulation', table_name='events')
    op.drop_index('ix_events_job', table_name='events')
    op.drop_table('events')
    op.drop_index('ix_bundles_newest', table_name='bundles')
    op.drop_index('ix_bundles_job', table_name='bundles')
    op.drop_table('bundles')
    op.drop_table('attempts')
    op.drop_table('template_versions')
    op.drop_index('ix_jobs_queued', table_name='jobs', postgresql_where=sa.text("state = 'QUEUED'"))
    op.drop_index('ix_jobs_queue_deadline', table_name='jobs', postgresql_where=sa.text("state = 'QUEUED' AND queue_deadline IS NOT NULL"))
    op.drop_index('ix_jobs_newest', table_name='jobs')
    op.drop_index('ix_jobs_live', table_name='jobs', postgresql_where=sa.text("state IN ('COLLECTING', 'RUNNING', 'STARTING', 'STOPPING')"))
    op.drop_table('jobs')
    op.drop_table('templates')
    op.drop_index('ix_simulations_stale', table_name='simulations', postgresql_where=sa.text('stale'))
    op.drop_index('ix_simulations_newest', table_name='simulations')
    op.drop_index('ix_simulations_live', table_name='simulations', postgresql_where=sa.text("NOT (state IN ('CANCELLED', 'FAILED', 'SUCCEEDED'))"))
    op.drop_table('simulations')
    op.drop_table('idempotency_keys')
    op.drop_table('users')
    op.drop_table('leases')
    op.drop_table('installation')
    op.drop_table('blobs')
