"""Make the packs of evidence, and the feedback on answers."""

import sqlalchemy as sa
from alembic import op

revision = '0019'
down_revision = '0018'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('trust_evidence',
    sa.Column('number', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('name', sa.String(length=200), nullable=False),
    sa.Column('description', sa.String(length=2000), nullable=False),
    sa.Column('type', sa.String(length=60), nullable=False),
    sa.Column('content', sa.Text(), nullable=False),
    sa.Column('attachments', sa.JSON(), nullable=False),
    sa.Column('date_from', sa.BigInteger(), nullable=False),
    sa.Column('date_to', sa.BigInteger(), nullable=False),
    sa.Column('event_count', sa.BigInteger(), nullable=False),
    sa.Column('entries_hash', sa.String(length=64), nullable=False),
    sa.Column('hash', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_trust_evidence')),
    sa.UniqueConstraint('id', name=op.f('uq_trust_evidence_id'))
    )
    op.create_table('trust_feedback',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('request_id', sa.String(length=128), nullable=False),
    sa.Column('user_id', sa.BigInteger(), nullable=True),
    sa.Column('user_email', sa.String(length=320), nullable=True),
    sa.Column('rating', sa.BigInteger(), nullable=False),
    sa.Column('comment', sa.Text(), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_trust_feedback_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_trust_feedback'))
    )
    with op.batch_alter_table('trust_feedback', schema=None) as batch_op:
        batch_op.create_index('ix_trust_feedback_request_id', ['request_id', 'id'], unique=False)
        batch_op.create_index('ix_trust_feedback_user_email', ['user_email'], unique=False)
        batch_op.create_index('ix_trust_feedback_user_id', ['user_id'], unique=False)


def downgrade() -> None:
    with op.batch_alter_table('trust_feedback', schema=None) as batch_op:
        batch_op.drop_index('ix_trust_feedback_user_id')
        batch_op.drop_index('ix_trust_feedback_user_email')
        batch_op.drop_index('ix_trust_feedback_request_id')

    op.drop_table('trust_feedback')
    op.drop_table('trust_evidence')
