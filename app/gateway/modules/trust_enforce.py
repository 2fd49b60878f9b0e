"""Trust policies, enforced: patterns in prompts and answers, and which models, how many tokens and how much money."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine, select

from app.gateway.exchange import Exchange
from app.gateway.findings import ENFORCER, POLICY
from app.gateway.modules.detectors import Detection, Detector, Line
from app.gateway.modules.terms import Terms
from app.gateway.patterns import PatternError, linear
from app.gateway.steps import Module, Offer, Place, Steps
from models.base import transaction
from models.trust import TrustPolicy

log = logging.getLogger("yardmaster.trust")

REQUEST, RESPONSE, BOTH = "request", "response", "both"
UNREAD: Final = "pass"


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies in force, in their order: their patterns for each direction, and the rest of what they say."""

    requests: tuple[Detector, ...] = ()
    responses: tuple[Detector, ...] = ()
    terms: tuple[Terms, ...] = ()


class TrustEnforce(Module):
    """The stored policies that are enabled; without any of them there is nothing to do."""

    COUNTS = ("block", "redact", "warn", "log")

    def settle_in(self, place: Place) -> None:
        """Policies are read where all workers read them."""
        self._engine = place.engine

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """What calls pass through under the policies stored now; PatternError for one that cannot be used."""
        held = stored(self._engine, passing=settings["on_error"] == UNREAD)
        look = Detection(self.counted)
        requests, terms = (held.requests, held.terms) if settings["check_request"] else ((), ())
        responses = held.responses if settings["check_response"] else ()

        def request(exchange: Exchange) -> None:
            for term in terms:
                term.measure(exchange, self.counted)
            look.request(exchange, requests)

        async def hold(exchange: Exchange, offer: Offer) -> Offer:
            for term in terms:
                offer = term.narrow(exchange, offer, self.counted)
            return offer

        def texts(exchange: Exchange) -> Line:
            return Line([look.flow(exchange, rule) for rule in responses])

        return Steps(
            request=request if requests or terms else None,
            hold=hold if any(term.of_targets for term in terms) else None,
            texts=texts if responses else None,
            binding=True,
        )


def stored(engine: Engine, *, passing: bool = False) -> Policies:
    """The enabled policies; PatternError when a pattern no longer compiles, or, `passing`, without that policy."""
    wanted = select(TrustPolicy).where(TrustPolicy.enabled).order_by(TrustPolicy.id)
    with transaction(engine, write=False) as session:
        rows = session.scalars(wanted).all()
    usable = [(row, rules) for row in rows if (rules := _rules(row, passing=passing)) is not None]
    return Policies(
        tuple(_aimed(usable, REQUEST)),
        tuple(_aimed(usable, RESPONSE)),
        tuple(terms for row, _ in usable if (terms := Terms.of(row)) is not None),
    )


def _rules(row: TrustPolicy, *, passing: bool) -> list[tuple[str, Detector]] | None:
    """A policy's patterns with their targets; None when it is to be left out."""
    try:
        return [(rule["target"], _detector(row, rule["pattern"])) for rule in row.rules]
    except PatternError as error:
        log.error("trust policy %s cannot be used: %s", row.id, error)  # noqa: TRY400 (a traceback tells nothing)
        if passing:
            return None
        raise


def _detector(row: TrustPolicy, pattern: str) -> Detector:
    return Detector(f"{ENFORCER}.{row.name}", POLICY, linear(pattern, ignore_case=True), row.type, ENFORCER)


def _aimed(usable: Iterable[tuple[TrustPolicy, list[tuple[str, Detector]]]], direction: str) -> Iterable[Detector]:
    return (rule for _, rules in usable for target, rule in rules if target in {direction, BOTH})
