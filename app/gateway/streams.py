"""Streams: opened far enough to know they are real, then passed on chunk by chunk, and never ended in silence."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final, Self

import orjson

from app.gateway import settle, sse
from app.gateway.accumulate import Accumulator
from app.gateway.deadline import Deadline
from app.gateway.exchange import Exchange
from app.gateway.failures import accepted, impossible, nonsense, refused, timed_out, unanswered
from app.gateway.usage import estimate_output, to_openai
from app.gateway.wire import BadAnswerError, Decoder, Json, Target, Transport, UpstreamResponse
from app.problems import Problem
from app.security.redact import redact

CLIENT_GONE: Final = 499
KEEPALIVE: Final = sse.comment("keep-alive")

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
    first: list[Json]
    key: str = field(default="", repr=False)
    ended: bool = False
    broken: BadAnswerError | None = None
    sum: Accumulator = field(default_factory=Accumulator)


async def open_stream(exchange: Exchange, target: Target, transport: Transport, pace: Pace) -> Opened:
    """Ask and wait for the first real chunk, so that a failure until then can still go elsewhere; FailureError."""
    provider = target.provider
    try:
        outgoing = provider.wire.outgoing(exchange.kind, exchange.body, target)
    except ValueError as error:
        raise impossible(error) from error
    response: UpstreamResponse | None = None
    try:
        with Deadline(provider.timeout):
            response = await transport(outgoing)
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
    decoder = target.provider.wire.decoder(exchange.kind, target.model)
    opened = Opened(response, decoder, response.chunks(pace.keepalive), [], target.key)
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
        self._exchange, self._opened, self._settled, self._pace = exchange, opened, settled, pace
        self._frames = self._send()
        self._begun = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self._begun = True
        return await anext(self._frames)

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
            yield _encode(exchange, opened, opened.first)
            async with aclosing(_rest(exchange, opened, self._pace)) as rest:
                async for data in rest:
                    yield data
            last = _usage_frame(exchange, opened) + sse.DONE
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
            _count(self._exchange, self._opened)
        except Exception:
            log.exception("the chunks of %s cannot be put together", self._exchange.provider)
            self._exchange.usage = settle.estimated(self._exchange, 0)
        self._settled(self._exchange)
        await self._opened.response.close()


def gone() -> Problem:
    """What the trace says of a client that did not wait."""
    return Problem(CLIENT_GONE, "the client hung up", code="client_gone")


async def _rest(exchange: Exchange, opened: Opened, pace: Pace) -> AsyncGenerator[bytes]:
    """Chunks as they come, and a comment whenever the provider is quiet for a while."""
    quiet = 0.0
    while not opened.ended:
        chunks = await _next(opened)
        if chunks is None:
            quiet += pace.keepalive
            if quiet >= pace.stalled:
                raise ConnectionError(f"the stream stalled for {pace.stalled:g} s")
            yield KEEPALIVE
            continue
        quiet = 0.0
        if chunks:
            yield _encode(exchange, opened, chunks)


def _encode(exchange: Exchange, opened: Opened, chunks: list[Json]) -> bytes:
    asked = _wants_usage(exchange)
    frames = []
    for chunk in chunks:
        opened.sum.add(chunk)
        frames.append(sse.data({**chunk, "usage": None} if asked else chunk))
    return b"".join(frames)


def _wants_usage(exchange: Exchange) -> bool:
    options = exchange.body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _usage_frame(exchange: Exchange, opened: Opened) -> bytes:
    """The totals in a chunk of their own, only for who asked."""
    if not _wants_usage(exchange):
        return b""
    _count(exchange, opened)
    head = {k: v for k, v in opened.first[0].items() if k not in {"choices", "usage"}}
    usage = to_openai(exchange.usage, exchange.kind) if exchange.usage else None
    return sse.data({**head, "choices": [], "usage": usage})


def _broken(exchange: Exchange, opened: Opened, error: Exception) -> bytes:
    """The frame clients raise on, and the end they wait for."""
    said: object = error
    if not isinstance(error, BadAnswerError | OSError):
        log.error("a stream of %s broke here: %s", exchange.provider, type(error).__name__, exc_info=error)
        said = "the stream cannot be read"
    problem = Problem(502, f"{exchange.provider}: {redact(str(said), opened.key)}")
    settle.failed(exchange, problem)
    return sse.error(problem.message, kind="api_error", code=problem.code) + sse.DONE


def _count(exchange: Exchange, opened: Opened) -> None:
    """The usage the provider reported, else our estimate of what went in and came out so far."""
    whole = opened.sum.result()
    usage, arrived = opened.decoder.usage, estimate_output(whole)
    if usage is None:
        usage = settle.estimated(exchange, arrived)
    elif exchange.status == "error" and usage.tokens_out < arrived:  # counted by the provider before it was cut
        usage = replace(usage, output=arrived, reasoning=0, reported=False)
    exchange.usage = usage
    whole["usage"] = to_openai(usage, exchange.kind)
    exchange.response = orjson.dumps(whole)


def replayed(body: Json, exchange: Exchange) -> bytes:
    """A whole answer as the stream it would have been: one delta per choice, then its end."""
    head: Json = {k: body[k] for k in ("id", "created", "model", "system_fingerprint") if k in body}
    chat = body.get("object") == "chat.completion"
    head["object"] = "chat.completion.chunk" if chat else "text_completion"
    if _wants_usage(exchange):
        head["usage"] = None
    frames = []
    for choice in body["choices"]:
        frames += [sse.data({**head, "choices": [c]}) for c in (_delta(choice) if chat else [choice])]
    if _wants_usage(exchange):
        frames.append(sse.data({**head, "choices": [], "usage": body.get("usage")}))
    return b"".join(frames) + sse.DONE


def _delta(choice: Json) -> list[Json]:
    message = dict(choice["message"])
    if calls := message.get("tool_calls"):
        message["tool_calls"] = [{"index": i, **call} for i, call in enumerate(calls)]
    said = {k: v for k, v in choice.items() if k not in {"message", "finish_reason"}}
    end = {"index": choice["index"], "delta": {}, "finish_reason": choice.get("finish_reason")}
    return [{**said, "delta": message, "finish_reason": None}, end]
