"""What modules do to a call, compiled: the enabled ones as tuples of steps, in order, ready before any call comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from app.gateway.texts import ARGUMENTS, Texts
from app.gateway.wire import Answer, Json, Kind, Target, Usage
from app.problems import Problem

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from app.gateway.config import Account
    from app.gateway.counts import Counts
    from app.gateway.exchange import Exchange
    from app.gateway.failures import FailureError
    from app.gateway.transport import HttpTransport
    from app.services.trace_record import TraceRecord

# May change a copy of the body, choose another model, set an answer, or refuse with a Problem.
RequestStep = Callable[["Exchange"], Awaitable[None] | None]
# May change a whole answer, or refuse with a Problem.
AnswerStep = Callable[["Exchange", Answer], Answer]
# What is wrong with an answer, as a hint for the model, or the messages with which it goes on; empty when it will do.
Judge = Callable[["Exchange", Answer], "str | list[Json]"]
# Targets a call may be sent to, each with its worst case there in nano-dollars; None where its price is not known.
Offer = Sequence[tuple[Target, int | None]]
# Holds money of its own kind for a call: the offers that are left, or a Problem.
HoldStep = Callable[["Exchange", Offer], Awaitable[Offer]]
# The body as one target can take it; the same object when nothing changes.
FitStep = Callable[["Exchange", Json, Target], Json]
# Whether a module has anything to do with this call's whole answer.
Waits = Callable[["Exchange"], bool]
# Told what the head of a provider's answer says, a refusal's too; must not fail.
HeardStep = Callable[["Exchange", Target, Mapping[str, str]], None]
# Told how an attempt failed; may change what the caller is told of it, not what is done next; must not fail.
FailedStep = Callable[["Exchange", Target, "FailureError"], None]
# Called once for each call whose steps began, when it is over, whatever became of it; must not fail.
SettledStep = Callable[["Exchange"], None]


class TextFlow(Protocol):
    """A text on its way out, piece by piece."""

    def feed(self, text: str) -> str:
        """What may leave now."""

    def end(self) -> str:
        """The rest."""


FlowMaker = Callable[["Exchange"], TextFlow | None]
# A provider, and the body as it is sent there.
Shim = tuple[str, Callable[[Json], Json]]


class Pacer(Protocol):
    """The pace of one stream."""

    def wait(self, chunk: Json) -> float:
        """Seconds before this chunk may be sent."""


PacerMaker = Callable[["Exchange"], Pacer]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A check that may have an answer asked for again, `budget` times; then it refuses or lets pass as it likes.

    `room` is the most tokens that one further asking adds, besides the answer before and a hint.
    """

    judge: Judge
    budget: int
    failed: Callable[[Exchange, str], None]
    room: int = 0


@dataclass(frozen=True, slots=True)
class Steps:
    """One module's part in a call.

    `before` is ahead of the rate limits, `texts` is every text of an answer, streamed or not, `arguments` only what
    tools are called with, `spoken` all but that; `judgement` and `answer` need the whole answer: a stream waits for it,
    unless `waits` says that this call has nothing to wait for. `vectors` is for embeddings. `hold` comes once the
    targets are known, `fit` before each attempt at one of them, `heard` as its answer begins, `failed` when it is none;
    `shim` changes what one provider is sent, `throttle` is the pace of streams, `replay` that of kept answers.
    `aside`: what the gateway itself asks for a call is seen too. `binding`: `hold` and `settled` are also for the calls
    that a workflow makes of one.
    """

    before: RequestStep | None = None
    request: RequestStep | None = None
    texts: FlowMaker | None = None
    arguments: FlowMaker | None = None
    spoken: FlowMaker | None = None
    judgement: Judgement | None = None
    answer: AnswerStep | None = None
    waits: Waits | None = None
    vectors: AnswerStep | None = None
    hold: HoldStep | None = None
    fit: FitStep | None = None
    heard: HeardStep | None = None
    failed: FailedStep | None = None
    settled: SettledStep | None = None
    shim: Shim | None = None
    throttle: PacerMaker | None = None
    replay: PacerMaker | None = None
    aside: bool = False
    binding: bool = False


def _whole(record: TraceRecord) -> TraceRecord:
    return record


@dataclass(frozen=True, slots=True)
class Place:
    """What the modules of one worker have around them: the database, the data directory, counts all workers share.

    With the way to providers over HTTP, the providers this server has a key for by now, and what of a call may be kept.
    """

    engine: Engine
    data: Path
    counts: Counts
    transport: HttpTransport | None = None
    accounts: Callable[[], Mapping[str, Account]] = dict
    closed: Callable[[TraceRecord], TraceRecord] = _whole


class Module:
    """A module that lives as long as its worker; its settings come with each reload, its counts stay."""

    COUNTS: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter(dict.fromkeys(self.COUNTS, 0))

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """The steps under these settings; whatever can be prepared is prepared here."""
        raise NotImplementedError

    def tend(self) -> None:
        """What it does beside the calls, once a second while it is enabled; never to be waited for."""

    def settle_in(self, place: Place) -> None:
        """Take what it needs of its surroundings, before the first steps are made."""

    async def stop(self) -> None:
        """Write what is left, as the worker ends."""

    def stats(self) -> Json:
        """What it counted in this worker."""
        return dict(self.counted)

    def forget(self) -> None:
        """Let go of what it remembers of calls; most remember nothing."""


def _always(_exchange: Exchange) -> bool:
    return True


class Chain:
    """The compiled steps. `active` is false when there are none: then no call even looks further."""

    def __init__(self, parts: Iterable[Steps] = (), outgoing: Iterable[Steps] | None = None) -> None:
        parts = tuple(parts)
        leaving = parts if outgoing is None else tuple(outgoing)
        self.before = tuple(part.before for part in parts if part.before)
        self.request = tuple(part.request for part in parts if part.request)
        self.texts = tuple(make for part in leaving for make in (part.texts, part.spoken) if make)
        self.arguments = tuple(make for part in leaving for make in (part.texts, part.arguments) if make)
        self.vectors = tuple(part.vectors for part in parts if part.vectors)
        self.judgements = tuple(part.judgement for part in leaving if part.judgement)
        self.answers = tuple(part.answer for part in leaving if part.answer)
        self.holds = tuple(part.hold for part in parts if part.hold)
        self.fits = tuple(part.fit for part in parts if part.fit)
        self.heard = tuple(part.heard for part in parts if part.heard)
        self.failures = tuple(part.failed for part in parts if part.failed)
        self.settlers = tuple(part.settled for part in parts if part.settled)
        self.asides = tuple(part for part in parts if part.aside)
        self.binding = tuple(Steps(hold=part.hold, settled=part.settled) for part in parts if part.binding)
        self.shims = dict(part.shim for part in parts if part.shim)
        self.throttle = next((part.throttle for part in parts if part.throttle), None)
        self.replay = next((part.replay for part in parts if part.replay), None)
        self.again = sum(check.budget for check in self.judgements)
        self.room = sum(check.budget * check.room for check in self.judgements)
        self.waits = tuple(part.waits or _always for part in leaving if part.judgement or part.answer)
        self.whole = bool(self.waits)
        self.filtering = bool(self.texts or self.arguments)
        acting = (
            self.before,
            self.request,
            self.holds,
            self.fits,
            self.heard,
            self.failures,
            self.settlers,
            self.vectors,
            self.shims,
            self.throttle,
            self.replay,
        )
        self.active = self.filtering or self.whole or any(acting)

    async def enter(self, exchange: Exchange) -> None:
        """What comes ahead of everything; Problem when the caller may not come in."""
        for step in self.before:
            if (waiting := step(exchange)) is not None:
                await waiting

    async def admit(self, exchange: Exchange) -> None:
        """The request's steps, until one has an answer; Problem when one refuses."""
        for step in self.request:
            if (waiting := step(exchange)) is not None:
                await waiting
            if exchange.made is not None:
                break
        if exchange.stream and any(waits(exchange) for waits in self.waits):
            exchange.waits = True
            exchange.body = {k: v for k, v in exchange.body.items() if k not in {"stream", "stream_options"}}

    async def hold(self, exchange: Exchange, targets: Sequence[Target], worst: Sequence[int | None]) -> list[Target]:
        """The targets the call may go to, with money held for it; Problem when there is none left, or no money."""
        offer: Offer = list(zip(targets, worst, strict=True))
        for step in self.holds:
            offer = await step(exchange, offer)
        return [target for target, _ in offer]

    def fitted(self, exchange: Exchange, target: Target) -> Json:
        """The body as this target takes it."""
        body = exchange.body
        for step in self.fits:
            body = step(exchange, body, target)
        return body

    def hear(self, exchange: Exchange, target: Target, headers: Mapping[str, str]) -> None:
        """Tell of the head of an answer."""
        for step in self.heard:
            step(exchange, target, headers)

    def shimmed(self, body: Json, provider: str) -> Json:
        """The body as this provider is sent it; ValueError when it is not in OpenAI's shape."""
        shim = self.shims.get(provider)
        return shim(body) if shim else body

    async def judged(
        self, exchange: Exchange, answer: Answer, again: Callable[[], Awaitable[Answer | None]]
    ) -> Answer | None:
        """The answer, or a later one that passes; what every one of them used is summed. None: the client is gone."""
        for check in self.judgements:
            left = check.budget
            while hint := check.judge(exchange, answer):
                if not left or exchange.made is not None:
                    check.failed(exchange, hint if isinstance(hint, str) else "")
                    break
                left -= 1
                asked, used = exchange.body, answer.usage
                exchange.body = hinted(asked, answer, hint)
                try:
                    fresh = await again()
                except Problem:
                    exchange.usage = used  # what came first is paid for, whatever became of the second
                    raise
                exchange.body = asked if isinstance(hint, str) else exchange.body
                if fresh is None:
                    return None
                answer = replace(fresh, usage=total(used, fresh.usage))
        return answer

    def answered(self, exchange: Exchange, answer: Answer) -> Answer:
        """The answer as it may leave; Problem when it may not."""
        embeds = exchange.kind is Kind.EMBEDDINGS
        for step in self.vectors if embeds else self.answers:
            answer = step(exchange, answer)
        if not self.filtering or embeds:
            return answer
        body = self.filters(exchange).whole(answer.body)
        return answer if body is answer.body else Answer(body, answer.usage)

    def filters(self, exchange: Exchange) -> Texts:
        """What the texts of one answer pass through."""

        def made(field: str) -> list[TextFlow]:
            makers = self.arguments if field == ARGUMENTS else self.texts
            return [flow for make in makers if (flow := make(exchange)) is not None]

        return Texts(made)


def hinted(body: Json, answer: Answer, hint: str | list[Json]) -> Json:
    """The body with the answer that did not do, and why, so that the model can do better; or with what comes next."""
    if not hint or "messages" not in body:
        return body
    if not isinstance(hint, str):
        return {**body, "messages": [*body["messages"], *hint]}
    said = answer.body["choices"][0].get("message", {}).get("content")
    more = [{"role": "assistant", "content": said}] if isinstance(said, str) and said else []
    return {**body, "messages": [*body["messages"], *more, {"role": "user", "content": hint}]}


def total(one: Usage, other: Usage) -> Usage:
    """Both usages together."""
    names = ("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning")
    sums = {name: getattr(one, name) + getattr(other, name) for name in names}
    return Usage(**sums, reported=one.reported and other.reported)
