"""How the demo shows what happened: tables for a terminal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from app.cli.demo_server import Running

Json = dict[str, Any]
Row = dict[str, RenderableType]
ROOMY = 100
COLOURS = {"ok": "green", "cache_hit": "cyan", "error": "red"}


def show(console: Console, shown: Json) -> None:
    """The requests, their traces, and what they cost; a narrow terminal does without some columns."""
    narrow = console.width < ROOMY
    tables = (
        ("What was asked", [_request(row) for row in shown["requests"]], {"answer"}),
        ("What was recorded: GET /api/observe/traces", [_trace(row) for row in shown["traces"]], {"time", "operation"}),
        ("What it cost: GET /api/observe/costs", _costs(shown["costs"]), set[str]()),
    )
    for title, rows, spared in tables:
        console.print()
        console.print(_table(title, rows, spared if narrow else set()))
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
    console.print("  yardmaster serve         a server to stay, with keys of its own")


def _table(title: str, rows: list[Row], spared: set[str]) -> Table:
    """Columns by the keys of the rows; those that begin with `#` hold numbers."""
    names = [name for name in rows[0] if name not in spared]
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name in names:
        justify: JustifyMethod = "right" if name.startswith("#") else "left"
        table.add_column(name.removeprefix("#"), justify=justify, no_wrap=name != "answer")
    for row in rows:
        table.add_row(*(row[name] for name in names))
    return table


def _request(row: Json) -> Row:
    return {
        "step": row["name"],
        "request": f"{row['method']} {row['path']}",
        "#status": f"[{'green' if row['status'] < 400 else 'red'}]{row['status']}[/]",  # noqa: PLR2004
        "#ms": f"{row['ms']:.0f}",
        "answer": Text(row["answer"], no_wrap=True, overflow="ellipsis"),
    }


def _trace(row: Json) -> Row:
    return {
        "time": datetime.fromisoformat(row["created_at"]).astimezone().strftime("%H:%M:%S"),
        "operation": row["operation"],
        "model": escape(row["model"]),
        "status": f"[{COLOURS.get(row['status'], 'white')}]{row['status']}[/]",
        "#in": str(row["tokens_in"]),
        "#out": str(row["tokens_out"]),
        "#cost": _dollars(row["cost_usd"]),
        "#ms": str(row["duration_ms"]),
    }


def _costs(costs: Json) -> list[Row]:
    total = {"model": "all", "requests": costs["total_requests"], "cost_usd": costs["total_usd"]}
    return [
        {
            "model": escape(row["model"]),
            "#requests": str(row["requests"]),
            "#in": str(row.get("tokens_in", "")),
            "#out": str(row.get("tokens_out", "")),
            "#cost": _dollars(row["cost_usd"]),
        }
        for row in (*costs["models"], total)
    ]


def _dollars(amount: float | None) -> str:
    return "unknown" if amount is None else f"${amount:.6f}"
