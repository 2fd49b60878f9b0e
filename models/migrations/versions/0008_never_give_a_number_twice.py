"""Never give a user's or a key's number twice, and find people by their last sign-in."""

from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None

NUMBERED = ('users', 'api_keys')


def upgrade() -> None:
    _rebuild(autoincrement=True)
    op.create_index('ix_users_last_login_at', 'users', ['last_login_at', 'id'], unique=False)


def downgrade() -> None:
    op.drop_index('ix_users_last_login_at', 'users')
    _rebuild(autoincrement=False)


def _rebuild(*, autoincrement: bool) -> None:
    """PostgreSQL's sequences never go back; SQLite gives the highest number again once its row is gone."""
    if op.get_bind().dialect.name != 'sqlite':
        return
    for table in NUMBERED:
        with op.batch_alter_table(table, recreate='always', table_kwargs={'sqlite_autoincrement': autoincrement}):
            pass
