"""Streams: opened far enough to know they are real, then passed on chunk by chunk, and never ended in silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

import orjson

from app.gateway import settle, sse
from app.gateway.accumulate import Accumulator
from app.gateway.attempts import nonsense, refused, timed_out, unreachable
from app.gateway.exchange import Exchange
from app.gateway.usage import estimate_output, to_openai
from app.gateway.wire import BadAnswerError, Decoder, Json, Target, Transport, UpstreamResponse
from app.problems import Problem

KEEPALIVE_S: Final = 15.0
STALLED_S: Final = 300.0
CLIENT_GONE: Final = 499
KEEPALIVE: Final = sse.comment("keep-alive")

Settle = Callable[[Exchange], None]


@dataclass(slots=True)
class Opened:
    """A provider's stream after its first chunk: what was decoded, and what is still to come."""

    response: UpstreamResponse
    decoder: Decoder
    pieces: AsyncIterator[bytes]
    first: list[Json]
    ended: bool = False
    sum: Accumulator = field(default_factory=Accumulator)


async def open_stream(exchange: Exchange, target: Target, transport: Transport) -> Opened:
    """Ask and wait for the first real chunk, so that a failure until then can still go elsewhere; FailureError."""
    provider = target.provider
    outgoing = provider.wire.outgoing(exchange.kind, exchange.body, target)
    response: UpstreamResponse | None = None
    try:
        async with asyncio.timeout(provider.timeout):
            response = await transport(outgoing)
            if response.status >= 400:  # noqa: PLR2004
                refusal = provider.wire.refusal(response.status, await response.read())
                after = response.headers.get("retry-after")
                raise refused(target, response.status, refusal, after, raw_key=bool(exchange.call.principal.secret))
            return await _begun(exchange, target, response)
    except BaseException as error:
        if response is not None:
            await response.close()
        raise _as_failure(target, error) from error


def _as_failure(target: Target, error: BaseException) -> BaseException:
    if isinstance(error, TimeoutError):
        return timed_out(target, target.provider.timeout)
    if isinstance(error, OSError):
        return unreachable(target, error)
    return nonsense(target, error) if isinstance(error, BadAnswerError) else error


async def _begun(exchange: Exchange, target: Target, response: UpstreamResponse) -> Opened:
    decoder = target.provider.wire.decoder(exchange.kind, target.model)
    opened = Opened(response, decoder, response.chunks(), [])
    while not opened.first and not opened.ended:
        opened.first = await _next(opened)
    if not opened.first:
        raise BadAnswerError("the stream ended before its first chunk")
    exchange.first_byte_us = exchange.elapsed_us
    return opened


async def _next(opened: Opened) -> list[Json]:
    """The chunks of the next bytes; at the end, those the decoder still held."""
    try:
        data = await anext(opened.pieces)
    except StopAsyncIteration:
        opened.ended = True
        return list(opened.decoder.end())
    return list(opened.decoder.feed(data))


async def send_stream(exchange: Exchange, opened: Opened, settled: Settle) -> AsyncIterator[bytes]:
    """The bytes for the client. Settled exactly once: before the last frame, or when the client hangs up."""
    last = b""
    try:
        yield _encode(exchange, opened, opened.first)
        async for data in _rest(exchange, opened):
            yield data
        last = _usage_frame(exchange, opened) + sse.DONE
    except (BadAnswerError, OSError) as error:
        last = _broken(exchange, error)
    except BaseException:
        settle.failed(exchange, Problem(CLIENT_GONE, "the client hung up", code="client_gone"))
        raise
    finally:
        await opened.response.close()
        _count(exchange, opened)
        settled(exchange)
    yield last


async def _rest(exchange: Exchange, opened: Opened) -> AsyncIterator[bytes]:
    """Chunks as they come, and a comment whenever the provider is quiet for a while."""
    quiet = 0.0
    pending: asyncio.Future[list[Json]] | None = None
    try:
        while not opened.ended:
            pending = pending or asyncio.ensure_future(_next(opened))
            done, _ = await asyncio.wait({pending}, timeout=KEEPALIVE_S)
            if not done:
                quiet += KEEPALIVE_S
                if quiet >= STALLED_S:
                    raise ConnectionError(f"the stream stalled for {STALLED_S:g} s")
                yield KEEPALIVE
                continue
            chunks, pending, quiet = pending.result(), None, 0.0
            if chunks:
                yield _encode(exchange, opened, chunks)
    finally:
        if pending is not None:
            pending.cancel()


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


def _broken(exchange: Exchange, error: Exception) -> bytes:
    """The frame clients raise on, and the end they wait for."""
    problem = Problem(502, f"{exchange.provider}: {error}")
    settle.failed(exchange, problem)
    return sse.error(problem.message, kind="api_error", code=problem.code) + sse.DONE


def _count(exchange: Exchange, opened: Opened) -> None:
    """The usage the provider reported, else our estimate of what went in and came out so far."""
    whole = opened.sum.result()
    exchange.usage = opened.decoder.usage or settle.estimated(exchange, estimate_output(whole))
    whole["usage"] = to_openai(exchange.usage, exchange.kind)
    exchange.response = orjson.dumps(whole)


def replayed(body: Json, exchange: Exchange) -> bytes:
    """A whole answer as the stream it would have been: one delta per choice, then its end."""
    head = {k: body[k] for k in ("id", "created", "model", "system_fingerprint") if k in body}
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


