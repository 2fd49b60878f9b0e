"""The terms of a trust policy: which models may be asked, for how many tokens, and for how much money."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fnmatch import translate
from re import IGNORECASE, Pattern
from re import compile as compile_pattern
from typing import TYPE_CHECKING, Final

from app.gateway.findings import ENFORCER, INPUT, POLICY, note
from app.gateway.modules.detectors import BLOCK, WARN, warn
from app.gateway.money import usd_text
from app.gateway.wire import Kind
from app.problems import Problem

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange
    from app.gateway.steps import Offer
    from app.gateway.wire import Json, Target
    from models.trust import TrustPolicy

ALLOW: Final = "allow"
TOKENS: Final = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Terms:
    """What one policy asks of calls besides their texts; what is None or empty it does not ask."""

    name: str
    action: str
    models: tuple[Pattern[str], ...] = ()
    allows: bool = True
    tokens: int | None = None
    nano: int | None = None

    @classmethod
    def of(cls, policy: TrustPolicy) -> Terms | None:
        """The policy's terms; None when it has none."""
        if not policy.models and policy.max_tokens is None and policy.max_cost_nano is None:
            return None
        models = tuple(compile_pattern(translate(glob), IGNORECASE) for glob in policy.models)
        allows = policy.models_mode == ALLOW
        name = f"{ENFORCER}.{policy.name}"
        return cls(name, policy.type, models, allows, policy.max_tokens, policy.max_cost_nano)

    @property
    def of_targets(self) -> bool:
        """Whether they depend on where the call goes."""
        return bool(self.models) or self.nano is not None

    def measure(self, exchange: Exchange, counted: Counter[str]) -> None:
        """Judge the answer's length asked for; a blocking policy sets its own where none was. Problem 403."""
        if self.tokens is None or exchange.kind is Kind.EMBEDDINGS:
            return
        asked = _asked(exchange.body)
        if asked > self.tokens:
            told = f"it asks for {asked} tokens, and {self.tokens} are the most"
            self._violated(exchange, counted, "max_tokens", told)
        elif not asked and self.action == BLOCK:
            name = TOKENS[exchange.kind is Kind.CHAT]
            exchange.body = {**exchange.body, name: self.tokens}

    def narrow(self, exchange: Exchange, offer: Offer, counted: Counter[str]) -> Offer:
        """The offers the call may take; Problem 403 when a blocking policy leaves none."""
        for limit, broken in (("models", self._is_denied), ("max_cost", self._is_dear)):
            left = [(target, worst) for target, worst in offer if not broken(exchange, target, worst)]
            if self.action != BLOCK and left[:1] != list(offer[:1]):
                self._violated(exchange, counted, limit, "")
            elif self.action == BLOCK and not left:
                target, worst = offer[0]
                exchange.provider, exchange.model = target.provider.name, target.model
                self._violated(exchange, counted, limit, self._told(limit, target, worst))
            elif self.action == BLOCK:
                offer = left
        return offer

    def _is_denied(self, exchange: Exchange, target: Target, _worst: int | None) -> bool:
        """By the name it is asked for there, or that the caller's has come to; a stand-in has only its own."""
        if not self.models:
            return False
        names = {target.model} if target.smaller else {target.model, exchange.model}
        listed = any(model.match(name) for model in self.models for name in names)
        return listed != self.allows

    def _is_dear(self, _exchange: Exchange, _target: Target, worst: int | None) -> bool:
        """What it may cost at worst; without a price only a blocking policy has to assume the worst."""
        if self.nano is None:
            return False
        return self.action == BLOCK if worst is None else worst > self.nano

    def _told(self, limit: str, target: Target, worst: int | None) -> str:
        if limit == "models":
            return f"the model {target.model[:100]} may not be asked"
        if worst is None:
            return f"the price of {target.model[:100]} is not known"
        return f"it may cost {usd_text(worst)} USD, and {usd_text(self.nano or 0)} are the most; ask for fewer tokens"

    def _violated(self, exchange: Exchange, counted: Counter[str], limit: str, told: str) -> None:
        """Note it; Problem 403 where the policy blocks."""
        note(exchange, self.name, POLICY, self.action, INPUT)
        counted[self.action] += 1
        if self.action == WARN:
            warn(exchange, self.name)
        if self.action == BLOCK:
            details = {"reason": ENFORCER, "rule": self.name, "limit": limit, "direction": INPUT}
            raise Problem(403, f"The request was blocked by {self.name}: {told}", details=details)


def _asked(body: Json) -> int:
    """The most tokens that one answer may be, by the request; 0 when it does not say."""
    stated = [value for name in TOKENS if isinstance(value := body.get(name), int) and not isinstance(value, bool)]
    return max(stated, default=0)
