"""A loopback HTTP/1.1 server with OpenAI-shaped answers, quick enough that the gateways before it are what is measured.

Answers are rendered before the first request, so a plain completion costs one header scan and one write. Streams are
numbered frames at a fixed pace; `GET /stats` tells how many of them were finished and how many were cut by the client.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, cast

import orjson
import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = "gpt-4o-mini"
CREATED = 1_700_000_000
SENTENCE = "The train on track four is due at noon and carries forty cars of grain. " * 4
USAGE = {"prompt_tokens": 24, "completion_tokens": 64, "total_tokens": 88}
REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found"}
VECTOR = [round(0.001 * step, 3) for step in range(64)]
HEAD_LIMIT = 64 * 1024


class Request(NamedTuple):
    """One parsed request: `POST /path` as bytes, the body, and whether the client asked to close."""

    target: bytes
    body: bytes
    close: bool


@dataclass(frozen=True, slots=True)
class Pace:
    """How slow the upstream pretends to be: seconds before the first byte, frames in a stream, seconds between them."""

    latency: float = 0.0
    chunks: int = 64
    interval: float = 0.0


@dataclass(slots=True)
class Stats:
    """What the clients did, counted since the start."""

    requests: int = 0
    connections_opened: int = 0
    connections_open: int = 0
    streams_started: int = 0
    streams_finished: int = 0
    streams_cut: int = 0

    def as_json(self) -> bytes:
        """The counters as one JSON object."""
        return orjson.dumps(self)


def reply(status: int, body: bytes, content_type: bytes = b"application/json") -> bytes:
    """A whole HTTP/1.1 response with a Content-Length."""
    return b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (
        status,
        REASONS[status],
        content_type,
        len(body),
        body,
    )


def completion() -> dict[str, object]:
    """A chat completion with usage, the same every time."""
    message = {"role": "assistant", "content": SENTENCE, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": CREATED,
        "model": MODEL,
        "choices": [choice],
        "usage": USAGE,
        "system_fingerprint": "fp_bench",
    }


def embedding(body: bytes) -> bytes:
    """One fixed vector per input of the request."""
    asked = orjson.loads(body).get("input", "")
    count = len(asked) if isinstance(asked, list) else 1
    rows = [{"object": "embedding", "index": index, "embedding": VECTOR} for index in range(count)]
    usage = {"prompt_tokens": 8 * count, "total_tokens": 8 * count}
    return orjson.dumps({"object": "list", "data": rows, "model": "text-embedding-3-small", "usage": usage})


def sse(data: bytes) -> bytes:
    """One `data:` event inside one HTTP chunk (RFC 9112 §7.1)."""
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


def frame(delta: dict[str, str], reason: str | None = None) -> bytes:
    """One streamed piece of a completion."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return sse(orjson.dumps(chunk([choice])))


def chunk(choices: list[dict[str, object]], usage: dict[str, int] | None = None) -> dict[str, object]:
    """The envelope every streamed piece shares."""
    head = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": CREATED, "model": MODEL}
    return head | {"choices": choices} | ({"usage": usage} if usage else {})


@cache
def frames(count: int, *, usage: bool) -> list[bytes]:
    """A stream of `count` numbered words ("0 ", "1 ", …), then the finish, the usage when asked for, and `[DONE]`."""
    words = [frame({"content": f"{number} "}) for number in range(count)]
    tail = frame({}, "stop") + (sse(orjson.dumps(chunk([], USAGE))) if usage else b"")
    return [frame({"role": "assistant", "content": ""}) + words[0], *words[1:], tail + sse(b"[DONE]") + b"0\r\n\r\n"]


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
COMPLETION = reply(200, orjson.dumps(completion()))
MODELS = reply(200, orjson.dumps({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "bench"}]}))
HEALTH = reply(200, b'{"status":"ok"}')
NOT_FOUND = reply(404, b'{"error":{"message":"no such path","type":"invalid_request_error"}}')
BAD_REQUEST = reply(400, b'{"error":{"message":"malformed request","type":"invalid_request_error"}}')


def dechunk(data: bytes, start: int) -> tuple[bytes, int] | None:
    """The body of a chunked request and where it ends, or None while it is incomplete (trailers are not read)."""
    parts: list[bytes] = []
    while (line := data.find(b"\r\n", start)) >= 0:
        size = int(data[start:line].split(b";")[0], 16)
        end = line + 2 + size
        if len(data) < end + 2:
            return None
        if size == 0:
            return b"".join(parts), end + 2
        parts.append(data[line + 2 : end])
        start = end + 2
    return None


def take(data: bytes) -> tuple[Request, bytes] | None:
    """The first whole request of a buffer and what follows it, or None; ValueError when it is not HTTP."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > HEAD_LIMIT:
            raise ValueError("head too large")
        return None
    head = data[:end].lower() + b"\r\n"
    target = data[: data.index(b" HTTP/1.")].split(b"?")[0]
    body, after = b"", end + 4
    if (at := head.find(b"\r\ncontent-length:")) >= 0:
        after += int(head[at + 17 : head.index(b"\r\n", at + 17)])
        if len(data) < after:
            return None
        body = data[end + 4 : after]
    elif b"\r\ntransfer-encoding: chunked\r\n" in head:
        if (found := dechunk(data, after)) is None:
            return None
        body, after = found
    return Request(target, body, b"\r\nconnection: close\r\n" in head), data[after:]


class Exchange(asyncio.Protocol):
    """One connection: requests answered strictly in order, so a pipelining client is served correctly."""

    def __init__(self, pace: Pace, stats: Stats) -> None:
        self.pace, self.stats = pace, stats
        self.loop = asyncio.get_running_loop()
        self.pending, self.busy, self.streaming = b"", False, False
        self.timer: asyncio.TimerHandle | None = None
        self.streams = {usage: frames(pace.chunks, usage=usage) for usage in (True, False)}
        self.routes: dict[bytes, Callable[[Request], None]] = {
            b"POST /v1/chat/completions": self.chat,
            b"POST /v1/embeddings": lambda request: self.finish(request, reply(200, embedding(request.body))),
            b"GET /v1/models": lambda request: self.finish(request, MODELS),
            b"GET /health": lambda request: self.finish(request, HEALTH),
            b"GET /stats": lambda request: self.finish(request, reply(200, self.stats.as_json())),
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self.stats.connections_opened += 1
        self.stats.connections_open += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 — asyncio's own signature
        """Stop writing to a client which went away."""
        self.stats.connections_open -= 1
        self.stats.streams_cut += self.streaming
        if self.timer:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer every whole request received so far."""
        self.pending = self.pending + data if self.pending else data
        self.advance()

    def advance(self) -> None:
        """Answer the next request, unless an earlier one is still being answered."""
        try:
            while not self.busy and self.pending and (taken := take(self.pending)):
                request, self.pending = taken
                self.begin(request)
        except ValueError:
            self.transport.write(BAD_REQUEST)
            self.transport.close()

    def begin(self, request: Request) -> None:
        """Route a request, now or after the latency."""
        self.stats.requests += 1
        self.busy = True
        route = self.routes.get(request.target, self.unknown)
        if self.pace.latency and request.target.startswith(b"POST"):
            self.timer = self.loop.call_later(self.pace.latency, self.resume, route, request)
        else:
            route(request)

    def resume(self, route: Callable[[Request], None], request: Request) -> None:
        """Answer after the latency, then whatever was pipelined behind it."""
        route(request)
        self.advance()

    def unknown(self, request: Request) -> None:
        """Answer 404."""
        self.finish(request, NOT_FOUND)

    def finish(self, request: Request, data: bytes) -> None:
        """Write the end of an answer and free the connection for the next."""
        self.transport.write(data)
        self.busy = False
        if request.close:
            self.transport.close()

    def chat(self, request: Request) -> None:
        """Answer a completion, whole or streamed."""
        asked = orjson.loads(request.body) if b'"stream"' in request.body else {}
        if not asked.get("stream"):
            return self.finish(request, COMPLETION)
        self.stats.streams_started += 1
        self.streaming = True
        usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        self.transport.write(STREAM_HEAD + self.streams[usage][0])
        return self.pour(request, self.streams[usage], 1)

    def pour(self, request: Request, rest: list[bytes], at: int) -> None:
        """Write the frames from `at`, one per interval (all at once when there is no interval)."""
        if self.pace.interval and at < len(rest) - 1:
            self.transport.write(rest[at])
            self.timer = self.loop.call_later(self.pace.interval, self.pour, request, rest, at + 1)
            return
        self.streaming = False
        self.stats.streams_finished += 1
        self.finish(request, b"".join(rest[at:]))
        self.advance()


async def serve(port: int, pace: Pace) -> None:
    """Listen on loopback until SIGTERM or SIGINT; prints the address once it is bound."""
    loop, stop, stats = asyncio.get_running_loop(), asyncio.Event(), Stats()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    server = await loop.create_server(lambda: Exchange(pace, stats), "127.0.0.1", port, backlog=1024)
    print(f"upstream on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()
    server.close()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free port")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="wait before a POST is answered")
    parser.add_argument("--chunks", type=int, default=64, help="words in a stream")
    parser.add_argument("--interval-ms", type=float, default=0.0, help="wait between words")
    args = parser.parse_args()
    pace = Pace(args.latency_ms / 1000, max(args.chunks, 1), args.interval_ms / 1000)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(args.port, pace))


if __name__ == "__main__":
    main()
