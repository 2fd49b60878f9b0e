"""Sends stored calls to the operator's collector, in the order they were recorded, each until it is taken."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from sqlalchemy import Engine, func, select

from app.engine import Context
from app.outbound.otlp import Collector
from app.services import system
from app.services.spans import genai
from models.base import transaction
from models.gateway import ModuleState
from models.traces import ExportPosition, Trace, TraceBody

log = logging.getLogger("yardmaster.spans")
NAME: Final = "spans"
BATCH: Final = 200


class SpanExport:
    """The engine's turn that exports what was recorded since the last one.

    The place is kept in the database once a batch was taken: a crash sends a batch again, with the same span ids, and
    a collector that is away gets everything when it is back, as far as traces are kept. What was recorded before
    the first turn is not sent.
    """

    EVERY_S: ClassVar[float] = 2.0

    def __init__(self, engine: Engine, collector: Collector) -> None:
        self._engine = engine
        self._collector = collector
        self._trouble = ""

    def __call__(self, context: Context) -> None:
        """Export until nothing is left, or the collector takes no more."""
        place = self._place()
        while rows := self._after(place):
            if not self._take(rows):
                return
            place = rows[-1][0].seq
            self._keep(place)
            context.make_way()

    def _place(self) -> int:
        """Where the last turn ended; at first, the end of what is recorded."""
        with transaction(self._engine) as opened:
            held = opened.get(ExportPosition, NAME)
            if held is None:
                held = ExportPosition(name=NAME, seq=opened.scalar(select(func.max(Trace.seq))) or 0)
                opened.add(held)
            return held.seq

    def _after(self, place: int) -> list[tuple[Trace, TraceBody | None]]:
        following = select(Trace).where(Trace.seq > place).order_by(Trace.seq).limit(BATCH)
        with transaction(self._engine, write=False) as opened:
            traces = opened.scalars(following).all()
            kept = select(TraceBody).where(TraceBody.seq.in_([trace.seq for trace in traces]))
            bodies = {body.seq: body for body in opened.scalars(kept)} if self._collector.contents else {}
        return [(trace, bodies.get(trace.seq)) for trace in traces]

    def _take(self, rows: Sequence[tuple[Trace, TraceBody | None]]) -> bool:
        """Whether the batch is done with: taken, or refused for good."""
        spans = [span for trace, body in rows if (span := genai.span(trace, body))]
        if not spans:
            return True
        trouble, hopeless = self._collector.send(genai.request(spans, self._resource(), system.release()))
        if trouble and trouble != self._trouble:
            log.warning("%d spans %s: %s", len(spans), "are given up" if hopeless else "wait", trouble)
        self._trouble = trouble
        return not trouble or hopeless

    def _resource(self) -> Mapping[str, str]:
        """What the environment says of this server, under the name that `tracelink` gives it."""
        with transaction(self._engine, write=False) as opened:
            state = opened.get(ModuleState, "tracelink")
        name = str(state.config.get("service_name", "")) if state and state.enabled else ""
        return {**self._collector.resource, "service.name": name} if name else self._collector.resource

    def _keep(self, place: int) -> None:
        with transaction(self._engine) as opened:
            opened.get_one(ExportPosition, NAME).seq = place
