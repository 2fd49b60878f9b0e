"""Facts about personal data: no table names a person without somebody having said what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Column, String, Table

from app.services import erasure, personal_export
from models.base import Base
from models.identity import User
from models.orgs import Org

TABLES = Base.metadata.sorted_tables
USERS, ORGS = User.__table__, Org.__table__
# The length every column of an e-mail address has, and what columns are called that hold a person's number.
ADDRESS = 320
NUMBERS = ("user_id", "actor_id", "owner_id", "created_by_id", "invited_by_id", "manager_id", "author_id")

SECRETIVE = ("hash", "secret", "sealed", "password")


def gone_with(*roots: Any) -> set[Table]:
    """The tables whose rows go when a row of these does: those that refer to them, to any depth, and cascade."""
    gone = set(roots)
    while more := {t for t in TABLES for key in t.foreign_keys if key.column.table in gone and _cascades(key)} - gone:
        gone |= more
    return gone


def _cascades(key: Any) -> bool:
    return key.ondelete == "CASCADE"


def handled() -> set[Column[Any]]:
    """The columns the erasure itself looks after."""
    anonymised = {rows.column.class_.__table__.c[name] for rows in erasure.ANONYMISED for name in rows.values}
    gone = {column.class_.__table__.c[column.key] for column in (*erasure.ADDRESSED, *erasure.NUMBERED)}
    return anonymised | gone


def names_of(columns: Iterator[Column[Any]] | set[Column[Any]]) -> set[str]:
    """As `table.column`."""
    return {f"{column.table.name}.{column.name}" for column in columns}


def naming() -> Iterator[Column[Any]]:
    """Every column that names a user: by a foreign key, by an address, or by a bare number."""
    for table in TABLES:
        for column in table.columns:
            refers = any(key.column.table is USERS for key in column.foreign_keys)
            addressed = isinstance(column.type, String) and column.type.length == ADDRESS
            if refers or addressed or column.name in NUMBERS or column.name.endswith("_by_id"):
                yield column


def test_whatever_names_a_user_is_erased_or_kept_for_a_reason() -> None:
    """A new table that forgets this would keep people who asked to be forgotten."""
    gone = gone_with(USERS)
    # A row may go with one user and stay, emptied of another: a grant, with its holder and its giver.
    left = {c for c in naming() if c.table not in gone or any(k.ondelete == "SET NULL" for k in c.foreign_keys)}
    assert names_of(left - handled()) == set(erasure.KEPT)
    assert all(len(reason) > 15 for reason in erasure.KEPT.values())


def test_no_foreign_key_stops_an_erasure() -> None:
    """One without a rule refuses the deletion of what it refers to: the whole erasure fails, for one user some day."""
    gone = gone_with(USERS, ORGS)
    keys = [key for table in TABLES for key in table.foreign_keys if key.column.table in gone]
    assert names_of({key.parent for key in keys if key.ondelete not in {"CASCADE", "SET NULL"}}) == set()
    emptied = [key.parent for key in keys if key.ondelete == "SET NULL"]
    assert [column for column in emptied if not column.nullable] == []
    assert names_of({c for c in emptied if _refers_to_users(c)}) == set(erasure.KEPT)


def _refers_to_users(column: Column[Any]) -> bool:
    return any(key.column.table is USERS for key in column.foreign_keys)


def test_the_audit_log_outlives_users() -> None:
    """Who erased an account must not erase the trail of what it did."""
    assert "audit_entries" not in {table.name for table in gone_with(USERS)}
    assert "audit_entries.actor_id" in names_of(handled())


def test_whatever_names_a_user_is_exported_or_left_out_for_a_reason() -> None:
    """A copy that leaves something out without a word is no copy."""
    told = {section.key.class_.__tablename__ for section in personal_export.SECTIONS} | {"users"}
    assert {column.table.name for column in naming()} - told == set(personal_export.UNTOLD)


def test_no_exported_column_is_a_secret(subtests: pytest.Subtests) -> None:
    """By name, before any value is looked at."""
    user = User(id=1, email="ada@example.com")
    for section in personal_export.SECTIONS:
        with subtests.test(section.name):
            told = {column.name for column in section.rows(user).selected_columns}
            assert not {
                n for n in told if any(word in n for word in ("hash", "secret", "sealed", "token_h", "password"))
            }
