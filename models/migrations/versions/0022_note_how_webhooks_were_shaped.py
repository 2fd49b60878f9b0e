"""Note of each message how a template shaped it."""

import sqlalchemy as sa
from alembic import op

revision = '0022'
down_revision = '0021'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('webhook_messages', sa.Column('shape', sa.String(length=10), nullable=True))


def downgrade() -> None:
    op.drop_column('webhook_messages', 'shape')
