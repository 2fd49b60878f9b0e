"""Policy engine: an operator's rules over who calls, for what model, when and at what cost, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.conditions import Among, Clock, Times, among, bare, dearest, models, times, utc_now
from app.gateway.modules.detectors import warn
from app.gateway.money import nano_from_usd
from app.gateway.steps import Module, Steps
from app.problems import Problem

NAME: Final = "policyengine"
ALLOW, DENY, WARN, REWRITE = "allow", "deny", "warn", "rewrite"
STRICTEST: Final = (DENY, WARN, REWRITE, ALLOW)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. An empty set of users, keys or projects is everybody; `above` nano-dollars of 0 is any cost."""

    name: str
    users: frozenset[int]
    keys: frozenset[int]
    projects: Among | None
    operations: frozenset[str]
    models: Among
    times: Times
    above: int
    effect: str
    model: str

    @property
    def severity(self) -> int:
        """The stricter, the less."""
        return STRICTEST.index(self.effect)

    def means(self, names: tuple[str, ...]) -> bool:
        """Whether a model of these names is meant; what is allowed must be named as it is asked for."""
        return self.models(names if self.effect == ALLOW else bare(names))

    def concerns(self, exchange: Exchange) -> bool:
        """Whether the caller and the call are meant, be its model and its cost what they may."""
        who = exchange.call.principal
        return (
            (not self.users or who.user_id in self.users)
            and (not self.keys or who.key_id in self.keys)
            and (self.projects is None or self.projects([exchange.project]))
            and exchange.kind in self.operations
        )


class Policyengine(Module):
    """The first rule that fits decides; of several models asked at once each is judged, and the strictest word counts.

    Only a call for one model is rewritten, and none with a provider's own key, which opens no other provider.
    """

    COUNTS = ("allowed", "denied", "warned", "rewritten")

    def __init__(self, clock: Clock = utc_now) -> None:
        super().__init__()
        self.clock = clock

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """The rules in order, and what becomes of a call that none of them fits."""
        rules = [_rule(rule) for rule in settings["rules"]]
        otherwise = replace(_EVERYTHING, effect=settings["default"])
        unpriced = settings["unpriced"] == "fits"

        async def request(exchange: Exchange) -> None:
            found = [await self._decided(exchange, rules, names, unpriced) or otherwise for names in models(exchange)]
            self._apply(exchange, min(found, key=lambda rule: rule.severity))

        return Steps(request=request if rules or otherwise.effect == DENY else None)

    async def _decided(
        self, exchange: Exchange, rules: Sequence[Rule], names: tuple[str, ...], unpriced: bool
    ) -> Rule | None:
        """The first rule that fits the call when it asks for the model of these names."""
        moment = self.clock()
        for rule in rules:
            if rule.concerns(exchange) and rule.means(names) and rule.times.hold(moment):
                if not rule.above:
                    return rule
                cost = await dearest(exchange, names[-1])
                if unpriced if cost is None else cost > rule.above:
                    return rule
        return None

    def _apply(self, exchange: Exchange, rule: Rule) -> None:
        """Do what the rule says; Problem 403 when it denies."""
        if rule.effect == DENY:
            self.counted["denied"] += 1
            said = f"The policy {rule.name[:100]} denies this call" if rule.name else "No policy allows this call"
            raise Problem(403, said, details={"reason": NAME, "rule": rule.name})
        if rule.effect == WARN:
            self.counted["warned"] += 1
            warn(exchange, f"{NAME}.{rule.name}")
        elif rule.effect == REWRITE and rule.model and exchange.fan is None and not exchange.call.principal.secret:
            self.counted["rewritten"] += 1
            exchange.model, exchange.wanted_provider = rule.model, ""
        else:
            self.counted["allowed"] += 1
        if rule.name:
            exchange.details["policy"] = rule.name


def _rule(given: Mapping[str, Any]) -> Rule:
    return Rule(
        name=given["name"],
        users=frozenset(map(int, given["users"])),
        keys=frozenset(map(int, given["keys"])),
        projects=among(given["projects"]) if given["projects"] else None,
        operations=frozenset(given["operations"]),
        models=among(given["models"]),
        times=times(given),
        above=nano_from_usd(float(given["cost_above"])),
        effect=given["effect"],
        model=given["model"],
    )


_EVERYTHING: Final = Rule(
    "", frozenset(), frozenset(), None, frozenset(), among(["*"]), times({"hours": "", "days": []}), 0, ALLOW, ""
)
