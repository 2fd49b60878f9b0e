"""Data flows: how many calls carried which kind of personal data to which provider, and nothing of the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from models.base import now, transaction
from models.observing import DataFlow
from models.views.fields import rfc3339

Json = dict[str, Any]
# The kind under which every examined call is counted, whatever was found in it.
ANY: Final = ""
# Callers name projects: beyond so many rows, new ones are counted together under a name no project can have.
MOST_ROWS: Final = 10_000
OTHERS: Final = ""
MOST_SHOWN: Final = 1_000
KEY: Final = ("kind", "provider", "project")


class Flow(NamedTuple):
    """One kind of data, on its way to one provider, for one project."""

    kind: str
    provider: str
    project: str


def add(engine: Engine, found: Mapping[Flow, int]) -> None:
    """Add calls to what is kept: in the order of their keys, so that two writers take the rows' locks in one order."""
    with transaction(engine) as session:
        moment, rows = now(), dict[Flow, int]()
        for flow, calls in _bounded(session, found):
            rows[flow] = rows.get(flow, 0) + calls
        dialect = {"postgresql": postgresql, "sqlite": sqlite}[engine.dialect.name]
        added = dialect.insert(DataFlow)
        more = {"calls": DataFlow.calls + added.excluded.calls, "last_at": added.excluded.last_at}
        told = [flow._asdict() | {"calls": rows[flow], "first_at": moment, "last_at": moment} for flow in sorted(rows)]
        session.execute(added.on_conflict_do_update(index_elements=list(KEY), set_=more), told)


def _bounded(session: Session, found: Mapping[Flow, int]) -> Iterable[tuple[Flow, int]]:
    """The flows, those of new projects under one name once there are too many."""
    kept = session.scalar(select(func.count()).select_from(DataFlow)) or 0
    if kept + len(found) <= MOST_ROWS:
        return found.items()
    projects = {flow.project for flow in found}
    known = set(session.scalars(select(DataFlow.project).where(DataFlow.project.in_(projects)).distinct()))
    return [(flow if flow.project in known else flow._replace(project=OTHERS), found[flow]) for flow in found]


def shown(engine: Engine) -> Json:
    """Calls by kind and provider over all projects, and the largest flows one by one."""
    calls = func.sum(DataFlow.calls)
    totals = select(DataFlow.kind, DataFlow.provider, calls).group_by(DataFlow.kind, DataFlow.provider)
    largest = select(DataFlow).where(DataFlow.kind != ANY).order_by(DataFlow.calls.desc(), *map(_column, KEY))
    with transaction(engine, write=False) as session:
        by_kind: dict[str, dict[str, int]] = {}
        for kind, provider, number in session.execute(totals.order_by(DataFlow.kind, DataFlow.provider)):
            by_kind.setdefault(kind, {})[provider] = int(number)
        flows = [_shown(flow) for flow in session.scalars(largest.limit(MOST_SHOWN))]
    return {"calls": by_kind.pop(ANY, {}), "kinds": by_kind, "flows": flows}


def _column(name: str) -> Any:
    return getattr(DataFlow, name)


def _shown(flow: DataFlow) -> Json:
    told: Json = {"kind": flow.kind, "provider": flow.provider, "project": flow.project, "calls": flow.calls}
    return told | {"first_at": rfc3339(flow.first_at), "last_at": rfc3339(flow.last_at)}
