"""Ask on a schedule."""

import sqlalchemy as sa
from alembic import op

revision = '0029'
down_revision = '0028'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('cron_jobs',
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('plan', sa.String(length=200), nullable=False),
    sa.Column('due_at', sa.BigInteger(), nullable=True),
    sa.Column('begun_at', sa.BigInteger(), nullable=True),
    sa.Column('told_at', sa.BigInteger(), nullable=True),
    sa.Column('completed', sa.Integer(), nullable=False),
    sa.Column('failed', sa.Integer(), nullable=False),
    sa.Column('refused', sa.Integer(), nullable=False),
    sa.Column('missed', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_cron_jobs'))
    )


def downgrade() -> None:
    op.drop_table('cron_jobs')
