"""Relay webhooks to models."""

import sqlalchemy as sa
from alembic import op

revision = '0030'
down_revision = '0029'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('relay_deliveries',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('uid', sa.String(length=40), nullable=False),
    sa.Column('relay', sa.String(length=64), nullable=False),
    sa.Column('message', sa.String(length=200), nullable=False),
    sa.Column('user_id', sa.BigInteger(), nullable=False),
    sa.Column('project', sa.String(length=100), nullable=False),
    sa.Column('model', sa.String(length=200), nullable=False),
    sa.Column('max_tokens', sa.BigInteger(), nullable=False),
    sa.Column('sealed_prompt', sa.Text(), nullable=True),
    sa.Column('status', sa.String(length=10), nullable=False),
    sa.Column('turns', sa.BigInteger(), nullable=False),
    sa.Column('trace_id', sa.String(length=64), nullable=True),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('ended_at', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_relay_deliveries_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_relay_deliveries')),
    sa.UniqueConstraint('uid', name=op.f('uq_relay_deliveries_uid')),
    sqlite_autoincrement=True
    )
    with op.batch_alter_table('relay_deliveries', schema=None) as batch_op:
        batch_op.create_index('ix_relay_deliveries_created_at', ['created_at'], unique=False)
        batch_op.create_index('ix_relay_deliveries_relay_created_at', ['relay', 'created_at'], unique=False)
        batch_op.create_index(batch_op.f('ix_relay_deliveries_user_id'), ['user_id'], unique=False)
        batch_op.create_index('uq_relay_deliveries_relay_message', ['relay', 'message'], unique=True)


def downgrade() -> None:
    op.drop_table('relay_deliveries')
