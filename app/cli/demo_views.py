"""How the demo shows what happened: tables for a terminal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from app.cli.demo_server import Running

Json = dict[str, Any]
COLOURS = {"ok": "green", "cache_hit": "cyan", "error": "red"}


def show(console: Console, shown: Json) -> None:
    """The requests, their traces, and what they cost."""
    console.print()
    console.print(_requests(shown["requests"]))
    console.print(_traces(shown["traces"]))
    console.print(_costs(shown["costs"]))
    count = len(shown["requests"])
    console.print(f"[green]✓[/green] {count} requests answered as they should be, in {shown['seconds']:.1f} s.")


def invite(console: Console, server: Running) -> None:
    """Where to look while the server runs."""
    console.print(f"\n[bold]The server goes on at {server.base_url}[/bold]; Ctrl-C ends it and removes its data.")
    console.print(f"documentation   {server.base_url}/api/docs", soft_wrap=True)
    console.print(f"admin key       {server.admin_key}", markup=False, soft_wrap=True)
    ask = f"curl '{server.base_url}/api/observe/traces?limit=3' -H 'Authorization: Bearer {server.admin_key}'"
    console.print(ask, markup=False, soft_wrap=True)


def part(console: Console) -> None:
    """Where to go from here, with the server gone."""
    console.print("The server is gone and nothing is left of it. Next:")
    console.print("  yardmaster demo --keep   the same, and look around: documentation at /api/docs")
    console.print("  yardmaster serve         a server to stay; it prints its keys and a first request")


def _table(title: str, *names: str) -> Table:
    """Names that begin with `#` head columns of numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name in names:
        justify: JustifyMethod = "right" if name.startswith("#") else "left"
        table.add_column(name.removeprefix("#"), justify=justify, no_wrap=name == "answer")
    return table


def _requests(taken: list[Json]) -> Table:
    table = _table("What was asked", "step", "request", "#status", "#ms", "answer")
    for row in taken:
        status = f"[{'green' if row['status'] < 400 else 'red'}]{row['status']}[/]"  # noqa: PLR2004
        request = f"{row['method']} {row['path']}"
        table.add_row(row["name"], request, status, f"{row['ms']:.0f}", escape(row["answer"]))
    return table


def _traces(traces: list[Json]) -> Table:
    table = _table(
        "What was recorded: GET /api/observe/traces",
        "time",
        "operation",
        "model",
        "status",
        "#in",
        "#out",
        "#cost",
        "#ms",
    )
    for row in traces:
        at = datetime.fromisoformat(row["created_at"]).astimezone().strftime("%H:%M:%S")
        status = f"[{COLOURS.get(row['status'], 'white')}]{row['status']}[/]"
        numbers = (str(row["tokens_in"]), str(row["tokens_out"]), _dollars(row["cost_usd"]), str(row["duration_ms"]))
        table.add_row(at, row["operation"], escape(row["model"]), status, *numbers)
    return table


def _costs(costs: Json) -> Table:
    table = _table("What it cost: GET /api/observe/costs", "model", "#requests", "#in", "#out", "#cost")
    for row in costs["models"]:
        counts = (str(row[name]) for name in ("requests", "tokens_in", "tokens_out"))
        table.add_row(escape(row["model"]), *counts, _dollars(row["cost_usd"]))
    table.add_section()
    table.add_row(
        "[bold]all[/bold]", str(costs["total_requests"]), "", "", f"[bold]{_dollars(costs['total_usd'])}[/bold]"
    )
    return table


def _dollars(amount: float | None) -> str:
    return "unknown" if amount is None else f"${amount:.6f}"
