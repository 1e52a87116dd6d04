"""tokens, quotas and audit of people; archived templates; what is kept for how long"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0003'
down_revision = '0002'


def upgrade() -> None:
    op.add_column('installation', sa.Column('paused', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('users', sa.Column('disabled', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('users', sa.Column('session_version', sa.Integer(), server_default=sa.text('0'), nullable=False))
    op.add_column('users', sa.Column('max_running', sa.Integer(), nullable=True))
    op.add_column('users', sa.Column('max_queued', sa.Integer(), nullable=True))
    op.add_column('users', sa.Column('max_stored_bytes', sa.BigInteger(), nullable=True))
    op.add_column('users', sa.Column('deleted_at', sa.DateTime(timezone=True), nullable=True))
    op.drop_constraint(op.f('uq_users_email'), 'users')
    op.create_index('ix_users_email', 'users', ['email'], unique=True, postgresql_where=sa.text('deleted_at IS NULL'))
    op.create_table('api_tokens',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('owner', sa.UUID(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('digest', sa.Text(), nullable=False),
    sa.Column('scopes', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('last_used_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.ForeignKeyConstraint(['owner'], ['users.id'], name=op.f('fk_api_tokens_owner'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_api_tokens')),
    sa.UniqueConstraint('digest', name=op.f('uq_api_tokens_digest'))
    )
    op.create_index('ix_api_tokens_owner', 'api_tokens', ['owner'], unique=False)
    op.create_table('audit',
    sa.Column('id', sa.BigInteger(), autoincrement=True, nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.Column('user', sa.UUID(), nullable=True),
    sa.Column('email', sa.Text(), nullable=True),
    sa.Column('token', sa.UUID(), nullable=True),
    sa.Column('address', sa.Text(), nullable=True),
    sa.Column('method', sa.Text(), nullable=False),
    sa.Column('path', sa.Text(), nullable=False),
    sa.Column('status', sa.SmallInteger(), nullable=False),
    sa.Column('request', sa.Text(), nullable=False),
    sa.Column('detail', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_audit'))
    )
    op.create_index('ix_audit_at', 'audit', ['at'], unique=False)
    op.add_column('templates', sa.Column('archived_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('simulations', sa.Column('keep', sa.Text(), server_default='all', nullable=False))
    op.add_column('simulations', sa.Column('keep_days', sa.Integer(), nullable=True))
    op.add_column('simulations', sa.Column('deleted_at', sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(op.f('ck_simulations_keep'), 'simulations', "keep IN ('all', 'failed', 'none')")
    op.create_index('ix_simulations_owner', 'simulations',
                    ['owner', sa.literal_column('created_at DESC'), sa.literal_column('id DESC')], unique=False)
    op.create_index('ix_simulations_open', 'simulations',
                    ['owner', sa.literal_column('priority DESC'), 'created_at', 'id'], unique=False,
                    postgresql_where=sa.text("NOT (state IN ('CANCELLED', 'FAILED', 'SUCCEEDED')) "
                                             "AND NOT stop_requested"))
    op.create_index('ix_simulations_keep_days', 'simulations', ['updated_at'], unique=False,
                    postgresql_where=sa.text('keep_days IS NOT NULL'))
    op.create_index('ix_simulations_deleted', 'simulations', ['deleted_at'], unique=False,
                    postgresql_where=sa.text('deleted_at IS NOT NULL'))
    op.create_index('ix_jobs_owner', 'jobs', ['owner'], unique=False, postgresql_where=sa.text('owner IS NOT NULL'))
    op.create_index('ix_jobs_queued_owner', 'jobs', ['owner'], unique=False,
                    postgresql_where=sa.text("state = 'QUEUED' AND kind = 'instance'"))
    op.create_index('ix_jobs_ended', 'jobs', ['ended_at'], unique=False,
                    postgresql_where=sa.text('ended_at IS NOT NULL'))
    op.create_index('ix_jobs_tally', 'jobs', ['kind', 'state'], unique=False,
                    postgresql_where=sa.text("state IN ('CANCELLED', 'FAILED', 'SUCCEEDED')"))
    op.add_column('template_versions', sa.Column('images', postgresql.JSONB(astext_type=sa.Text()),
                                                 server_default=sa.text("'{}'"), nullable=False))
    op.add_column('attempts', sa.Column('image_digest', sa.Text(), nullable=True))
    op.add_column('bundles', sa.Column('size', sa.BigInteger(), server_default=sa.text('0'), nullable=False))
    op.add_column('bundles', sa.Column('hold', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('bundles', sa.Column('keep_days', sa.Integer(), nullable=True))
    op.add_column('bundles', sa.Column('deleted_at', sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE bundles SET size = coalesce("
               "(SELECT sum(size) FROM bundle_files WHERE bundle = bundles.id), "
               "(SELECT sum(size) FROM bundle_uploads WHERE bundle = bundles.id), 0)")
    op.create_index('ix_bundles_owner', 'bundles', ['owner'], unique=False,
                    postgresql_include=['size', 'deleted_at'])
    op.create_index('ix_bundles_keep_days', 'bundles', ['created_at'], unique=False,
                    postgresql_where=sa.text('keep_days IS NOT NULL'))
    op.create_index('ix_bundles_deleted', 'bundles', ['deleted_at'], unique=False,
                    postgresql_where=sa.text('deleted_at IS NOT NULL'))
    op.create_index('ix_bundles_held', 'bundles', ['job'], unique=False, postgresql_where=sa.text('hold'))
    op.create_index('ix_bundles_index_key', 'bundles', ['index_key'], unique=False,
                    postgresql_where=sa.text('index_key IS NOT NULL'))
    op.create_index('ix_bundle_files_key', 'bundle_files', ['key'], unique=False)
    op.create_table('garbage',
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('since', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_garbage'))
    )
    op.create_index('ix_garbage_since', 'garbage', ['since'], unique=False)


def downgrade() -> None:
    op.drop_table('garbage')
    op.drop_index('ix_bundle_files_key', 'bundle_files')
    for index in ('ix_bundles_index_key', 'ix_bundles_held', 'ix_bundles_deleted', 'ix_bundles_keep_days',
                  'ix_bundles_owner'):
        op.drop_index(index, 'bundles')
    for column in ('deleted_at', 'keep_days', 'hold', 'size'):
        op.drop_column('bundles', column)
    op.drop_index('ix_jobs_tally', 'jobs')
    op.drop_index('ix_jobs_ended', 'jobs')
    op.drop_index('ix_jobs_queued_owner', 'jobs')
    op.drop_index('ix_jobs_owner', 'jobs')
    for index in ('ix_simulations_deleted', 'ix_simulations_keep_days', 'ix_simulations_open', 'ix_simulations_owner'):
        op.drop_index(index, 'simulations')
    op.drop_constraint(op.f('ck_simulations_keep'), 'simulations')
    for column in ('deleted_at', 'keep_days', 'keep'):
        op.drop_column('simulations', column)
    op.drop_column('templates', 'archived_at')
    op.drop_column('template_versions', 'images')
    op.drop_column('attempts', 'image_digest')
    op.drop_table('audit')
    op.drop_table('api_tokens')
    op.drop_index('ix_users_email', 'users')
    op.execute('DELETE FROM users WHERE deleted_at IS NOT NULL')
    op.create_unique_constraint(op.f('uq_users_email'), 'users', ['email'])
    for column in ('deleted_at', 'max_stored_bytes', 'max_queued', 'max_running', 'session_version', 'disabled'):
        op.drop_column('users', column)
    op.drop_column('installation', 'paused')
