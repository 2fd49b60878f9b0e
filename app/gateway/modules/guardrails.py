"""Guardrail rules: an operator's own patterns, by project and priority, on what goes in and what comes out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from sqlalchemy import Engine, select

from app.gateway.exchange import Exchange
from app.gateway.modules.detectors import Detection, Detector, Line
from app.gateway.patterns import PatternError, linear
from app.gateway.steps import Module, Steps
from models.base import transaction
from models.guardrails import Guardrail

log = logging.getLogger("yardmaster.guardrails")


class Guardrails(Module):
    """The enabled rules, highest priority first."""

    COUNTS = ("block", "redact", "warn", "log")

    def of(self, rules: Sequence[Detector]) -> Steps:
        """The steps under these rules; none when there are none."""
        if not rules:
            return Steps()
        look = Detection(self.counted)

        def request(exchange: Exchange) -> None:
            look.request(exchange, rules)

        def texts(exchange: Exchange) -> Line | None:
            flows = [look.flow(exchange, rule) for rule in rules if rule.serves(exchange)]
            return Line(flows) if flows else None

        return Steps(request=request, texts=texts)


def stored(engine: Engine) -> list[Detector]:
    """The rules in force, in the order they apply."""
    order = (Guardrail.priority.desc(), Guardrail.id)
    with transaction(engine, write=False) as session:
        rows = session.scalars(select(Guardrail).where(Guardrail.enabled).order_by(*order)).all()
    return list(compiled(rows))


def compiled(rows: Iterable[Guardrail]) -> Iterable[Detector]:
    """The rows as detectors; one whose pattern no longer compiles is left out, and said to be."""
    for row in rows:
        try:
            pattern = linear(row.pattern, ignore_case=True)
        except PatternError as error:
            log.error(  # noqa: TRY400 (a traceback would tell nothing)
                "guardrail %s does not apply: its pattern cannot be used (%s)", row.id, error
            )
            continue
        yield Detector(row.name, row.type, pattern, row.action, project=row.project)
