"""Make budgets."""

import sqlalchemy as sa
from alembic import op

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('spend_caps',
    sa.Column('user_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('daily_nano', sa.BigInteger(), nullable=False),
    sa.Column('monthly_nano', sa.BigInteger(), nullable=False),
    sa.Column('soft', sa.Boolean(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_spend_caps_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('user_id', name=op.f('pk_spend_caps'))
    )
    op.create_table('spend_counters',
    sa.Column('period', sa.String(length=10), nullable=False),
    sa.Column('scope', sa.String(length=10), nullable=False),
    sa.Column('ref', sa.String(length=256), nullable=False),
    sa.Column('spent_nano', sa.BigInteger(), nullable=False),
    sa.Column('reserved_nano', sa.BigInteger(), nullable=False),
    sa.Column('version', sa.BigInteger(), nullable=False),
    sa.Column('noticed', sa.BigInteger(), nullable=False),
    sa.Column('noticed_at', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('period', 'scope', 'ref', name=op.f('pk_spend_counters'))
    )
    op.create_table('spend_holds',
    sa.Column('trace_id', sa.String(length=64), nullable=False),
    sa.Column('period', sa.String(length=10), nullable=False),
    sa.Column('scope', sa.String(length=10), nullable=False),
    sa.Column('ref', sa.String(length=256), nullable=False),
    sa.Column('amount_nano', sa.BigInteger(), nullable=False),
    sa.Column('expires_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('trace_id', 'period', 'scope', 'ref', name=op.f('pk_spend_holds'))
    )
    with op.batch_alter_table('spend_holds', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_spend_holds_expires_at'), ['expires_at'], unique=False)


def downgrade() -> None:
    with op.batch_alter_table('spend_holds', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_spend_holds_expires_at'))

    op.drop_table('spend_holds')
    op.drop_table('spend_counters')
    op.drop_table('spend_caps')
