"""Make boxes and their jobs."""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('box_groups',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('uid', sa.String(length=36), nullable=False),
    sa.Column('org_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('name', sa.String(length=100), nullable=False),
    sa.Column('slug', sa.String(length=64), nullable=False),
    sa.Column('description', sa.String(length=2000), nullable=True),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['org_id'], ['orgs.id'], name=op.f('fk_box_groups_org_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_box_groups')),
    sa.UniqueConstraint('uid', name=op.f('uq_box_groups_uid'))
    )
    with op.batch_alter_table('box_groups', schema=None) as batch_op:
        batch_op.create_index('uq_box_groups_org_slug', ['org_id', 'slug'], unique=True)

    op.create_table('boxes',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('uid', sa.String(length=36), nullable=False),
    sa.Column('org_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('name', sa.String(length=100), nullable=False),
    sa.Column('description', sa.String(length=2000), nullable=True),
    sa.Column('ip_address', sa.String(length=64), nullable=False),
    sa.Column('status', sa.String(length=12), nullable=False),
    sa.Column('access_guard', sa.Boolean(), nullable=False),
    sa.Column('hostname', sa.String(length=253), nullable=True),
    sa.Column('hardware', sa.JSON(), nullable=True),
    sa.Column('capabilities', sa.JSON(), nullable=False),
    sa.Column('lager_version', sa.String(length=64), nullable=True),
    sa.Column('agent_version', sa.String(length=64), nullable=True),
    sa.Column('last_heartbeat_at', sa.BigInteger(), nullable=True),
    sa.Column('device_count', sa.BigInteger(), nullable=False),
    sa.Column('key_hash', sa.String(length=64), nullable=True),
    sa.Column('hash_algorithm', sa.String(length=12), nullable=False),
    sa.Column('key_prefix', sa.String(length=20), nullable=True),
    sa.Column('key_rotated_at', sa.BigInteger(), nullable=True),
    sa.Column('lock_user', sa.String(length=400), nullable=True),
    sa.Column('lock_holder_type', sa.String(length=20), nullable=True),
    sa.Column('lock_reason', sa.String(length=200), nullable=True),
    sa.Column('locked_at', sa.BigInteger(), nullable=True),
    sa.Column('lock_beat_at', sa.BigInteger(), nullable=True),
    sa.Column('lock_ttl_s', sa.BigInteger(), nullable=True),
    sa.Column('lock_expires_at', sa.BigInteger(), nullable=True),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['org_id'], ['orgs.id'], name=op.f('fk_boxes_org_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_boxes')),
    sa.UniqueConstraint('key_hash', name=op.f('uq_boxes_key_hash')),
    sa.UniqueConstraint('uid', name=op.f('uq_boxes_uid'))
    )
    with op.batch_alter_table('boxes', schema=None) as batch_op:
        batch_op.create_index('ix_boxes_status', ['status', 'last_heartbeat_at'], unique=False)
        batch_op.create_index('uq_boxes_org_name', ['org_id', 'name'], unique=True)

    op.create_table('access_grants',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('uid', sa.String(length=36), nullable=False),
    sa.Column('org_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('box_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True),
    sa.Column('group_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True),
    sa.Column('user_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True),
    sa.Column('team_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True),
    sa.Column('granted_by_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.CheckConstraint('(box_id IS NULL) <> (group_id IS NULL)', name='ck_access_grants_target'),
    sa.CheckConstraint('(user_id IS NULL) <> (team_id IS NULL)', name='ck_access_grants_grantee'),
    sa.ForeignKeyConstraint(['box_id'], ['boxes.id'], name=op.f('fk_access_grants_box_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['granted_by_id'], ['users.id'], name=op.f('fk_access_grants_granted_by_id'), ondelete='SET NULL'),
    sa.ForeignKeyConstraint(['group_id'], ['box_groups.id'], name=op.f('fk_access_grants_group_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['org_id'], ['orgs.id'], name=op.f('fk_access_grants_org_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['team_id'], ['teams.id'], name=op.f('fk_access_grants_team_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_access_grants_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_access_grants')),
    sa.UniqueConstraint('uid', name=op.f('uq_access_grants_uid'))
    )
    with op.batch_alter_table('access_grants', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_access_grants_org_id'), ['org_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_access_grants_team_id'), ['team_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_access_grants_user_id'), ['user_id'], unique=False)
        batch_op.create_index('uq_access_grants_box_team', ['box_id', 'team_id'], unique=True)
        batch_op.create_index('uq_access_grants_box_user', ['box_id', 'user_id'], unique=True)
        batch_op.create_index('uq_access_grants_group_team', ['group_id', 'team_id'], unique=True)
        batch_op.create_index('uq_access_grants_group_user', ['group_id', 'user_id'], unique=True)

    op.create_table('box_group_boxes',
    sa.Column('group_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('box_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('added_at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['box_id'], ['boxes.id'], name=op.f('fk_box_group_boxes_box_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['group_id'], ['box_groups.id'], name=op.f('fk_box_group_boxes_group_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('group_id', 'box_id', name=op.f('pk_box_group_boxes'))
    )
    with op.batch_alter_table('box_group_boxes', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_box_group_boxes_box_id'), ['box_id'], unique=False)

    op.create_table('box_setups',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('box_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('token_hash', sa.String(length=64), nullable=False),
    sa.Column('created_by_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('expires_at', sa.BigInteger(), nullable=False),
    sa.Column('used_at', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['box_id'], ['boxes.id'], name=op.f('fk_box_setups_box_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['created_by_id'], ['users.id'], name=op.f('fk_box_setups_created_by_id'), ondelete='SET NULL'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_box_setups')),
    sa.UniqueConstraint('token_hash', name=op.f('uq_box_setups_token_hash'))
    )
    with op.batch_alter_table('box_setups', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_box_setups_box_id'), ['box_id'], unique=False)

    op.create_table('devices',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('uid', sa.String(length=36), nullable=False),
    sa.Column('box_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('net_name', sa.String(length=100), nullable=False),
    sa.Column('name', sa.String(length=100), nullable=False),
    sa.Column('type', sa.String(length=64), nullable=False),
    sa.Column('capabilities', sa.JSON(), nullable=False),
    sa.Column('present', sa.Boolean(), nullable=False),
    sa.Column('last_seen_at', sa.BigInteger(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['box_id'], ['boxes.id'], name=op.f('fk_devices_box_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_devices')),
    sa.UniqueConstraint('uid', name=op.f('uq_devices_uid'))
    )
    with op.batch_alter_table('devices', schema=None) as batch_op:
        batch_op.create_index('uq_devices_box_net', ['box_id', 'net_name'], unique=True)

    op.create_table('heartbeats',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('uid', sa.String(length=36), nullable=False),
    sa.Column('box_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('received_at', sa.BigInteger(), nullable=False),
    sa.Column('status', sa.JSON(), nullable=False),
    sa.Column('agent_version', sa.String(length=64), nullable=True),
    sa.Column('metrics', sa.JSON(), nullable=True),
    sa.Column('device_count', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['box_id'], ['boxes.id'], name=op.f('fk_heartbeats_box_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_heartbeats')),
    sa.UniqueConstraint('uid', name=op.f('uq_heartbeats_uid'))
    )
    with op.batch_alter_table('heartbeats', schema=None) as batch_op:
        batch_op.create_index('ix_heartbeats_box', ['box_id', 'received_at'], unique=False)
        batch_op.create_index(batch_op.f('ix_heartbeats_received_at'), ['received_at'], unique=False)


def downgrade() -> None:
    with op.batch_alter_table('heartbeats', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_heartbeats_received_at'))
        batch_op.drop_index('ix_heartbeats_box')

    op.drop_table('heartbeats')
    with op.batch_alter_table('devices', schema=None) as batch_op:
        batch_op.drop_index('uq_devices_box_net')

    op.drop_table('devices')
    with op.batch_alter_table('box_setups', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_box_setups_box_id'))

    op.drop_table('box_setups')
    with op.batch_alter_table('box_group_boxes', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_box_group_boxes_box_id'))

    op.drop_table('box_group_boxes')
    with op.batch_alter_table('access_grants', schema=None) as batch_op:
        batch_op.drop_index('uq_access_grants_group_user')
        batch_op.drop_index('uq_access_grants_group_team')
        batch_op.drop_index('uq_access_grants_box_user')
        batch_op.drop_index('uq_access_grants_box_team')
        batch_op.drop_index(batch_op.f('ix_access_grants_user_id'))
        batch_op.drop_index(batch_op.f('ix_access_grants_team_id'))
        batch_op.drop_index(batch_op.f('ix_access_grants_org_id'))

    op.drop_table('access_grants')
    with op.batch_alter_table('boxes', schema=None) as batch_op:
        batch_op.drop_index('uq_boxes_org_name')
        batch_op.drop_index('ix_boxes_status')

    op.drop_table('boxes')
    with op.batch_alter_table('box_groups', schema=None) as batch_op:
        batch_op.drop_index('uq_box_groups_org_slug')

    op.drop_table('box_groups')
