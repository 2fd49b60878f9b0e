"""Let the audit log outlive orgs, and give memberships and invitations what lists of them show."""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('audit_entries', schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f('fk_audit_entries_org_id'), type_='foreignkey')
        batch_op.create_foreign_key(batch_op.f('fk_audit_entries_org_id'), 'orgs', ['org_id'], ['id'], ondelete='SET NULL')
        batch_op.drop_index(batch_op.f('ix_audit_entries_action'))
        batch_op.drop_index(batch_op.f('ix_audit_entries_actor_id'))
        batch_op.create_index('ix_audit_entries_org_action', ['org_id', 'action', 'id'], unique=False)
        batch_op.create_index('ix_audit_entries_org_actor', ['org_id', 'actor_id', 'id'], unique=False)
        batch_op.create_index('ix_audit_entries_org_created', ['org_id', 'created_at'], unique=False)
        batch_op.create_index('ix_audit_entries_org_resource', ['org_id', 'resource_type', 'id'], unique=False)

    with op.batch_alter_table('invitations', schema=None) as batch_op:
        batch_op.add_column(sa.Column('updated_at', sa.BigInteger(), nullable=True))
        batch_op.create_index('ix_invitations_org', ['org_id', 'id'], unique=False)
    op.execute('UPDATE invitations SET updated_at = coalesce(accepted_at, created_at)')
    with op.batch_alter_table('invitations', schema=None) as batch_op:
        batch_op.alter_column('updated_at', existing_type=sa.BigInteger(), nullable=False)

    with op.batch_alter_table('memberships', schema=None) as batch_op:
        batch_op.add_column(sa.Column('uid', sa.String(length=36), nullable=True))
    _number_memberships()
    with op.batch_alter_table('memberships', schema=None) as batch_op:
        batch_op.alter_column('uid', existing_type=sa.String(length=36), nullable=False)
        batch_op.create_unique_constraint(batch_op.f('uq_memberships_uid'), ['uid'])


def _number_memberships() -> None:
    """A random UUID for each: no database makes them alike."""
    connection = op.get_bind()
    named = sa.table('memberships', sa.column('id', sa.BigInteger()), sa.column('uid', sa.String()))
    for (row_id,) in connection.execute(sa.select(named.c.id)).all():
        connection.execute(named.update().where(named.c.id == row_id).values(uid=str(uuid4())))


def downgrade() -> None:
    with op.batch_alter_table('memberships', schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f('uq_memberships_uid'), type_='unique')
        batch_op.drop_column('uid')

    with op.batch_alter_table('invitations', schema=None) as batch_op:
        batch_op.drop_index('ix_invitations_org')
        batch_op.drop_column('updated_at')

    with op.batch_alter_table('audit_entries', schema=None) as batch_op:
        batch_op.drop_index('ix_audit_entries_org_resource')
        batch_op.drop_index('ix_audit_entries_org_created')
        batch_op.drop_index('ix_audit_entries_org_actor')
        batch_op.drop_index('ix_audit_entries_org_action')
        batch_op.create_index(batch_op.f('ix_audit_entries_actor_id'), ['actor_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_audit_entries_action'), ['action'], unique=False)
        batch_op.drop_constraint(batch_op.f('fk_audit_entries_org_id'), type_='foreignkey')
        batch_op.create_foreign_key(batch_op.f('fk_audit_entries_org_id'), 'orgs', ['org_id'], ['id'], ondelete='CASCADE')
