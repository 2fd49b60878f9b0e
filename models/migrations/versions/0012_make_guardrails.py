"""Make the guardrail rules, what they found, and how often."""

import sqlalchemy as sa
from alembic import op

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('guardrails',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('name', sa.String(length=100), nullable=False),
    sa.Column('type', sa.String(length=10), nullable=False),
    sa.Column('pattern', sa.Text(), nullable=False),
    sa.Column('action', sa.String(length=10), nullable=False),
    sa.Column('project', sa.String(length=100), nullable=False),
    sa.Column('enabled', sa.Boolean(), nullable=False),
    sa.Column('priority', sa.BigInteger(), nullable=False),
    sa.Column('description', sa.String(length=500), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_guardrails')),
    sa.UniqueConstraint('name', name=op.f('uq_guardrails_name'))
    )
    op.create_table('guardrail_events',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('trace_id', sa.String(length=64), nullable=False),
    sa.Column('request_id', sa.String(length=128), nullable=False),
    sa.Column('rule_name', sa.String(length=100), nullable=False),
    sa.Column('rule_type', sa.String(length=10), nullable=False),
    sa.Column('action', sa.String(length=10), nullable=False),
    sa.Column('direction', sa.String(length=10), nullable=False),
    sa.Column('project', sa.String(length=100), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('matches', sa.BigInteger(), nullable=False),
    sa.Column('preview', sa.String(length=16), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_guardrail_events'))
    )
    with op.batch_alter_table('guardrail_events', schema=None) as batch_op:
        batch_op.create_index('ix_guardrail_events_created', ['created_at', 'id'], unique=False)

    op.create_table('guardrail_counts',
    sa.Column('rule_name', sa.String(length=100), nullable=False),
    sa.Column('action', sa.String(length=10), nullable=False),
    sa.Column('hits', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('rule_name', 'action', name=op.f('pk_guardrail_counts'))
    )


def downgrade() -> None:
    op.drop_table('guardrail_counts')
    with op.batch_alter_table('guardrail_events', schema=None) as batch_op:
        batch_op.drop_index('ix_guardrail_events_created')

    op.drop_table('guardrail_events')
    op.drop_table('guardrails')
