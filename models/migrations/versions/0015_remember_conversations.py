"""Remember conversations for those who ask for it."""

import sqlalchemy as sa
from alembic import op

revision = '0015'
down_revision = '0014'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('chat_memories',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('user_id', sa.BigInteger(), nullable=False),
    sa.Column('project', sa.String(length=100), nullable=False),
    sa.Column('turns', sa.JSON(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_chat_memories_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_chat_memories'))
    )
    with op.batch_alter_table('chat_memories', schema=None) as batch_op:
        batch_op.create_index('ix_chat_memories_updated_at', ['updated_at'], unique=False)
        batch_op.create_index('uq_chat_memories_owner', ['user_id', 'project'], unique=True)


def downgrade() -> None:
    with op.batch_alter_table('chat_memories', schema=None) as batch_op:
        batch_op.drop_index('uq_chat_memories_owner')
        batch_op.drop_index('ix_chat_memories_updated_at')

    op.drop_table('chat_memories')
