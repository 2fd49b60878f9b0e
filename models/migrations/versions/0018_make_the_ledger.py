"""Make the ledger, and its end."""

import sqlalchemy as sa
from alembic import op

revision = '0018'
down_revision = '0017'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('ledger_entries',
    sa.Column('id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('event_type', sa.String(length=60), nullable=False),
    sa.Column('actor', sa.String(length=200), nullable=False),
    sa.Column('resource', sa.String(length=300), nullable=False),
    sa.Column('action', sa.String(length=100), nullable=False),
    sa.Column('detail', sa.Text(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('prev_hash', sa.String(length=64), nullable=False),
    sa.Column('hash', sa.String(length=64), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_ledger_entries'))
    )
    with op.batch_alter_table('ledger_entries', schema=None) as batch_op:
        batch_op.create_index('ix_ledger_entries_actor', ['actor', 'id'], unique=False)
        batch_op.create_index('ix_ledger_entries_created_at', ['created_at'], unique=False)
        batch_op.create_index('ix_ledger_entries_event_type', ['event_type', 'id'], unique=False)

    op.create_table('ledger_chains',
    sa.Column('id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('number', sa.BigInteger(), nullable=False),
    sa.Column('hash', sa.String(length=64), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_ledger_chains'))
    )
    op.execute("INSERT INTO ledger_chains (id, number, hash) VALUES (1, 0, '')")


def downgrade() -> None:
    op.drop_table('ledger_chains')
    with op.batch_alter_table('ledger_entries', schema=None) as batch_op:
        batch_op.drop_index('ix_ledger_entries_event_type')
        batch_op.drop_index('ix_ledger_entries_created_at')
        batch_op.drop_index('ix_ledger_entries_actor')

    op.drop_table('ledger_entries')
