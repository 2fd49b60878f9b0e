"""PostgreSQL databases that are put back as they were after each test: making one takes ten times as long."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import URL

from app.engine.durable import SCHEMA
from models.base import Base

# Rows that were deleted still take room: after so many tests a fresh database is quicker.
MOST_TESTS = 300
# Every column of every table and index: a test that changed the schema leaves a database that is not used again.
SHAPE = """
SELECT md5(string_agg(concat_ws('.', n.nspname, c.relname, a.attname, a.atttypid), ',' ORDER BY c.oid, a.attnum))
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' AND a.attnum > 0
"""
OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
SEQUENCES = "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public'"
Connection = psycopg.Connection[Any]


class Shelf:
    """Databases of this process, each like the template, lent to one test at a time."""

    def __init__(self, template: URL, maintain: Callable[[URL, str], None]) -> None:
        self._template, self._maintain = template, maintain
        # Each with how often it was lent, and the connection that puts it back, whose caches stay warm.
        self._spare: list[tuple[str, int, Connection]] = []
        self._tables = [table.name for table in Base.metadata.sorted_tables]
        with self._connected(template.database or "") as connection:
            self._shape = self._shape_of(connection)
            self._rows = {table: self._copied(connection, table) for table in self._filled(connection)}
            self._sequences = dict(connection.execute(SEQUENCES).fetchall())

    @contextmanager
    def lent(self) -> Iterator[URL]:
        """One database, for as long as the context lasts."""
        name, uses, keeper = self._spare.pop() if self._spare else self._made()
        try:
            yield self._template.set(database=name)
        finally:
            if uses < MOST_TESTS and self._is_restored(keeper):
                self._spare.append((name, uses + 1, keeper))
            else:
                self._drop(name, keeper)

    def close(self) -> None:
        """Drop them all."""
        for name, _, keeper in self._spare:
            self._drop(name, keeper)

    def _made(self) -> tuple[str, int, Connection]:
        name = f"{self._template.database}_{uuid.uuid4().hex[:12]}"
        self._maintain(self._template, f'CREATE DATABASE "{name}" TEMPLATE "{self._template.database}"')
        return name, 0, self._connected(name)

    def _drop(self, name: str, keeper: Connection) -> None:
        keeper.close()
        self._maintain(self._template, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _is_restored(self, keeper: Connection) -> bool:
        """Put everything back; False when that cannot be done, or the test changed more than rows."""
        try:
            keeper.execute("SET lock_timeout = '2s'")
            keeper.execute(OTHERS)
            keeper.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(SCHEMA)))
            same = self._shape_of(keeper) == self._shape
            if same:
                self._restore(keeper)
        except psycopg.Error:
            return False
        return same

    def _restore(self, connection: Connection) -> None:
        filled = self._filled(connection)
        with connection.transaction():
            for table in reversed(self._tables):
                if table in filled:
                    connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
            for table in self._tables:
                if content := self._rows.get(table):
                    self._put_back(connection, table, content)
            for name, last in connection.execute(SEQUENCES).fetchall():
                if last != self._sequences.get(name):
                    known = self._sequences.get(name)
                    connection.execute("SELECT setval(%s, %s, %s)", (f'"{name}"', known or 1, known is not None))

    @staticmethod
    def _put_back(connection: Connection, table: str, content: bytes) -> None:
        statement = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(content)

    @staticmethod
    def _copied(connection: Connection, table: str) -> bytes:
        statement = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            return b"".join(map(bytes, copy))

    def _filled(self, connection: Connection) -> set[str]:
        """The tables with any rows."""
        one = sql.SQL("SELECT {} WHERE EXISTS (SELECT 1 FROM {})")
        asked = [one.format(sql.Literal(table), sql.Identifier(table)) for table in self._tables]
        return {table for (table,) in connection.execute(sql.SQL(" UNION ALL ").join(asked)).fetchall()}

    @staticmethod
    def _shape_of(connection: Connection) -> object:
        row = connection.execute(SHAPE).fetchone()
        return row[0] if row else None

    def _connected(self, name: str) -> Connection:
        url = self._template.set(drivername="postgresql", database=name)
        return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)
