"""What the gateway and a provider's wire format say to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping

    from app.gateway.admission.admission import Admission

Json = dict[str, Any]


class Kind(StrEnum):
    """The model calls the gateway knows; each is one inbound operation."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"


@dataclass(slots=True)
class Usage:
    """Tokens of one call, in disjoint parts: no token is counted in two fields.

    `input` excludes cached tokens; `output` excludes `reasoning`. `reported` is false when the counts are our estimate.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    reported: bool = True

    @property
    def tokens_in(self) -> int:
        """All input tokens, cached or not."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h

    @property
    def tokens_out(self) -> int:
        """All output tokens, reasoning included."""
        return self.output + self.reasoning


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider as data: where it is, how it is keyed, which wire it speaks, what it cannot take.

    `key_env` is None when no key is needed. `base_url` is written as the official SDK reads it.
    `drops` are request fields the provider refuses; `renames` maps our field to its own.
    `prefixes` are model-name prefixes routed here when nothing else decides.
    `transport` answers in this process instead of over HTTP; None, as almost always, means HTTP.
    """

    name: str
    base_url: str
    wire: Wire
    key_env: str | None = None
    url_env: str | None = None
    timeout: float = 60.0
    auth_header: str = "authorization"
    drops: frozenset[str] = frozenset()
    renames: Mapping[str, str] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ()
    raw_key_prefixes: tuple[str, ...] = ()
    kinds: frozenset[Kind] = frozenset(Kind)
    transport: Transport | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where one attempt goes: the provider, its effective address and key, and the model it is asked for.

    A `guarded` address was chosen by a user, not the operator: it must be a public one. `admission` is what a call
    must have before it goes there, if anything. `smaller`: this model stands in for the one that was asked for.
    """

    provider: Provider
    base_url: str
    model: str
    key: str = field(default="", repr=False)
    guarded: bool = False
    admission: Admission | None = field(default=None, repr=False, compare=False)
    smaller: bool = False


@dataclass(slots=True)
class Outgoing:
    """One HTTP request to a provider, always a POST of JSON."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(slots=True)
class Answer:
    """A complete answer in OpenAI's shape. `raw` is set when the provider's own bytes already have that shape."""

    body: Json
    usage: Usage
    raw: bytes | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a provider said when it refused: safe to show, never holding a key."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None


class BadAnswerError(Exception):
    """The provider answered 2xx with something that is no answer (HTML, cut JSON, no choices)."""


class UntranslatableError(ValueError):
    """The request is well formed, but asks for what the provider's wire has no words for; `param` names the field."""

    def __init__(self, message: str, param: str = "") -> None:
        super().__init__(message)
        self.param = param


class NotConnectedError(ConnectionError):
    """No connection could be made, so that not one byte of the request was sent."""


class ForbiddenAddressError(NotConnectedError):
    """A user's address leads where this server does not go; said to its owner, and asked again it says the same."""


class UpstreamResponse(Protocol):
    """A provider's HTTP response, whatever carried it. Its body is read once: whole by `read`, or by `chunks`."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The response headers; names in lower case."""

    async def read(self) -> bytes:
        """The whole body; OSError when the connection broke."""

    def chunks(self, tick: float = 0.0) -> AsyncIterator[bytes]:
        """The body as it arrives, cut anywhere; OSError when the connection broke.

        With a `tick`, an empty piece says that nothing came for so many seconds.
        """

    async def close(self) -> None:
        """Give the connection up, read to its end or not; may be called twice."""


class Transport(Protocol):
    """Carries one request to a provider."""

    def __call__(self, outgoing: Outgoing, /) -> Awaitable[UpstreamResponse]:
        """The response, once its head is there; OSError when there is none, NotConnectedError when nothing was sent."""


class Decoder(Protocol):
    """Turns one provider stream into OpenAI chunks; pure, fed with bytes as they arrive, cut anywhere.

    Chunks carry the same `id`, `created` and `model`; the first has `delta.role`, exactly one per choice has
    `finish_reason`. They never carry `usage`: that is read from `usage` after the end.
    """

    def feed(self, data: bytes) -> Iterable[Json]:
        """The chunks completed by these bytes; BadAnswerError when the provider sent an error or nonsense."""

    def end(self) -> Iterable[Json]:
        """The chunks still held at the end of input; BadAnswerError when the stream was cut before its end."""

    @property
    def usage(self) -> Usage | None:
        """What the provider reported so far, if anything."""


class Wire(Protocol):
    """A provider's wire format: pure functions between OpenAI's shapes and its own."""

    def outgoing(self, kind: Kind, body: Json, target: Target) -> Outgoing:
        """The HTTP request for an OpenAI-shaped body; ValueError when the body asks for what the provider cannot do."""

    def answer(self, kind: Kind, raw: bytes, model: str) -> Answer:
        """A complete answer from the response bytes; BadAnswerError when it is none."""

    def decoder(self, kind: Kind, model: str) -> Decoder:
        """A fresh decoder for one stream."""

    def refusal(self, status: int, raw: bytes) -> Refusal:
        """The reason in a non-2xx response."""
