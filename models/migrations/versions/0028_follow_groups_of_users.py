"""Follow groups of users."""

import sqlalchemy as sa
from alembic import op

revision = '0028'
down_revision = '0027'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('cohort_members',
    sa.Column('user_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('project', sa.String(length=100), nullable=False),
    sa.PrimaryKeyConstraint('user_id', name=op.f('pk_cohort_members'))
    )
    op.create_table('cohort_views',
    sa.Column('step', sa.String(length=10), nullable=False),
    sa.Column('grouped', sa.String(length=12), nullable=False),
    sa.Column('content', sa.JSON(), nullable=False),
    sa.Column('made_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('step', 'grouped', name=op.f('pk_cohort_views'))
    )


def downgrade() -> None:
    op.drop_table('cohort_views')
    op.drop_table('cohort_members')
