"""Make box jobs."""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('box_jobs',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('uid', sa.String(length=36), nullable=False),
    sa.Column('org_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('box_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True),
    sa.Column('box_group_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True),
    sa.Column('created_by_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True),
    sa.Column('rerun_of_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True),
    sa.Column('command', sa.Text(), nullable=False),
    sa.Column('args', sa.JSON(), nullable=False),
    sa.Column('script_name', sa.String(length=200), nullable=True),
    sa.Column('env_names', sa.JSON(), nullable=False),
    sa.Column('sealed_env', sa.Text(), nullable=True),
    sa.Column('timeout_s', sa.BigInteger(), nullable=False),
    sa.Column('resource_lock', sa.Boolean(), nullable=False),
    sa.Column('required_capabilities', sa.JSON(), nullable=False),
    sa.Column('status', sa.String(length=20), nullable=False),
    sa.Column('exit_code', sa.BigInteger(), nullable=True),
    sa.Column('failure_reason', sa.String(length=200), nullable=True),
    sa.Column('cancel_reason', sa.String(length=500), nullable=True),
    sa.Column('locked_box', sa.Boolean(), nullable=False),
    sa.Column('last_sequence', sa.BigInteger(), nullable=True),
    sa.Column('log_count', sa.BigInteger(), nullable=False),
    sa.Column('artifact_count', sa.BigInteger(), nullable=False),
    sa.Column('queued_at', sa.BigInteger(), nullable=False),
    sa.Column('dispatched_at', sa.BigInteger(), nullable=True),
    sa.Column('delivered_at', sa.BigInteger(), nullable=True),
    sa.Column('deadline_at', sa.BigInteger(), nullable=True),
    sa.Column('started_at', sa.BigInteger(), nullable=True),
    sa.Column('finished_at', sa.BigInteger(), nullable=True),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.CheckConstraint('timeout_s > 0', name='ck_box_jobs_timeout'),
    sa.ForeignKeyConstraint(['box_group_id'], ['box_groups.id'], name=op.f('fk_box_jobs_box_group_id'), ondelete='SET NULL'),
    sa.ForeignKeyConstraint(['box_id'], ['boxes.id'], name=op.f('fk_box_jobs_box_id'), ondelete='SET NULL'),
    sa.ForeignKeyConstraint(['created_by_id'], ['users.id'], name=op.f('fk_box_jobs_created_by_id'), ondelete='SET NULL'),
    sa.ForeignKeyConstraint(['org_id'], ['orgs.id'], name=op.f('fk_box_jobs_org_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['rerun_of_id'], ['box_jobs.id'], name=op.f('fk_box_jobs_rerun_of_id'), ondelete='SET NULL'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_box_jobs')),
    sa.UniqueConstraint('uid', name=op.f('uq_box_jobs_uid'))
    )
    with op.batch_alter_table('box_jobs', schema=None) as batch_op:
        batch_op.create_index('ix_box_jobs_box_status', ['box_id', 'status', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_box_jobs_created_by_id'), ['created_by_id'], unique=False)
        batch_op.create_index('ix_box_jobs_group_status', ['box_group_id', 'status', 'id'], unique=False)
        batch_op.create_index('ix_box_jobs_org_newest', ['org_id', 'id'], unique=False)
        batch_op.create_index('ix_box_jobs_org_status', ['org_id', 'status', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_box_jobs_rerun_of_id'), ['rerun_of_id'], unique=False)
        batch_op.create_index('ix_box_jobs_status_deadline', ['status', 'deadline_at'], unique=False)

    op.create_table('box_job_artifacts',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('uid', sa.String(length=36), nullable=False),
    sa.Column('job_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('name', sa.String(length=200), nullable=False),
    sa.Column('content_type', sa.String(length=100), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=True),
    sa.Column('checksum', sa.String(length=64), nullable=True),
    sa.Column('storage_key', sa.String(length=200), nullable=False),
    sa.Column('state', sa.String(length=10), nullable=False),
    sa.Column('uploaded_at', sa.BigInteger(), nullable=True),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['job_id'], ['box_jobs.id'], name=op.f('fk_box_job_artifacts_job_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_box_job_artifacts')),
    sa.UniqueConstraint('uid', name=op.f('uq_box_job_artifacts_uid'))
    )
    with op.batch_alter_table('box_job_artifacts', schema=None) as batch_op:
        batch_op.create_index('uq_box_job_artifacts_job_name', ['job_id', 'name'], unique=True)

    op.create_table('box_job_files',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('uid', sa.String(length=36), nullable=False),
    sa.Column('job_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('path', sa.String(length=200), nullable=False),
    sa.Column('content', sa.LargeBinary(), nullable=False),
    sa.ForeignKeyConstraint(['job_id'], ['box_jobs.id'], name=op.f('fk_box_job_files_job_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_box_job_files')),
    sa.UniqueConstraint('uid', name=op.f('uq_box_job_files_uid'))
    )
    with op.batch_alter_table('box_job_files', schema=None) as batch_op:
        batch_op.create_index('uq_box_job_files_job_path', ['job_id', 'path'], unique=True)

    op.create_table('box_job_logs',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('job_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('sequence', sa.BigInteger(), nullable=False),
    sa.Column('stream', sa.String(length=6), nullable=False),
    sa.Column('line', sa.Text(), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('truncated', sa.Boolean(), nullable=False),
    sa.Column('written_at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['job_id'], ['box_jobs.id'], name=op.f('fk_box_job_logs_job_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_box_job_logs'))
    )
    with op.batch_alter_table('box_job_logs', schema=None) as batch_op:
        batch_op.create_index('ix_box_job_logs_arrival', ['job_id', 'id'], unique=False)
        batch_op.create_index('uq_box_job_logs_job_sequence', ['job_id', 'sequence'], unique=True)


def downgrade() -> None:
    with op.batch_alter_table('box_job_logs', schema=None) as batch_op:
        batch_op.drop_index('uq_box_job_logs_job_sequence')
        batch_op.drop_index('ix_box_job_logs_arrival')

    op.drop_table('box_job_logs')
    with op.batch_alter_table('box_job_files', schema=None) as batch_op:
        batch_op.drop_index('uq_box_job_files_job_path')

    op.drop_table('box_job_files')
    with op.batch_alter_table('box_job_artifacts', schema=None) as batch_op:
        batch_op.drop_index('uq_box_job_artifacts_job_name')

    op.drop_table('box_job_artifacts')
    with op.batch_alter_table('box_jobs', schema=None) as batch_op:
        batch_op.drop_index('ix_box_jobs_status_deadline')
        batch_op.drop_index(batch_op.f('ix_box_jobs_rerun_of_id'))
        batch_op.drop_index('ix_box_jobs_org_status')
        batch_op.drop_index('ix_box_jobs_org_newest')
        batch_op.drop_index('ix_box_jobs_group_status')
        batch_op.drop_index(batch_op.f('ix_box_jobs_created_by_id'))
        batch_op.drop_index('ix_box_jobs_box_status')

    op.drop_table('box_jobs')
