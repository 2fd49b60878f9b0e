"""Parameter normalisation: sampling parameters as the provider and the model that are asked can take them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.steps import Module, Steps
from app.gateway.wire import Json, Target

HEADER: Final = b"x-stockyard-normalised"
ANYWHERE: Final = (-1e9, 1e9)
# Ranges as the vendors document them, where they are narrower than what the document lets in at all: for every
# provider, then for single ones.
LIMITS: Final[Mapping[str, tuple[float, float]]] = {"min_p": (0.0, 1.0)}
OWN_LIMITS: Final[Mapping[str, Mapping[str, tuple[float, float]]]] = {
    "anthropic": {"temperature": (0.0, 1.0)},
    "mistral": {"temperature": (0.0, 1.5)},
    "cohere": {"frequency_penalty": (0.0, 1.0), "presence_penalty": (0.0, 1.0)},
}
BIASED: Final = frozenset({"logprobs", "top_logprobs", "logit_bias"})
PENALISED: Final = frozenset({"frequency_penalty", "presence_penalty"})
DROPPED: Final[Mapping[str, frozenset[str]]] = {
    "anthropic": BIASED | PENALISED | {"seed"},
    "gemini": frozenset({"logit_bias"}),
}
# OpenAI's models that reason take no sampling parameters, and know the most tokens by its new name only.
REASONING: Final = ("o1", "o3", "o4", "gpt-5")
REASONS_WITHOUT: Final = BIASED | PENALISED | {"temperature", "top_p"}
# Rules change sampling, not what is asked, of whom, and how it is sent.
UNTOUCHED: Final = frozenset({"model", "messages", "prompt", "input", "stream", "stream_options", "tools", "n"})
TOKENS: Final = frozenset({"max_tokens", "max_completion_tokens"})
MOST_PLANS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done for one model at one provider."""

    drops: frozenset[str]
    renames: tuple[tuple[str, str], ...]
    limits: tuple[tuple[str, float, float], ...]


class Paramnorm(Module):
    """A plan is made once for each target, and costs a call a look at its own parameters."""

    COUNTS = ("dropped", "renamed", "clamped")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Before each attempt: a stand-in of another provider takes other values."""
        plans: dict[tuple[str, str], Plan] = {}
        report = settings["report"]

        def fit(exchange: Exchange, body: Json, target: Target) -> Json:
            key = target.provider.name, target.model
            plan = plans.get(key)
            if plan is None:
                if len(plans) >= MOST_PLANS:  # callers invent model names
                    plans.clear()
                plan = plans[key] = plan_for(settings, *key)
            fitted, told = self._fitted(body, plan)
            if report:
                _report(exchange, told)
            return fitted

        return Steps(fit=fit)

    def _fitted(self, body: Json, plan: Plan) -> tuple[Json, list[str]]:
        """The body under the plan, and what was done to it; the same object when nothing was."""
        fitted, told = dict(body), list[str]()
        for name in plan.drops.intersection(body):
            del fitted[name]
            told.append(f"{name}=dropped")
        for old, new in plan.renames:
            if old in fitted:
                value = fitted.pop(old)
                fitted.setdefault(new, value)
                told.append(f"{old}=renamed")
        for name, low, high in plan.limits:
            value = fitted.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and not low <= value <= high:
                fitted[name] = _whole(min(max(value, low), high))
                told.append(f"{name}=clamped")
        for word in told:
            self.counted[word.partition("=")[2]] += 1
        return (fitted, sorted(told)) if told else (body, told)


def plan_for(settings: Mapping[str, Any], provider: str, model: str) -> Plan:
    """The built-in rules as far as they are wanted, and the operator's for this target."""
    name = model.rpartition("/")[2]
    reasons = provider in {"openai", "azure"} and name.startswith(REASONING) and "chat" not in name
    drops = (
        set(DROPPED.get(provider, ())) | set(REASONS_WITHOUT if reasons else ()) if settings["drop_unknown"] else set()
    )
    renames = {"max_tokens": "max_completion_tokens"} if reasons else {}
    limits = {**LIMITS, **OWN_LIMITS.get(provider, {})} if settings["clamp"] else {}
    for rule in settings["rules"]:
        if fnmatchcase(provider, rule["provider"]) and fnmatchcase(model, rule["model"]):
            drops |= set(rule["drop"]) - UNTOUCHED - TOKENS
            renames |= {old: new for old, new in rule["rename"].items() if _may_become(old, new)}
            limits |= dict(_ranges(rule["limits"]))
    return Plan(frozenset(drops), tuple(renames.items()), tuple((n, low, high) for n, (low, high) in limits.items()))


def _whole(value: float) -> float:
    """A whole number as an integer: for counts, providers take nothing else."""
    return int(value) if value == int(value) else value


def _may_become(old: str, new: str) -> bool:
    """Whether a parameter may be sent under the other name: none becomes a number of tokens that was not one."""
    return not {old, new} & UNTOUCHED and (new not in TOKENS or old in TOKENS)


def _ranges(limits: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, tuple[float, float]]]:
    """The operator's ranges. One for the most tokens only lowers it: money is held for no more."""
    for limit in limits:
        name, low = limit["parameter"], limit["min"]
        if name not in UNTOUCHED and low <= limit["max"]:
            yield name, (ANYWHERE[0] if name in TOKENS else low, limit["max"])


def _report(exchange: Exchange, told: list[str]) -> None:
    """Name it in a header; what an earlier attempt elsewhere did does not matter any more."""
    exchange.headers = [(name, value) for name, value in exchange.headers if name != HEADER]
    if told:
        exchange.headers.append((HEADER, ", ".join(told).encode("ascii", "replace")[:1000]))
