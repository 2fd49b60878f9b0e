"""One model call on its way through the gateway: what was asked, what is known of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any

import orjson

from app.gateway import tracing
from app.gateway.inbound.chat import ChatFrames
from app.gateway.wire import Answer, Json, Kind, Target, Usage
from app.services.trace_record import trace_id

if TYPE_CHECKING:
    from app.gateway.cache.semantic import Question
    from app.gateway.config import Account, Config
    from app.gateway.failures import FailureError
    from app.gateway.inbound.presentation import Frames, Inbound
    from app.gateway.labels import Label
    from app.gateway.leash import Leash
    from app.gateway.modules.multicall import Fan
    from app.gateway.steps import Chain
    from app.gateway.wire import UpstreamResponse, Wire
    from app.wire.call import Call

    # The targets of a call under these settings, with the accounts its user brought, in order of preference.
    Route = Callable[["Exchange", Config, Mapping[str, Account]], list[Target]]


@dataclass(slots=True)
class Exchange:
    """The state of one call. Modules read and change it before and after the provider is asked.

    `model` starts as the caller's and may be replaced by an alias; `asked` stays what the caller wrote.
    `inbound` is the client's wire when it is not OpenAI's chat; `body` and `said`, the answer, are chat all the same.
    `chain` is set while any module takes part; `made` is an answer no provider was asked for; `hidden` says that the
    body as it came holds what must not be kept; `restore` maps stand-ins in the answer to what only the caller may see;
    `embedded` is what the cache of embeddings knows of the call, `question` what the semantic cache does; `afterwards`
    gives back what it holds of a provider. `route` says where it may go when a module decides that; `leash` how far, in
    time, tokens and money. `label` is what its caller is shown in place of vendors. `kept` is what modules want to
    know when it is over; `waits` that a stream waits for the whole answer; `variant` is what, besides the body, the
    answer depends on. `fan` is set of one that asks several models, and of each of the calls it becomes. `link` says
    whether providers are sent `traceparent`; empty: as the server's setting.
    """

    call: Call
    kind: Kind
    body: Json = field(repr=False)
    asked: str = ""
    model: str = ""
    project: str = "default"
    tags: dict[str, str] = field(default_factory=dict)
    wanted_provider: str = ""
    id: str = field(default_factory=trace_id)
    began: float = field(default_factory=perf_counter)
    created_at: int = field(default_factory=lambda: time_ns() // 1000)
    provider: str = ""
    attempts: int = 0
    stream: bool = False
    usage: Usage | None = None
    cost_nano: int | None = None
    saved_nano: int = 0
    status: str = "ok"
    http_status: int = 200
    error: str | None = None
    first_byte_us: int | None = None
    cache_key: bytes | None = None
    cached: bool = False
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    response: bytes | None = field(default=None, repr=False)
    said: Json | None = field(default=None, repr=False)
    inbound: Inbound | None = None
    details: dict[str, object] = field(default_factory=dict)
    context: tracing.Context | None = None
    chain: Chain | None = None
    made: Answer | None = None
    hidden: bool = False
    restore: dict[str, str] | None = field(default=None, repr=False)
    embedded: object = field(default=None, repr=False)
    route: Route | None = field(default=None, repr=False)
    leash: Leash | None = field(default=None, repr=False)
    label: Label | None = field(default=None, repr=False)
    afterwards: list[Callable[[], None]] | None = field(default=None, repr=False)
    question: Question | None = None
    kept: dict[str, Any] | None = field(default=None, repr=False)
    waits: bool = False
    variant: str = ""

    fan: Fan | None = None
    link: str = ""

    def keep(self, name: str, value: Any) -> None:
        """Have something by one's name when the call is over."""
        self.kept = {**(self.kept or {}), name: value}

    def taken(self, name: str) -> Any:
        """What was kept under the name, once; None when nothing was. A copy of the call still has it."""
        found = self.kept.get(name) if self.kept else None
        if self.kept and found is not None:
            self.kept = {other: value for other, value in self.kept.items() if other != name}
        return found

    @property
    def elapsed_us(self) -> int:
        """Microseconds since the call began."""
        return int((perf_counter() - self.began) * 1_000_000)

    def after(self, give_back: Callable[[], None]) -> None:
        """Do this once the call is over, or asks anew."""
        self.afterwards = [*(self.afterwards or ()), give_back]

    def over(self) -> None:
        """Give back what the call holds."""
        held, self.afterwards = self.afterwards or (), None
        for give_back in held:
            give_back()

    def wire(self, target: Target) -> Wire:
        """The target's wire, as this call uses it."""
        return self.inbound.wire(target.provider.wire) if self.inbound else target.provider.wire

    def sent(self, target: Target) -> Json:
        """The body, as this target is sent it; ValueError when it is not in OpenAI's shape."""
        if self.chain is None:
            return self.body
        body = self.chain.fitted(self, target) if self.chain.fits else self.body
        return self.chain.shimmed(body, target.provider.name)

    def heard(self, target: Target, response: UpstreamResponse) -> None:
        """Let modules know how a provider's answer begins."""
        if self.chain is not None and self.chain.heard:
            self.chain.hear(self, target, response.headers)

    def failed(self, target: Target, failure: FailureError) -> None:
        """Let modules know that an attempt failed."""
        for step in self.chain.failures if self.chain else ():
            step(self, target, failure)

    def frames(self) -> Frames:
        """What encodes this call's stream."""
        return self.inbound.frames() if self.inbound else ChatFrames(self.body, self.kind)

    def presented(self, body: Json, usage: Usage) -> bytes:
        """A whole answer as the client reads it."""
        return self.inbound.plain(body, usage) if self.inbound else orjson.dumps(body)


def begin(call: Call, kind: Kind, inbound: Inbound | None = None) -> Exchange:
    """The exchange of a validated call; headers say project, tags and provider (their values were checked)."""
    arguments, body = call.arguments, inbound.body if inbound else call.body
    model = body["model"]
    exchange = Exchange(call, kind, body, asked=model, model=model, inbound=inbound)
    exchange.project = arguments.get("x_project") or "default"
    exchange.wanted_provider = (arguments.get("x_provider") or "").lower()
    exchange.stream = kind is not Kind.EMBEDDINGS and body.get("stream") is True
    if raw := arguments.get("x_stockyard_tags"):
        exchange.tags = read_tags(raw)
    if "traceparent" in call.headers and (context := tracing.read(call.headers)):
        exchange.context = context
        exchange.details |= {"traceparent": call.headers["traceparent"]}
        exchange.details |= {"tracestate": context.state} if context.state else {}
    return exchange


MOST_TAGS = 16
TAG_LENGTH = 64


def read_tags(text: str) -> dict[str, str]:
    """Tags from `k=v,…` or a JSON object of strings; what is neither is no tag, and at most 16 are kept."""
    try:
        found = (
            orjson.loads(text)
            if text.lstrip().startswith("{")
            else dict(p.split("=", 1) for p in text.split(",") if "=" in p)
        )
    except ValueError:
        return {}
    pairs = [(str(k).strip(), str(v).strip()) for k, v in found.items()]
    return {k[:TAG_LENGTH]: v[:TAG_LENGTH] for k, v in pairs[:MOST_TAGS] if k and "=" not in k}
