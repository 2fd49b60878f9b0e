"""Make the engine's tables."""

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('engine_tasks',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('kind', sa.String(length=40), nullable=False),
    sa.Column('key', sa.String(length=200), nullable=False),
    sa.Column('state', sa.String(length=10), nullable=False),
    sa.Column('queued_at', sa.BigInteger(), nullable=False),
    sa.Column('due_at', sa.BigInteger(), nullable=False),
    sa.Column('began_at', sa.BigInteger(), nullable=True),
    sa.Column('ended_at', sa.BigInteger(), nullable=True),
    sa.Column('executor', sa.String(length=40), nullable=True),
    sa.Column('attempts', sa.BigInteger(), nullable=False),
    sa.Column('cancelled', sa.Boolean(), nullable=False),
    sa.Column('error', sa.String(length=100), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_engine_tasks'))
    )
    with op.batch_alter_table('engine_tasks', schema=None) as batch_op:
        batch_op.create_index('ix_engine_tasks_due', ['state', 'kind', 'due_at', 'id'], unique=False)
        batch_op.create_index('ix_engine_tasks_ended', ['ended_at'], unique=False)
        batch_op.create_index('uq_engine_tasks_key', ['kind', 'key'], unique=True)

    op.create_table('engine_leases',
    sa.Column('executor', sa.String(length=40), nullable=False),
    sa.Column('heartbeat', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('executor', name=op.f('pk_engine_leases'))
    )
    with op.batch_alter_table('engine_leases', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_engine_leases_heartbeat'), ['heartbeat'], unique=False)

    op.create_table('engine_schedules',
    sa.Column('name', sa.String(length=60), nullable=False),
    sa.Column('next_at', sa.BigInteger(), nullable=False),
    sa.Column('executor', sa.String(length=40), nullable=True),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_engine_schedules'))
    )
    # What waits from before the engine is its work from now on.
    op.execute(
        "INSERT INTO engine_tasks (kind, key, state, queued_at, due_at, attempts, cancelled) "
        "SELECT 'mail', CAST(id AS VARCHAR) || '.' || CAST(tries + 1 AS VARCHAR), 'queued', created_at, next_try_at, "
        "0, false FROM mails WHERE status = 'queued'"
    )
    op.execute(
        "INSERT INTO engine_tasks (kind, key, state, queued_at, due_at, attempts, cancelled) "
        "SELECT 'bulk', uid, 'queued', created_at, created_at, 0, false FROM bulk_jobs "
        "WHERE status IN ('queued', 'processing')"
    )
    with op.batch_alter_table('bulk_jobs', schema=None) as batch_op:
        batch_op.drop_index('ix_bulk_jobs_status')
        batch_op.drop_column('lease_owner')
        batch_op.drop_column('lease_until')
        batch_op.create_index(batch_op.f('ix_bulk_jobs_completed_at'), ['completed_at'], unique=False)


def downgrade() -> None:
    with op.batch_alter_table('bulk_jobs', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_bulk_jobs_completed_at'))
        batch_op.add_column(sa.Column('lease_owner', sa.String(length=40), nullable=True))
        batch_op.add_column(sa.Column('lease_until', sa.BigInteger(), nullable=True))
        batch_op.create_index('ix_bulk_jobs_status', ['status', 'lease_until'], unique=False)

    op.drop_table('engine_schedules')
    with op.batch_alter_table('engine_leases', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_engine_leases_heartbeat'))

    op.drop_table('engine_leases')
    with op.batch_alter_table('engine_tasks', schema=None) as batch_op:
        batch_op.drop_index('uq_engine_tasks_key')
        batch_op.drop_index('ix_engine_tasks_ended')
        batch_op.drop_index('ix_engine_tasks_due')

    op.drop_table('engine_tasks')
