"""Find feedback by its moment, and let an alert be over."""

import sqlalchemy as sa
from alembic import op

revision = '0024'
down_revision = '0023'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('raised_alerts', schema=None) as batch_op:
        batch_op.add_column(sa.Column('over_at', sa.BigInteger(), nullable=True))

    with op.batch_alter_table('trust_feedback', schema=None) as batch_op:
        batch_op.create_index('ix_trust_feedback_created_at', ['created_at'], unique=False)


def downgrade() -> None:
    with op.batch_alter_table('trust_feedback', schema=None) as batch_op:
        batch_op.drop_index('ix_trust_feedback_created_at')

    with op.batch_alter_table('raised_alerts', schema=None) as batch_op:
        batch_op.drop_column('over_at')
