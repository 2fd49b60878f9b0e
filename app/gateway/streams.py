"""Streams: opened far enough to know they are real, then passed on chunk by chunk, and never ended in silence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Self

from app.gateway import settle
from app.gateway.accumulate import Accumulator
from app.gateway.deadline import Deadline
from app.gateway.exchange import Exchange
from app.gateway.failures import accepted, impossible, nonsense, refused, timed_out, unanswered
from app.gateway.inbound.presentation import Frames
from app.gateway.leash import Leash
from app.gateway.restoring import restorer
from app.gateway.steps import Pacer
from app.gateway.texts import FilteredDecoder, Texts
from app.gateway.tracing import linked
from app.gateway.usage import estimate_output, to_openai
from app.gateway.wire import BadAnswerError, Decoder, Json, Target, Transport, UpstreamResponse, Usage
from app.problems import Problem
from app.security.redact import redact

CLIENT_GONE: Final = 499
HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)

Settle = Callable[[Exchange], None]
log = logging.getLogger("yardmaster.gateway")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of a provider's silence after which the client gets a comment, and after which the stream is given up."""

    keepalive: float = 15.0
    stalled: float = 300.0


@dataclass(slots=True)
class Opened:
    """A provider's stream after its first chunk: what was decoded, and what is still to come."""

    response: UpstreamResponse
    decoder: Decoder
    pieces: AsyncIterator[bytes]
    frames: Frames
    first: list[Json]
    key: str = field(default="", repr=False)
    ended: bool = False
    broken: BadAnswerError | None = None
    sum: Accumulator = field(default_factory=Accumulator)
    restorer: Texts | None = None
    label: Callable[[Json], Json] | None = None
    pacer: Pacer | None = None


async def open_stream(exchange: Exchange, target: Target, transport: Transport, pace: Pace) -> Opened:
    """Ask and wait for the first real chunk, so that a failure until then can still go elsewhere; FailureError."""
    try:
        outgoing = linked(exchange, exchange.wire(target).outgoing(exchange.kind, exchange.sent(target), target))
    except ValueError as error:
        raise impossible(error) from error
    response: UpstreamResponse | None = None
    try:
        with Deadline(target.provider.timeout):
            response = await transport(outgoing)
            exchange.heard(target, response)
            if not accepted(response):
                raise refused(exchange, target, response, await response.read())  # noqa: TRY301 (closed below)
            return await _begun(exchange, target, response, pace)
    except BaseException as error:
        if response is not None:
            await response.close()
        raise _as_failure(target, error) from error


def _as_failure(target: Target, error: BaseException) -> BaseException:
    if isinstance(error, TimeoutError):
        return timed_out(target)
    if isinstance(error, OSError):
        return unanswered(target, error)
    return nonsense(target, error) if isinstance(error, BadAnswerError) else error


async def _begun(exchange: Exchange, target: Target, response: UpstreamResponse, pace: Pace) -> Opened:
    decoder = exchange.wire(target).decoder(exchange.kind, target.model)
    if exchange.chain and exchange.chain.filtering:
        exchange.usage = settle.estimated(exchange, 0)  # should a module refuse what the provider is paid for
        decoder = FilteredDecoder(decoder, exchange.chain.filters(exchange))
    opened = Opened(response, decoder, response.chunks(pace.keepalive), exchange.frames(), [], target.key)
    opened.restorer = restorer(exchange.restore) if exchange.restore else None
    opened.label = partial(exchange.label.chunk, exchange) if exchange.label else None
    opened.pacer = exchange.chain.throttle(exchange) if exchange.chain and exchange.chain.throttle else None
    while not opened.first and not opened.ended:
        opened.first = await _next(opened) or []
    if not opened.first:
        raise BadAnswerError("the stream ended before its first chunk")
    if opened.broken:  # nothing was passed on yet: another may still do better
        raise opened.broken
    exchange.first_byte_us = exchange.elapsed_us
    return opened


async def _next(opened: Opened) -> list[Json] | None:
    """The chunks of the next bytes; at the end, those the decoder still held. None when nothing came for a while."""
    if opened.broken:
        raise opened.broken
    try:
        data = await anext(opened.pieces)
    except StopAsyncIteration:
        opened.ended = True
        return _decoded(opened, opened.decoder.end())
    return _decoded(opened, opened.decoder.feed(data)) if data else None


def _decoded(opened: Opened, chunks: Iterable[Json]) -> list[Json]:
    """The chunks, those before an error in the same bytes included: it is raised when they were passed on."""
    found: list[Json] = []
    try:
        for chunk in chunks:
            found.append(chunk)  # noqa: PERF402 (what came before an error is kept)
    except BadAnswerError as error:
        if not found:
            raise
        opened.broken, opened.ended = error, False
    return found


class Sending:
    """The bytes for the client, closed and settled exactly once, even when nobody ever reads them."""

    def __init__(self, exchange: Exchange, opened: Opened, settled: Settle, pace: Pace) -> None:
        self._exchange, self._opened, self._settle, self._pace = exchange, opened, settled, pace
        self._frames = self._send()
        self._begun = False
        # Whether the call is settled: only the last frame is still to come then.
        self.settled = False

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[bytes]:
        self._begun = True
        return anext(self._frames)

    async def aclose(self) -> None:
        """The client is gone, or has everything."""
        if self._begun:
            await self._frames.aclose()
            return
        self._begun = True
        settle.failed(self._exchange, gone())
        await self._finish()

    async def _send(self) -> AsyncGenerator[bytes]:
        """Settled before the last frame, or when the client hangs up."""
        exchange, opened, last = self._exchange, self._opened, b""
        try:
            if opened.pacer is None:
                yield _encode(opened, opened.first)
            flow = _paced if opened.pacer else _rest
            async with aclosing(flow(opened, self._pace, exchange.leash)) as rest:
                async for data in rest:
                    yield data
            last = opened.frames.end(_counted(exchange, opened))
        except Exception as error:  # noqa: BLE001 (whatever broke it, the client must be told)
            last = _broken(exchange, opened, error)
        except BaseException:
            settle.failed(exchange, gone())
            raise
        finally:
            await self._finish()
        yield last

    async def _finish(self) -> None:
        try:
            self._exchange.usage = settle.estimated(self._exchange, 0)
            usage = _counted(self._exchange, self._opened)
            self._exchange.response = self._exchange.presented(self._exchange.said or {}, usage)
        except Exception:
            log.exception("the chunks of %s cannot be put together", self._exchange.provider)
        self._settle(self._exchange)
        self.settled = True
        await self._opened.response.close()


def gone() -> Problem:
    """What the trace says of a client that did not wait."""
    return Problem(CLIENT_GONE, "the client hung up", code="client_gone")


async def _rest(opened: Opened, pace: Pace, leash: Leash | None) -> AsyncGenerator[bytes]:
    """Chunks as they come, and a comment whenever the provider is quiet for a while."""
    quiet = 0.0
    if leash:
        leash.count(opened.first)
    while not opened.ended:
        chunks = await (leash.hold(_next(opened)) if leash else _next(opened))
        if chunks is None:
            quiet = _longer(quiet, pace)
            yield opened.frames.quiet()
            continue
        quiet = 0.0
        if chunks:
            yield _encode(opened, chunks)
            if leash:
                leash.count(chunks)


def _longer(quiet: float, pace: Pace) -> float:
    """How long the provider has been quiet by now; ConnectionError when that is too long."""
    if quiet + pace.keepalive >= pace.stalled:
        raise ConnectionError(f"the stream stalled for {pace.stalled:g} s")
    return quiet + pace.keepalive


async def _paced(opened: Opened, pace: Pace, leash: Leash | None) -> AsyncGenerator[bytes]:
    """All chunks, the first ones too, each when its pacer says; a comment whenever that or the provider takes long."""
    chunks: list[Json] | None = opened.first
    quiet = 0.0
    while True:
        if chunks is None:
            quiet = _longer(quiet, pace)
            yield opened.frames.quiet()
        for chunk in chunks or ():
            quiet, left = 0.0, opened.pacer.wait(chunk) if opened.pacer else 0.0
            while left > 0:
                await asyncio.sleep(min(left, pace.keepalive))
                left -= pace.keepalive
                if left > 0:
                    yield opened.frames.quiet()
            yield _encode(opened, [chunk])
        if leash and chunks:
            leash.count(chunks)
        if opened.ended:
            return
        chunks = await (leash.hold(_next(opened)) if leash else _next(opened))


def _encode(opened: Opened, chunks: list[Json]) -> bytes:
    for chunk in chunks:
        opened.sum.add(chunk)
    if restorer := opened.restorer:  # the trace has the stand-ins
        chunks = [restorer.chunk(chunk) or {**chunk, "choices": []} for chunk in chunks]
    if opened.label:
        chunks = list(map(opened.label, chunks))
    return opened.frames.chunks(chunks, opened.decoder.usage)


def _broken(exchange: Exchange, opened: Opened, error: Exception) -> bytes:
    """The frame clients raise on, and the end they wait for."""
    said: object = error
    if isinstance(error, Problem):  # a module refused what came
        return _ended(exchange, opened, error)
    if not isinstance(error, BadAnswerError | OSError):
        log.error("a stream of %s broke here: %s", exchange.provider, type(error).__name__, exc_info=error)
        said = "the stream cannot be read"
    return _ended(exchange, opened, Problem(502, f"{exchange.provider}: {redact(str(said), opened.key)}"))


def _ended(exchange: Exchange, opened: Opened, problem: Problem) -> bytes:
    settle.failed(exchange, problem)
    if exchange.label:
        exchange.label.refuse(exchange, problem)
    return opened.frames.error(problem)


def _counted(exchange: Exchange, opened: Opened) -> Usage:
    """The usage the provider reported, else our estimate of what went in and came out so far."""
    exchange.said = whole = opened.sum.result()
    usage, arrived = opened.decoder.usage, estimate_output(whole)
    if usage is None:
        usage = settle.estimated(exchange, arrived)
    elif exchange.status == "error" and usage.tokens_out < arrived:  # counted by the provider before it was cut
        usage = replace(usage, output=arrived, reasoning=0, reported=False)
    exchange.usage = usage
    whole["usage"] = to_openai(usage, exchange.kind)
    return usage
