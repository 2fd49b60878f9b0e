"""Map which projects, features, templates, models and users money goes to."""

import sqlalchemy as sa
from alembic import op

revision = '0026'
down_revision = '0025'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('cost_cells',
    sa.Column('day', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('project', sa.String(length=100), nullable=False),
    sa.Column('feature', sa.String(length=200), nullable=False),
    sa.Column('template', sa.String(length=200), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('user_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('calls', sa.BigInteger(), nullable=False),
    sa.Column('unpriced', sa.BigInteger(), nullable=False),
    sa.Column('tokens', sa.BigInteger(), nullable=False),
    sa.Column('cost_nano', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint(
        'day', 'project', 'feature', 'template', 'model', 'user_id', name=op.f('pk_cost_cells')
    )
    )
    with op.batch_alter_table('cost_cells', schema=None) as batch_op:
        batch_op.create_index('ix_cost_cells_user_id', ['user_id'], unique=False)


def downgrade() -> None:
    with op.batch_alter_table('cost_cells', schema=None) as batch_op:
        batch_op.drop_index('ix_cost_cells_user_id')

    op.drop_table('cost_cells')
