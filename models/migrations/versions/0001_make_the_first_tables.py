"""Make the first tables."""

import sqlalchemy as sa
from alembic import op

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('module_states',
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('enabled', sa.Boolean(), nullable=False),
    sa.Column('priority', sa.BigInteger(), nullable=False),
    sa.Column('config', sa.JSON(), nullable=False),
    sa.Column('version', sa.BigInteger(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_module_states'))
    )
    op.create_table('provider_health',
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('status', sa.String(length=20), nullable=False),
    sa.Column('latency_ms', sa.BigInteger(), nullable=True),
    sa.Column('error', sa.String(length=500), nullable=True),
    sa.Column('checked_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_provider_health'))
    )
    op.create_table('rate_windows',
    sa.Column('key', sa.String(length=32), nullable=False),
    sa.Column('hits', sa.BigInteger(), nullable=False),
    sa.Column('ends_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_rate_windows'))
    )
    with op.batch_alter_table('rate_windows', schema=None) as batch_op:
        batch_op.create_index('ix_rate_windows_ends_at', ['ends_at'], unique=False)

    op.create_table('revisions',
    sa.Column('id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('number', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_revisions'))
    )
    op.create_table('routes',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('path', sa.String(length=256), nullable=False),
    sa.Column('method', sa.String(length=10), nullable=False),
    sa.Column('provider', sa.String(length=64), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('priority', sa.BigInteger(), nullable=False),
    sa.Column('enabled', sa.Boolean(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_routes')),
    sa.UniqueConstraint('path', name=op.f('uq_routes_path'))
    )
    op.create_table('spend_rollups',
    sa.Column('day', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('scope', sa.String(length=10), nullable=False),
    sa.Column('ref', sa.String(length=200), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('requests', sa.BigInteger(), nullable=False),
    sa.Column('unpriced', sa.BigInteger(), nullable=False),
    sa.Column('tokens_in', sa.BigInteger(), nullable=False),
    sa.Column('tokens_out', sa.BigInteger(), nullable=False),
    sa.Column('cost_nano', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('day', 'scope', 'ref', 'model', name=op.f('pk_spend_rollups'))
    )
    with op.batch_alter_table('spend_rollups', schema=None) as batch_op:
        batch_op.create_index('ix_spend_rollups_scope', ['scope', 'ref', 'day'], unique=False)

    op.create_table('trace_bodies',
    sa.Column('seq', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('request', sa.LargeBinary(), nullable=True),
    sa.Column('response', sa.LargeBinary(), nullable=True),
    sa.PrimaryKeyConstraint('seq', name=op.f('pk_trace_bodies'))
    )
    op.create_table('trace_tags',
    sa.Column('tag', sa.String(length=200), nullable=False),
    sa.Column('seq', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.PrimaryKeyConstraint('tag', 'seq', name=op.f('pk_trace_tags')),
    sqlite_with_rowid=False
    )
    op.create_table('trace_counts',
    sa.Column('source', sa.String(length=20), nullable=False),
    sa.Column('status', sa.String(length=20), nullable=False),
    sa.Column('provider', sa.String(length=64), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('project', sa.String(length=100), nullable=False),
    sa.Column('traces', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('source', 'status', 'provider', 'model', 'project', name=op.f('pk_trace_counts'))
    )
    op.create_table('traces',
    sa.Column('seq', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('request_id', sa.String(length=128), nullable=False),
    sa.Column('parent_id', sa.String(length=64), nullable=True),
    sa.Column('service', sa.String(length=64), nullable=False),
    sa.Column('operation', sa.String(length=64), nullable=False),
    sa.Column('provider', sa.String(length=64), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('status', sa.String(length=20), nullable=False),
    sa.Column('http_status', sa.BigInteger(), nullable=False),
    sa.Column('error', sa.String(length=1000), nullable=True),
    sa.Column('stream', sa.Boolean(), nullable=False),
    sa.Column('attempts', sa.BigInteger(), nullable=False),
    sa.Column('duration_us', sa.BigInteger(), nullable=False),
    sa.Column('first_byte_us', sa.BigInteger(), nullable=True),
    sa.Column('tokens_in', sa.BigInteger(), nullable=False),
    sa.Column('tokens_out', sa.BigInteger(), nullable=False),
    sa.Column('tokens_cached', sa.BigInteger(), nullable=False),
    sa.Column('tokens_reasoning', sa.BigInteger(), nullable=False),
    sa.Column('usage_source', sa.String(length=10), nullable=False),
    sa.Column('cost_nano', sa.BigInteger(), nullable=True),
    sa.Column('saved_nano', sa.BigInteger(), nullable=False),
    sa.Column('user_id', sa.BigInteger(), nullable=True),
    sa.Column('key_id', sa.BigInteger(), nullable=True),
    sa.Column('project', sa.String(length=100), nullable=False),
    sa.Column('source', sa.String(length=20), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('details', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('seq', name=op.f('pk_traces')),
    sa.UniqueConstraint('id', name=op.f('uq_traces_id')),
    sqlite_autoincrement=True
    )
    with op.batch_alter_table('traces', schema=None) as batch_op:
        batch_op.create_index('ix_traces_created_at', ['created_at', 'seq'], unique=False)
        batch_op.create_index('ix_traces_model', ['model', 'seq'], unique=False)
        batch_op.create_index('ix_traces_project', ['project', 'seq'], unique=False)
        batch_op.create_index('ix_traces_provider', ['provider', 'seq'], unique=False)
        batch_op.create_index('ix_traces_request_id', ['request_id', 'seq'], unique=False)
        batch_op.create_index('ix_traces_status', ['status', 'seq'], unique=False)
        batch_op.create_index('ix_traces_user_id', ['user_id', 'seq'], unique=False)

    op.create_table('usage_rollups',
    sa.Column('hour', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('provider', sa.String(length=64), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('requests', sa.BigInteger(), nullable=False),
    sa.Column('errors', sa.BigInteger(), nullable=False),
    sa.Column('cache_hits', sa.BigInteger(), nullable=False),
    sa.Column('unpriced', sa.BigInteger(), nullable=False),
    sa.Column('tokens_in', sa.BigInteger(), nullable=False),
    sa.Column('tokens_out', sa.BigInteger(), nullable=False),
    sa.Column('cost_nano', sa.BigInteger(), nullable=False),
    sa.Column('saved_nano', sa.BigInteger(), nullable=False),
    sa.Column('duration_us', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('hour', 'provider', 'model', name=op.f('pk_usage_rollups'))
    )
    op.create_table('usage_days',
    sa.Column('day', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('provider', sa.String(length=64), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('requests', sa.BigInteger(), nullable=False),
    sa.Column('errors', sa.BigInteger(), nullable=False),
    sa.Column('cache_hits', sa.BigInteger(), nullable=False),
    sa.Column('unpriced', sa.BigInteger(), nullable=False),
    sa.Column('tokens_in', sa.BigInteger(), nullable=False),
    sa.Column('tokens_out', sa.BigInteger(), nullable=False),
    sa.Column('cost_nano', sa.BigInteger(), nullable=False),
    sa.Column('saved_nano', sa.BigInteger(), nullable=False),
    sa.Column('duration_us', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('day', 'provider', 'model', name=op.f('pk_usage_days'))
    )
    op.create_table('users',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('email', sa.String(length=320), nullable=False),
    sa.Column('name', sa.String(length=200), nullable=False),
    sa.Column('tier', sa.String(length=20), nullable=False),
    sa.Column('uid', sa.String(length=36), nullable=False),
    sa.Column('password_hash', sa.String(length=200), nullable=True),
    sa.Column('email_verified', sa.Boolean(), nullable=False),
    sa.Column('is_active', sa.Boolean(), nullable=False),
    sa.Column('is_admin', sa.Boolean(), nullable=False),
    sa.Column('locale', sa.String(length=5), nullable=False),
    sa.Column('mfa_enabled', sa.Boolean(), nullable=False),
    sa.Column('mfa_secret', sa.String(length=500), nullable=True),
    sa.Column('mfa_counter', sa.BigInteger(), nullable=True),
    sa.Column('last_login_at', sa.BigInteger(), nullable=True),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_users')),
    sa.UniqueConstraint('email', name=op.f('uq_users_email')),
    sa.UniqueConstraint('uid', name=op.f('uq_users_uid'))
    )
    op.create_table('api_keys',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('user_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True),
    sa.Column('role', sa.String(length=10), nullable=False),
    sa.Column('key_hash', sa.String(length=64), nullable=False),
    sa.Column('hash_algorithm', sa.String(length=20), nullable=False),
    sa.Column('key_prefix', sa.String(length=32), nullable=False),
    sa.Column('name', sa.String(length=100), nullable=False),
    sa.Column('scopes', sa.String(length=200), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('expires_at', sa.BigInteger(), nullable=True),
    sa.Column('last_used', sa.BigInteger(), nullable=True),
    sa.Column('revoked_at', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_api_keys_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_api_keys')),
    sa.UniqueConstraint('key_hash', name=op.f('uq_api_keys_key_hash'))
    )
    with op.batch_alter_table('api_keys', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_api_keys_user_id'), ['user_id'], unique=False)
        batch_op.create_index('uq_api_keys_live_name', ['user_id', 'name'], unique=True, sqlite_where=sa.text('revoked_at IS NULL'), postgresql_where=sa.text('revoked_at IS NULL'))

    op.create_table('provider_keys',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('user_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('provider', sa.String(length=64), nullable=False),
    sa.Column('sealed_key', sa.String(length=4096), nullable=False),
    sa.Column('base_url', sa.String(length=2048), nullable=True),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_provider_keys_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_provider_keys'))
    )
    with op.batch_alter_table('provider_keys', schema=None) as batch_op:
        batch_op.create_index('uq_provider_keys_owner', ['user_id', 'provider'], unique=True)
    op.execute("INSERT INTO revisions (id, number) VALUES (1, 0)")


def downgrade() -> None:
    with op.batch_alter_table('provider_keys', schema=None) as batch_op:
        batch_op.drop_index('uq_provider_keys_owner')

    op.drop_table('provider_keys')
    with op.batch_alter_table('api_keys', schema=None) as batch_op:
        batch_op.drop_index('uq_api_keys_live_name', sqlite_where=sa.text('revoked_at IS NULL'), postgresql_where=sa.text('revoked_at IS NULL'))
        batch_op.drop_index(batch_op.f('ix_api_keys_user_id'))

    op.drop_table('api_keys')
    op.drop_table('users')
    op.drop_table('usage_days')
    op.drop_table('usage_rollups')
    with op.batch_alter_table('traces', schema=None) as batch_op:
        batch_op.drop_index('ix_traces_user_id')
        batch_op.drop_index('ix_traces_status')
        batch_op.drop_index('ix_traces_request_id')
        batch_op.drop_index('ix_traces_provider')
        batch_op.drop_index('ix_traces_project')
        batch_op.drop_index('ix_traces_model')
        batch_op.drop_index('ix_traces_created_at')

    op.drop_table('traces')
    op.drop_table('trace_counts')
    op.drop_table('trace_tags')
    op.drop_table('trace_bodies')
    with op.batch_alter_table('spend_rollups', schema=None) as batch_op:
        batch_op.drop_index('ix_spend_rollups_scope')

    op.drop_table('spend_rollups')
    op.drop_table('routes')
    op.drop_table('revisions')
    op.drop_table('rate_windows')
    op.drop_table('provider_health')
    op.drop_table('module_states')
