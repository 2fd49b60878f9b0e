"""How a database would carry out a query: what it reads by an index, and what as a whole."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, Select, text
from sqlalchemy.dialects import postgresql, sqlite

from models.base import transaction

DIALECTS = {"postgresql": postgresql, "sqlite": sqlite}


def plan_of(engine: Engine, asked: Select[Any]) -> str:
    """The plan as the database words it, once it knows what its tables hold."""
    name = engine.dialect.name
    spelt = asked.compile(dialect=DIALECTS[name].dialect(), compile_kwargs={"literal_binds": True})
    how = "EXPLAIN QUERY PLAN" if name == "sqlite" else "EXPLAIN"
    with transaction(engine) as session:
        session.execute(text("ANALYZE"))
        return "\n".join(str(row) for row in session.connection().exec_driver_sql(f"{how} {spelt}".replace("%", "%%")))


def scans(plan: str, table: str) -> bool:
    """Whether a table is read as a whole."""
    return f"Seq Scan on {table} " in plan or f"SCAN {table} " in plan.replace("'", " ").replace('"', " ")
