"""Remember how far texts past their age were wiped."""

import sqlalchemy as sa
from alembic import op

revision = '0021'
down_revision = '0020'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('text_wipes',
    sa.Column('id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('reached_at', sa.BigInteger(), nullable=False),
    sa.Column('reached_seq', sa.BigInteger(), nullable=False),
    sa.Column('seen', sa.BigInteger(), nullable=False),
    sa.Column('untold', sa.JSON(), nullable=False),
    sa.Column('told', sa.JSON(), nullable=False),
    sa.Column('told_at', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_text_wipes'))
    )
    op.execute(
        "INSERT INTO text_wipes (id, reached_at, reached_seq, seen, untold, told) VALUES (1, 0, 0, 0, '{}', '{}')"
    )


def downgrade() -> None:
    op.drop_table('text_wipes')
