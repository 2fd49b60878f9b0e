"""`python -m bench`: start the targets, measure them in turn, print the comparison, stop what was started."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import uvloop

from bench import load, ours, peers
from bench.peers import say
from bench.report import Row, as_json, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.peers import Target

STARTERS = ours.STARTERS | peers.STARTERS
EXPECTED = (OSError, RuntimeError, ValueError, TimeoutError, LookupError, subprocess.CalledProcessError)
UNANSWERED = load.Throughput(rate=0.0, errors=1, cpu_us=0.0, p50_ms=0.0, p99_ms=0.0)


def bounded(low: int, high: int) -> Callable[[str], int]:
    """An argument type: an integer within bounds."""

    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be {low}..{high}")
        return value

    return parse


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line; every count and time has a ceiling."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--peers", default="yardmaster,portkey,litellm", help=f"of {', '.join(STARTERS)}")
    parser.add_argument("--rounds", type=bounded(0, 20), default=3, help="throughput rounds; 0 leaves them out")
    parser.add_argument("--seconds", type=bounded(1, 60), default=5, help="of wrk per target and round")
    parser.add_argument("--connections", type=bounded(1, 1024), default=32)
    parser.add_argument("--latency", type=bounded(0, 100_000), default=2000, help="sequential calls; 0 leaves them out")
    parser.add_argument("--streams", type=bounded(0, 1024), default=0, help="concurrent streams, e.g. 256")
    parser.add_argument("--stream-words", type=bounded(1, 1000), default=100)
    parser.add_argument("--stream-interval-ms", type=bounded(0, 1000), default=20)
    parser.add_argument("--stream-ramp-ms", type=bounded(0, 10_000), default=500, help="streams open evenly over this")
    parser.add_argument("--soak", type=bounded(0, 1_000_000), default=0, help="requests to weigh memory over")
    parser.add_argument("--latency-ms", type=bounded(0, 1000), default=0, help="of the upstream")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--out", type=Path, help="write the JSON to a file as well")
    args = parser.parse_args(words)
    args.peers = [name for name in args.peers.split(",") if name]
    if unknown := set(args.peers) - set(STARTERS):
        parser.error(f"unknown peers: {', '.join(sorted(unknown))}")
    return args


def start(args: argparse.Namespace, work: Path, stack: ExitStack) -> list[Target]:
    """The upstream and every peer that starts; one that does not is reported and left out."""
    pace = {"chunks": args.stream_words, "interval_ms": args.stream_interval_ms, "latency_ms": args.latency_ms}
    targets = [peers.start_upstream(work, **pace)]
    stack.callback(targets[0].server.stop)
    for name in args.peers:
        try:
            target = STARTERS[name](f"{targets[0].server.url}/v1", work)
        except EXPECTED as problem:
            say(f"{name} left out: {problem}")
            continue
        stack.callback(target.server.stop)
        targets.append(target)
        say(f"{name} {target.version} answered after {target.server.start_seconds:.2f} s")
    return targets


def attempt(row: Row, what: str, measure: Callable[[], Any]) -> Any:
    """A measurement, or None with the reason noted."""
    say(f"{what} {row.name} …")
    try:
        return measure()
    except EXPECTED as problem:
        row.failures.append(f"{what}: {type(problem).__name__} {problem}")
        return None


def throughput(args: argparse.Namespace, targets: list[Target], rows: dict[str, Row]) -> None:
    """Rounds of wrk after a warm-up of the same length; each begins with another target and goes the other way."""
    for turn in range(args.rounds + 1 if args.rounds else 0):
        shift = turn % len(targets)
        for target in (targets[shift:] + targets[:shift])[:: 1 if turn % 2 == 0 else -1]:
            row = rows[target.name]
            found = attempt(
                row, f"round {turn or 'warm-up'}", partial(load.wrk, target, args.seconds, args.connections)
            )
            if turn:
                row.throughput.append(found or UNANSWERED)
            if found:
                say(f"  {found.rate:,.0f} req/s, {found.errors} errors")
            if found and found.errors:
                row.failures.append(f"round {turn}: {found.errors} errors, last status {found.last_status}")


def single(args: argparse.Namespace, target: Target, direct: Target, row: Row) -> None:
    """What is measured of one target at a time."""
    if args.latency and target is not direct:
        row.latency = attempt(row, "latency", partial(load.latency, target, direct, args.latency))
    if args.streams:
        row.streams = attempt(row, "streams", lambda: uvloop.run(streams(args, target)))
    if target.page:
        row.page_ms = attempt(row, "pages", partial(load.pages, target))
    if args.soak:
        row.soak = attempt(row, "soak", lambda: uvloop.run(load.soak(target, args.soak, args.connections)))
    row.resident_after_mb = target.server.resident_mb


def measure(args: argparse.Namespace, targets: list[Target]) -> list[Row]:
    """Every measurement asked for."""
    rows = {each.name: weigh(each) for each in targets}
    throughput(args, targets, rows)
    for target in targets:
        single(args, target, targets[0], rows[target.name])
    return list(rows.values())


def weigh(target: Target) -> Row:
    """A target's row before any load."""
    return Row(target.name, target.version, target.server.start_seconds, target.server.resident_mb)


async def streams(args: argparse.Namespace, target: Target) -> load.Streams:
    """Streams after a few which warm the path up."""
    await load.streams(target, 8, args.stream_words, 0.0)
    return await load.streams(target, args.streams, args.stream_words, args.stream_ramp_ms / 1000)


def stop_on_signal() -> None:
    """Let SIGTERM unwind like Ctrl-C, so that every started process is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def main(words: list[str] | None = None) -> None:
    """Run the comparison."""
    args = arguments(words)
    stop_on_signal()
    setting = {key: value for key, value in vars(args).items() if key not in {"json", "out"}}
    with TemporaryDirectory(prefix="bench-") as work, ExitStack() as stack:
        rows = measure(args, start(args, Path(work), stack))
    document = json.dumps(as_json(rows, setting), indent=2)
    if args.out:
        args.out.write_text(document + "\n")
    if args.json:
        print(document)
    else:
        show(rows, setting)


if __name__ == "__main__":
    main()
