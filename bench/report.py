"""What a run found: collected per target, summed up as medians and as ratios within the same round, and printed."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from bench.load import Latency, Soak, Streams, Throughput

BASELINES = ("portkey", "tensorzero")
STREAM_TITLES = ("whole streams", "+first event\np50 / p99 ms")
TITLES = ("CPU us", "+p50 ms", "+p99 ms", *STREAM_TITLES, "page ms", "start s", "RSS MB")


@dataclass(slots=True)
class Row:
    """Everything measured of one target; `throughput` has one entry per round."""

    name: str
    version: str
    start_seconds: float
    resident_before_mb: float
    resident_after_mb: float = 0.0
    throughput: list[Throughput] = field(default_factory=list)
    latency: Latency | None = None
    streams: Streams | None = None
    soak: Soak | None = None
    page_ms: float | None = None
    failures: list[str] = field(default_factory=list)

    @property
    def rates(self) -> list[float | None]:
        """Requests per second by round; None for an invalid one (any error makes it so)."""
        return [run.rate if run.errors == 0 else None for run in self.throughput]

    @property
    def errors(self) -> int:
        """Errors over all rounds."""
        return sum(run.errors for run in self.throughput)

    def median(self) -> float | None:
        """The median rate of the valid rounds."""
        valid = [rate for rate in self.rates if rate is not None]
        return statistics.median(valid) if valid else None

    def cpu_us(self) -> float | None:
        """The median CPU time per request of the valid rounds, in microseconds."""
        valid = [run.cpu_us for run in self.throughput if run.errors == 0]
        return statistics.median(valid) if valid else None


def ratio(row: Row, base: Row) -> float | None:
    """The median over rounds of row / base, each taken in one round in which both were valid."""
    pairs = zip(row.rates, base.rates, strict=False)
    ratios = [mine / theirs for mine, theirs in pairs if mine is not None and theirs]
    return statistics.median(ratios) if ratios else None


def machine() -> dict[str, Any]:
    """The box: cores, processor, kernel, Python, and how busy it was."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": model,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
    }


def as_json(rows: list[Row], setting: dict[str, Any]) -> dict[str, Any]:
    """The whole run, raw rounds included."""
    named = {row.name: row for row in rows}
    results = [
        asdict(row)
        | {"median_rate": row.median(), "median_cpu_us": row.cpu_us()}
        | {f"ratio_to_{base}": ratio(row, named[base]) for base in BASELINES if base in named}
        for row in rows
    ]
    return {"machine": machine(), "setting": setting, "results": results}


def number(value: float | None, places: int = 0, unit: str = "") -> str:
    """A figure for the table, or a dash."""
    return "–" if value is None else f"{value:,.{places}f}{unit}"


def rate_cell(row: Row) -> str:
    """The median rate, or why there is none."""
    if row.median() is None and row.throughput:
        return f"invalid ({row.errors} errors)"
    rates = [rate for rate in row.rates if rate is not None]
    invalid = f" ({len(row.rates) - len(rates)} invalid)" if len(rates) < len(row.rates) else ""
    return number(row.median()) + invalid


def first_event(streams: Streams | None, direct: Streams | None) -> str:
    """What a target adds to the time to the first event, p50 / p99."""
    if not streams or not direct:
        return "–"
    p50, p99 = streams.first_p50_ms - direct.first_p50_ms, streams.first_p99_ms - direct.first_p99_ms
    return f"{p50:,.1f} / {p99:,.1f}"


def cells(row: Row, named: dict[str, Row]) -> list[str]:
    """One line of the main table."""
    added, streams = row.latency, row.streams
    ratios = [number(ratio(row, named[base]), 2, "×") for base in BASELINES if base in named]
    return [
        row.name,
        row.version,
        rate_cell(row),
        *ratios,
        number(row.cpu_us()),
        number(added.added_p50_ms if added else None, 2),
        number(added.added_p99_ms if added else None, 2),
        f"{streams.whole}/{streams.asked}" if streams else "–",
        first_event(streams, named["direct"].streams),
        number(row.page_ms, 1),
        number(row.start_seconds, 2),
        f"{row.resident_before_mb:.0f} → {row.resident_after_mb:.0f}",
    ]


def show(rows: list[Row], setting: dict[str, Any]) -> None:
    """Print the tables."""
    console, named, box = Console(width=160), {row.name: row for row in rows}, machine()
    console.print(
        f"{box['cores']} × {box['cpu']}, Linux {box['kernel']}, Python {box['python']}, load {box['load_average']:.1f}"
    )
    console.print(", ".join(f"{key} {value}" for key, value in setting.items() if key != "peers"))
    table = Table("target", "version", "req/s", title="Gateway lane, one upstream, alternating runs (medians)")
    for base in BASELINES:
        if base in named:
            table.add_column(f"vs {base}", justify="right")
    for title in (
        "CPU us",
        "+p50 ms",
        "+p99 ms",
        "whole streams",
        "+first event\np50 / p99 ms",
        "page ms",
        "start s",
        "RSS MB",
    ):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(*cells(row, named))
    console.print(table)
    for row in rows:
        for failure in row.failures:
            console.print(f"[red]{row.name}: {failure}")
        if row.soak:
            weights = " ".join(f"{value:.0f}" for value in row.soak.resident_mb)
            console.print(
                f"soak {row.name}: {row.soak.requests} requests, {row.soak.errors} errors, RSS MB {weights}; "
                f"{row.soak.slope_mb:+.2f} MB per 10,000"
            )
