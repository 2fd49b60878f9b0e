"""Labels: what callers are shown in place of vendors, in answers, streams, refusals and lists of models.

What is kept of a call, its trace and its cached answer, has the truth: a label is put on as the answer leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from app.gateway.usage import to_openai
from app.gateway.vendors import unbranded
from app.gateway.wire import Json, Kind, Usage

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange
    from app.problems import Problem
    from app.security.principals import Principal

OURS: Final = "Yardmaster"
# What every vendor's answer has; whatever else it tells, it tells of the vendor.
_WHOLE: Final = frozenset({"object", "created", "choices", "data"})
_CHOICE: Final = frozenset({"index", "message", "delta", "text", "logprobs", "finish_reason"})
# Read by the wires that say an answer again in words of their own, and shown on no other.
_FOR_WIRES: Final = frozenset({"stop_reason", "anthropic"})
_OF_ITS_END: Final = frozenset({"stop_reason", "stop_sequence", "stop_details", "container", "context_management"})
_ANSWER_IDS: Final = {Kind.CHAT: "chatcmpl-", Kind.COMPLETIONS: "cmpl-"}
# How ids of tool calls begin, by vendor; those without such a beginning are told back to the vendor as they are.
_CALL_IDS: Final = ("chatcmpl-tool-", "toolu_", "call_")
_VENDORS_OWN: Final = frozenset({"type", "provider_code"})
_OWNER_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class Label:
    """What one tenant sees: a product, and for models of vendors (`names`) the names shown; `meant` leads back."""

    product: str
    names: Mapping[str, str]
    hides: bool
    meant: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Where several models have one name, the first by alphabet is meant by it."""
        meant = {shown: model for model, shown in sorted(self.names.items(), reverse=True) if shown}
        object.__setattr__(self, "meant", meant)

    def model(self, exchange: Exchange) -> str:
        """The name shown: the model's, or where it has none the one it was asked for by, which tells nothing new."""
        return self.names.get(exchange.model) or exchange.asked

    def headers(self, exchange: Exchange) -> list[tuple[bytes, bytes]]:
        """Who answered, as far as that is told."""
        model = (b"x-stockyard-model", self.model(exchange).encode("latin-1", "replace"))
        return [model] if self.hides else [(b"x-stockyard-provider", exchange.provider.encode()), model]

    def answer(self, exchange: Exchange, body: Json, usage: Usage) -> Json:
        """A whole answer, told alike whoever gave it."""
        return self._whole(exchange, body, "message") | {"usage": to_openai(usage, exchange.kind)}

    def chunk(self, exchange: Exchange, chunk: Json) -> Json:
        """A piece of one. What was used is told by its end."""
        return self._whole(exchange, chunk, "delta")

    def _whole(self, exchange: Exchange, body: Json, part: str) -> Json:
        shown = {name: value for name, value in body.items() if name in _WHOLE} | {"model": self.model(exchange)}
        if begin := _ANSWER_IDS.get(exchange.kind):
            shown["id"] = begin + exchange.id.removeprefix("tr_")
        if "choices" in shown:
            shown["choices"] = [_choice(exchange, choice, part) for choice in shown["choices"]]
        return shown

    def refuse(self, exchange: Exchange, problem: Problem) -> None:
        """Say a refusal without its vendor."""
        if problem.details.get("reason") == "no_provider":
            problem.message = f"No provider is configured for {exchange.asked[:100]}"
        problem.message = self._said(exchange, problem.message)
        told = {name: value for name, value in problem.details.items() if name not in _VENDORS_OWN}
        told |= {"provider": self.product} if "provider" in told else {}
        if isinstance(original := told.get("provider_message"), str):
            told["provider_message"] = self._said(exchange, original)
        problem.details = told

    def _said(self, exchange: Exchange, text: str) -> str:
        """The text with our names. Those stand as they are, even where they sound like a vendor's."""
        shown = self.model(exchange)
        own = {name: name for name in (self.product, exchange.asked, *self.names.values())}
        return unbranded(text, self.product, shown, {**own, exchange.model: shown, **self.names})

    def listed(self, models: list[Json], *, named: bool) -> list[Json]:
        """A list of models, each name once; with `named` only those that have a name of ours."""
        owner, found = self.product[:_OWNER_LENGTH], dict[str, Json]()
        for model in models:
            if not named or model["id"] in self.names:
                shown = self.names.get(model["id"]) or model["id"]
                found.setdefault(shown, {**model, "id": shown, "owned_by": owner})
        return list(found.values())


class Labels:
    """The labels of all tenants. Whose user makes a call is its tenant's, whatever project it names."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._hides = settings["hide_provider_headers"]
        self._everybody = self._of(settings)
        self._named = {tenant["id"]: self._of(tenant) for tenant in settings["tenants"]}
        self._users = {int(user): self._named[t["id"]] for t in reversed(settings["tenants"]) for user in t["users"]}

    def _of(self, given: Mapping[str, Any]) -> Label:
        names = {model: shown for model, shown in given["model_names"].items() if shown}
        return Label(given["product_name"] or OURS, names, self._hides)

    def of(self, principal: Principal, project: str) -> Label:
        """What is shown to this caller."""
        if principal.user_id is not None and (found := self._users.get(principal.user_id)):
            return found
        return self._named.get(project, self._everybody)


def _choice(exchange: Exchange, choice: Json, part: str) -> Json:
    kept = _CHOICE if exchange.inbound is None else _CHOICE | _FOR_WIRES
    shown = {name: value for name, value in choice.items() if name in kept}
    if told := shown.get("anthropic"):
        shown["anthropic"] = {name: value for name, value in told.items() if name in _OF_ITS_END}
    if calls := (shown.get(part) or {}).get("tool_calls"):
        shown[part] = {**shown[part], "tool_calls": [_call(exchange, call) for call in calls]}
    return shown


def _call(exchange: Exchange, call: Json) -> Json:
    """A tool call under an id of the client's wire."""
    own = "toolu_" if exchange.inbound and exchange.inbound.name == "messages" else "call_"
    given = call.get("id") or ""
    begun = next((begin for begin in _CALL_IDS if given.startswith(begin)), None)
    return call if begun in {None, own} else {**call, "id": own + given.removeprefix(begun or "")}
