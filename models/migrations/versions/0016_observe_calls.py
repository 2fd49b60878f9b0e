"""Make the spreads of calls, the alerts they raise, and the chained log of exchanges."""

import sqlalchemy as sa
from alembic import op

revision = '0016'
down_revision = '0015'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('call_spreads',
    sa.Column('width', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('measure', sa.String(length=12), nullable=False),
    sa.Column('minute', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('provider', sa.String(length=64), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('bucket', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('calls', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('width', 'measure', 'minute', 'provider', 'model', 'bucket', name=op.f('pk_call_spreads'))
    )
    op.create_table('raised_alerts',
    sa.Column('source', sa.String(length=32), nullable=False),
    sa.Column('rule', sa.String(length=400), nullable=False),
    sa.Column('raised_at', sa.BigInteger(), nullable=False),
    sa.Column('times', sa.BigInteger(), nullable=False),
    sa.Column('figure', sa.Float(), nullable=False),
    sa.Column('threshold', sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint('source', 'rule', name=op.f('pk_raised_alerts'))
    )
    op.create_table('logged_exchanges',
    sa.Column('number', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('trace_id', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('hash', sa.String(length=64), nullable=False),
    sa.Column('content', sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_logged_exchanges'))
    )
    with op.batch_alter_table('logged_exchanges', schema=None) as batch_op:
        batch_op.create_index('ix_logged_exchanges_created_at', ['created_at'], unique=False)

    op.create_table('exchange_chains',
    sa.Column('id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('number', sa.BigInteger(), nullable=False),
    sa.Column('hash', sa.String(length=64), nullable=False),
    sa.Column('pruned_number', sa.BigInteger(), nullable=False),
    sa.Column('pruned_hash', sa.String(length=64), nullable=False),
    sa.Column('checked_at', sa.BigInteger(), nullable=True),
    sa.Column('broken_at', sa.BigInteger(), nullable=True),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_exchange_chains'))
    )


def downgrade() -> None:
    op.drop_table('exchange_chains')
    with op.batch_alter_table('logged_exchanges', schema=None) as batch_op:
        batch_op.drop_index('ix_logged_exchanges_created_at')

    op.drop_table('logged_exchanges')
    op.drop_table('raised_alerts')
    op.drop_table('call_spreads')
