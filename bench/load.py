"""What is measured: requests per second, added latency, concurrent streams, and memory over many requests."""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from bench.http1 import Caller, Listener, Wire, connect, render
from bench.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.peers import Target

SCRIPT = ROOT / "bench" / "chat.lua"
MESSAGES = [
    {"role": "system", "content": "You are a dispatcher."},
    {"role": "user", "content": "When is the train on track four due, and what does it carry?"},
]
SLICE = 100
WARM_UP = 200
OK = 200
PAGES = 50
STREAM_LIMIT = 120.0
TAKEN = 0.5


@dataclass(frozen=True, slots=True)
class Throughput:
    """One run of wrk: 200s per second, failures, the server's CPU (us) per request, ms wrk saw, last wrong status."""

    rate: float
    errors: int
    cpu_us: float
    p50_ms: float
    p99_ms: float
    last_status: int = 0


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds at one connection: the server's percentiles, and their distance from direct's in the same slices."""

    p50_ms: float
    p99_ms: float
    added_p50_ms: float
    added_p99_ms: float


@dataclass(frozen=True, slots=True)
class Streams:
    """Concurrent streams: asked for, open at once at the peak, whole and in order; milliseconds to the first event."""

    asked: int
    peak: int
    whole: int
    first_p50_ms: float
    first_p99_ms: float


@dataclass(frozen=True, slots=True)
class Soak:
    """Resident MB at the start and after each tenth of the requests; growth per 10,000 from the first tenth on."""

    requests: int
    errors: int
    resident_mb: list[float]
    slope_mb: float


def pages(target: Target) -> float:
    """The median of fifty pages of twenty stored calls, in milliseconds. Raises RuntimeError when one is refused."""
    path, key = target.page or ("", "")
    connection = http.client.HTTPConnection("127.0.0.1", target.server.port, timeout=30)
    took = []
    for _ in range(PAGES):
        began = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        answer.read()
        took.append((time.perf_counter() - began) * 1000)
        if answer.status != OK:
            raise RuntimeError(f"{path}: {answer.status}")
    connection.close()
    return statistics.median(took)


def wrk(target: Target, seconds: int, connections: int) -> Throughput:
    """Load a target with one wrk thread for some seconds."""
    headers = [word for pair in target.all_headers.items() for word in pair]
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT)]
    command = ["wrk", *options, target.url, "--", target.model, *headers]
    before = target.server.cpu_seconds
    output = finished(command, seconds + 60)
    seen = json.loads(output.split("RESULT ")[1].splitlines()[0])
    errors = seen["bad"] + seen["socket_errors"] + seen["timeouts"]
    cpu_us = (target.server.cpu_seconds - before) / max(seen["ok"], 1) * 1e6
    return Throughput(seen["ok"] / seen["seconds"], errors, cpu_us, seen["p50_ms"], seen["p99_ms"], seen["last_bad"])


def finished(command: list[str], limit: float) -> str:
    """What wrk printed. Raises RuntimeError, which names no argument because a credential is among them."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        raise RuntimeError("wrk did not end in time") from None
    if done.returncode:
        raise RuntimeError((done.stderr or done.stdout).strip())
    return done.stdout


def chat(target: Target, **more: object) -> bytes:
    """A rendered completion request."""
    body = {"model": target.model, "messages": MESSAGES, "temperature": 0} | more
    return render(target.url, target.all_headers, orjson.dumps(body))


def timed(caller: Caller, request: bytes, count: int) -> list[float]:
    """Milliseconds of each of `count` calls, one after another. Raises RuntimeError on a status other than 200."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        status, body = caller.call(request)
        times.append((time.perf_counter() - began) * 1e3)
        if status != OK:
            raise RuntimeError(f"status {status}: {body[:300]!r}")
    return times


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """p50 and p99."""
    return statistics.median(values), statistics.quantiles(values, n=100)[98]


def latency(target: Target, direct: Target, count: int) -> Latency:
    """Time a target and direct in alternating slices, so that both meet the same machine."""
    callers = [(Caller(each.url), chat(each)) for each in (direct, target)]
    times: tuple[list[float], list[float]] = ([], [])
    try:
        for caller, request in callers:
            timed(caller, request, WARM_UP)
        for _ in range(count // SLICE):
            for (caller, request), collected in zip(callers, times, strict=True):
                collected.extend(timed(caller, request, SLICE))
    finally:
        for caller, _ in callers:
            caller.close()
    (base50, base99), (p50, p99) = (percentiles(each) for each in times)
    return Latency(p50, p99, p50 - base50, p99 - base99)


def whole(data: bytes, words: int) -> bool:
    """Whether a streamed body says every word in order and ends with [DONE]."""
    events = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: ")]
    if not events or events[-1].strip() != b"[DONE]":
        return False
    choices = [choice for event in events[:-1] for choice in orjson.loads(event).get("choices", [])]
    said = "".join(choice["delta"].get("content") or "" for choice in choices)
    return said == "".join(f"{number} " for number in range(words))


async def streams(target: Target, count: int, words: int, ramp: float) -> Streams:
    """Open `count` streams spread evenly over `ramp` seconds, each on a connection made before; read all to the end.

    A connection is made for us when the kernel says so, for the server when it has taken it: that is waited for.
    """
    request = chat(target, stream=True, stream_options={"include_usage": True})
    wires = [await connect(target.url, Listener) for _ in range(count)]
    await asyncio.sleep(TAKEN)
    active = peak = 0

    async def read(wire: Listener, delay: float) -> tuple[float, bool]:
        nonlocal active, peak
        await asyncio.sleep(delay)
        active += 1
        peak = max(peak, active)
        reply, data, first = await wire.hear(request)
        active -= 1
        return first, reply.complete and reply.status == OK and whole(data, words)

    reads = (read(wire, ramp * number / count) for number, wire in enumerate(wires))
    results = await asyncio.wait_for(asyncio.gather(*reads), STREAM_LIMIT)
    for wire in wires:
        wire.transport.close()
    good = sum(is_whole for _, is_whole in results)
    return Streams(count, peak, good, *percentiles([first for first, _ in results]))


async def repeat(target: Target, count: int, connections: int) -> int:
    """Send `count` completions over some connections; how many were not 200."""
    request, left, errors = chat(target), count, 0

    async def work() -> None:
        nonlocal left, errors
        wire = await connect(target.url, Wire)
        while left > 0:
            left -= 1
            wire.send(request)
            while await wire.piece() is not None:
                pass
            errors += wire.reply.status != OK
        wire.transport.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return errors


async def soak(target: Target, count: int, connections: int) -> Soak:
    """Weigh the server's process tree after each tenth of `count` requests."""
    tenth, errors, resident = count // 10, 0, [target.server.resident_mb]
    for _ in range(10):
        errors += await repeat(target, tenth, connections)
        resident.append(target.server.resident_mb)
        print(f"soak {target.name}: {resident[-1]:.1f} MB", flush=True)
    slope = statistics.linear_regression(range(10), resident[1:]).slope
    return Soak(tenth * 10, errors, resident, slope / tenth * 10_000)
