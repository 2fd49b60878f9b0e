"""Make row jobs."""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table('row_jobs',
    sa.Column('id', ROW_ID, nullable=False),
    sa.Column('uid', sa.String(length=40), nullable=False),
    sa.Column('owner_id', ROW_ID, nullable=False),
    sa.Column('job_type', sa.String(length=40), nullable=False),
    sa.Column('lane', sa.String(length=10), nullable=False),
    sa.Column('unit', sa.String(length=20), nullable=False),
    sa.Column('status', sa.String(length=10), nullable=False),
    sa.Column('params', sa.Text(), nullable=False),
    sa.Column('mode', sa.String(length=20), nullable=True),
    sa.Column('notices', sa.JSON(), nullable=False),
    sa.Column('ef_cost', sa.Float(), nullable=False),
    sa.Column('units', sa.BigInteger(), nullable=False),
    sa.Column('ignored', sa.BigInteger(), nullable=False),
    sa.Column('processed', sa.BigInteger(), nullable=False),
    sa.Column('failed_units', sa.BigInteger(), nullable=False),
    sa.Column('attempts', sa.BigInteger(), nullable=False),
    sa.Column('rows', sa.BigInteger(), nullable=False),
    sa.Column('columns', sa.JSON(), nullable=False),
    sa.Column('last_seq', sa.BigInteger(), nullable=False),
    sa.Column('turn', sa.BigInteger(), nullable=False),
    sa.Column('parked', sa.Boolean(), nullable=False),
    sa.Column('error', sa.Text(), nullable=True),
    sa.Column('source_job_id', sa.String(length=64), nullable=True),
    sa.Column('pipeline_id', sa.String(length=64), nullable=True),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('started_at', sa.BigInteger(), nullable=True),
    sa.Column('completed_at', sa.BigInteger(), nullable=True),
    sa.Column('expires_at', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['owner_id'], ['users.id'], name=op.f('fk_row_jobs_owner_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_row_jobs')),
    sa.UniqueConstraint('uid', name=op.f('uq_row_jobs_uid'))
    )
    with op.batch_alter_table('row_jobs', schema=None) as batch_op:
        batch_op.create_index('ix_row_jobs_owner', ['owner_id', 'created_at', 'id'], unique=False)
        batch_op.create_index('ix_row_jobs_owner_status', ['owner_id', 'status', 'id'], unique=False)
        batch_op.create_index('ix_row_jobs_queue', ['status', 'lane', 'id'], unique=False)
        batch_op.create_index('ix_row_jobs_expiry', ['status', 'expires_at'], unique=False)

    for name in ('row_job_items', 'row_job_rows'):
        op.create_table(name,
        sa.Column('job_id', ROW_ID, nullable=False),
        sa.Column('first', sa.BigInteger(), nullable=False),
        sa.Column('count', sa.BigInteger(), nullable=False),
        sa.Column('data', sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(['job_id'], ['row_jobs.id'], name=op.f(f'fk_{name}_job_id'), ondelete='CASCADE'),
        sa.PrimaryKeyConstraint('job_id', 'first', name=op.f(f'pk_{name}'))
        )

    op.create_table('row_job_logs',
    sa.Column('job_id', ROW_ID, nullable=False),
    sa.Column('seq', sa.BigInteger(), nullable=False),
    sa.Column('level', sa.String(length=5), nullable=False),
    sa.Column('message', sa.Text(), nullable=False),
    sa.Column('at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['job_id'], ['row_jobs.id'], name=op.f('fk_row_job_logs_job_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('job_id', 'seq', name=op.f('pk_row_job_logs'))
    )
    op.create_table('row_job_streams',
    sa.Column('uid', sa.String(length=40), nullable=False),
    sa.Column('user_id', ROW_ID, nullable=False),
    sa.Column('worker', sa.String(length=40), nullable=False),
    sa.Column('until', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_row_job_streams_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('uid', name=op.f('pk_row_job_streams'))
    )
    with op.batch_alter_table('row_job_streams', schema=None) as batch_op:
        batch_op.create_index('ix_row_job_streams_user', ['user_id', 'until'], unique=False)
        batch_op.create_index('ix_row_job_streams_worker', ['worker'], unique=False)


def downgrade() -> None:
    for name in ('row_job_streams', 'row_job_logs', 'row_job_rows', 'row_job_items', 'row_jobs'):
        op.drop_table(name)
