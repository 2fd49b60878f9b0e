"""Hold calls for approval."""

import sqlalchemy as sa
from alembic import op

revision = '0025'
down_revision = '0024'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('held_calls',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('status', sa.String(length=10), nullable=False),
    sa.Column('fingerprint', sa.String(length=64), nullable=False),
    sa.Column('reason', sa.String(length=10), nullable=False),
    sa.Column('rule', sa.String(length=200), nullable=False),
    sa.Column('user_id', sa.BigInteger(), nullable=True),
    sa.Column('key_id', sa.BigInteger(), nullable=True),
    sa.Column('project', sa.String(length=100), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('operation', sa.String(length=20), nullable=False),
    sa.Column('stream', sa.Boolean(), nullable=False),
    sa.Column('cost_nano', sa.BigInteger(), nullable=True),
    sa.Column('preview', sa.Text(), nullable=False),
    sa.Column('keeps_preview', sa.Boolean(), nullable=False),
    sa.Column('trace_id', sa.String(length=64), nullable=False),
    sa.Column('request_id', sa.String(length=128), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('expires_at', sa.BigInteger(), nullable=False),
    sa.Column('alive_until', sa.BigInteger(), nullable=False),
    sa.Column('ended_at', sa.BigInteger(), nullable=True),
    sa.Column('decided_by', sa.String(length=40), nullable=False),
    sa.Column('note', sa.String(length=500), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_held_calls_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_held_calls')),
    sqlite_autoincrement=True
    )
    with op.batch_alter_table('held_calls', schema=None) as batch_op:
        batch_op.create_index('ix_held_calls_created_at', ['created_at'], unique=False)
        batch_op.create_index('ix_held_calls_fingerprint', ['fingerprint', 'ended_at'], unique=False)
        batch_op.create_index('ix_held_calls_status', ['status', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_held_calls_user_id'), ['user_id'], unique=False)


def downgrade() -> None:
    with op.batch_alter_table('held_calls', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_held_calls_user_id'))
        batch_op.drop_index('ix_held_calls_status')
        batch_op.drop_index('ix_held_calls_fingerprint')
        batch_op.drop_index('ix_held_calls_created_at')

    op.drop_table('held_calls')
