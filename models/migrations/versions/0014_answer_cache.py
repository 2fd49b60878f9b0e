"""Make the answer cache that all workers share."""

import sqlalchemy as sa
from alembic import op

revision = '0014'
down_revision = '0013'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('cache_epochs',
    sa.Column('id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('number', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_cache_epochs'))
    )
    op.execute('INSERT INTO cache_epochs (id, number) VALUES (1, 0)')
    op.create_table('cached_answers',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('key', sa.String(length=64), nullable=False),
    sa.Column('user_id', sa.BigInteger(), nullable=True),
    sa.Column('epoch', sa.BigInteger(), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('expires_at', sa.BigInteger(), nullable=False),
    sa.Column('sealed', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_cached_answers_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_cached_answers'))
    )
    with op.batch_alter_table('cached_answers', schema=None) as batch_op:
        batch_op.create_index('uq_cached_answers_key', ['key'], unique=True)
        batch_op.create_index('ix_cached_answers_expires_at', ['expires_at', 'size'], unique=False)
        batch_op.create_index('ix_cached_answers_user_id', ['user_id'], unique=False)


def downgrade() -> None:
    op.drop_table('cached_answers')
    op.drop_table('cache_epochs')
