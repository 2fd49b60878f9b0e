"""Make the answers kept under an `Idempotency-Key`."""

import sqlalchemy as sa
from alembic import op

revision = '0013'
down_revision = '0012'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('idempotent_calls',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('user_id', sa.BigInteger(), nullable=True),
    sa.Column('fingerprint', sa.String(length=64), nullable=False),
    sa.Column('holder', sa.String(length=32), nullable=False),
    sa.Column('began_at', sa.BigInteger(), nullable=False),
    sa.Column('expires_at', sa.BigInteger(), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('sealed_answer', sa.LargeBinary(), nullable=True),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_idempotent_calls_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_idempotent_calls'))
    )
    with op.batch_alter_table('idempotent_calls', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_idempotent_calls_expires_at'), ['expires_at'], unique=False)
        batch_op.create_index(batch_op.f('ix_idempotent_calls_user_id'), ['user_id'], unique=False)


def downgrade() -> None:
    with op.batch_alter_table('idempotent_calls', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_idempotent_calls_user_id'))
        batch_op.drop_index(batch_op.f('ix_idempotent_calls_expires_at'))

    op.drop_table('idempotent_calls')
