"""Remember which calls were written to which file of training data."""

import sqlalchemy as sa
from alembic import op

revision = '0027'
down_revision = '0026'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('training_calls',
    sa.Column('seq', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('trace_id', sa.String(length=64), nullable=False),
    sa.Column('user_id', sa.BigInteger(), nullable=True),
    sa.Column('number', sa.BigInteger(), nullable=False),
    sa.Column('digest', sa.String(length=32), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('seq', name=op.f('pk_training_calls'))
    )
    with op.batch_alter_table('training_calls', schema=None) as batch_op:
        batch_op.create_index('ix_training_calls_created_at', ['created_at'], unique=False)
        batch_op.create_index('ix_training_calls_number', ['number'], unique=False)
        batch_op.create_index('ix_training_calls_user_id', ['user_id'], unique=False)

    op.create_table('training_files',
    sa.Column('number', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('form', sa.String(length=16), nullable=False),
    sa.Column('lines', sa.BigInteger(), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_training_files'))
    )
    searches = op.create_table('training_searches',
    sa.Column('id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('terms', sa.String(length=100), nullable=False),
    sa.Column('reached', sa.BigInteger(), nullable=False),
    sa.Column('written', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_training_searches'))
    )
    op.bulk_insert(searches, [{'id': 1, 'terms': '', 'reached': 0, 'written': 0}])


def downgrade() -> None:
    op.drop_table('training_searches')
    op.drop_table('training_files')
    with op.batch_alter_table('training_calls', schema=None) as batch_op:
        batch_op.drop_index('ix_training_calls_user_id')
        batch_op.drop_index('ix_training_calls_number')
        batch_op.drop_index('ix_training_calls_created_at')

    op.drop_table('training_calls')
