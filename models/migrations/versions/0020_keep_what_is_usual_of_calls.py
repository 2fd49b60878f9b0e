"""Keep what is usual of each user's calls to a model."""

import sqlalchemy as sa
from alembic import op

revision = '0020'
down_revision = '0019'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('usual_calls',
    sa.Column('user_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('provider', sa.String(length=64), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('calls', sa.BigInteger(), nullable=False),
    sa.Column('size_mean', sa.Float(), nullable=False),
    sa.Column('size_variance', sa.Float(), nullable=False),
    sa.Column('priced', sa.BigInteger(), nullable=False),
    sa.Column('cost_mean', sa.Float(), nullable=False),
    sa.Column('cost_variance', sa.Float(), nullable=False),
    sa.Column('hours', sa.BigInteger(), nullable=False),
    sa.Column('last_hour', sa.BigInteger(), nullable=False),
    sa.Column('clock_across', sa.Float(), nullable=False),
    sa.Column('clock_up', sa.Float(), nullable=False),
    sa.Column('seen_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('user_id', 'provider', 'model', name=op.f('pk_usual_calls'))
    )
    with op.batch_alter_table('usual_calls', schema=None) as batch_op:
        batch_op.create_index('ix_usual_calls_seen_at', ['seen_at'], unique=False)


def downgrade() -> None:
    with op.batch_alter_table('usual_calls', schema=None) as batch_op:
        batch_op.drop_index('ix_usual_calls_seen_at')

    op.drop_table('usual_calls')
