"""`yardmaster prices`: see what models cost here, and import your own figures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from app.cli.database import opened
from app.gateway.prices import PriceFileError, builtin, load_overrides, merge, read_file, save_overrides
from app.gateway.prices.rows import row_of
from app.security import secrets
from app.services.webhooks import announce

if TYPE_CHECKING:
    from app.gateway.money import Price
    from app.gateway.prices import PriceTable

OVERRIDES = "prices.json"


@click.group()
def prices() -> None:
    """What models cost, in US dollars per 1M tokens."""


@prices.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Check the file and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.pass_context
def import_(ctx: click.Context, file: Path, *, dry_run: bool, as_json: bool) -> None:
    """Put the prices in FILE (.json, .yaml or .csv; our form or LiteLLM's) over the shipped ones, all or none."""
    try:
        reading = read_file(file)
        merged = merge(load_overrides(_overrides(ctx)), reading.prices)
    except PriceFileError as error:
        _refuse(ctx, error, as_json=as_json)
        return
    if not reading.prices:
        raise click.ClickException(f"{file} holds no prices")
    if not dry_run:
        _overrides(ctx).parent.mkdir(parents=True, exist_ok=True)
        save_overrides(_overrides(ctx), merged)
        _announce(ctx, len(reading.prices), len(merged))
    counts = {"prices": len(reading.prices), "left_out": len(reading.left_out), "overrides": len(merged)}
    _answer({**counts, "dry_run": dry_run}, _sentence(counts, dry_run=dry_run), as_json=as_json)


@prices.command("list")
@click.option("--provider", default="", help="Only this provider.")
@click.option("--model-prefix", default="", help="Only models whose names begin so.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.pass_context
def list_(ctx: click.Context, provider: str, model_prefix: str, *, as_json: bool) -> None:
    """List the prices in force, yours over the shipped ones."""
    rows = _table(ctx).rows(provider, model_prefix)
    _answer({"models": [row_of(price) for price in rows]}, _listing(rows), as_json=as_json)


@prices.command()
@click.argument("model")
@click.option("--provider", default="", help="The provider that is asked for the model.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.pass_context
def show(ctx: click.Context, model: str, provider: str, *, as_json: bool) -> None:
    """Show the price that a call of MODEL is charged at."""
    table = _table(ctx)
    found = table.find(provider, model)
    if found is None:
        raise click.ClickException(_unknown(table, provider, model))
    _answer(row_of(found), _sheet(found), as_json=as_json)


def _announce(ctx: click.Context, imported: int, overrides: int) -> None:
    """Tell those who asked to be told; the prices are in force anyway, with a server or before there is one."""
    if not _overrides(ctx).with_name(secrets.FILE).is_file():
        return
    try:
        with opened(ctx):
            announce("prices.imported", {"prices": imported, "overrides": overrides})
    except click.ClickException as error:
        click.echo(f"webhooks are not told of it: {error.message}", err=True)


def _overrides(ctx: click.Context) -> Path:
    """The user's prices in the data directory."""
    chosen = (ctx.obj or {}).get("data") or os.environ.get("YARDMASTER_DATA") or ".yardmaster"
    return Path(chosen) / OVERRIDES


def _table(ctx: click.Context) -> PriceTable:
    try:
        return builtin().with_overrides(load_overrides(_overrides(ctx)))
    except PriceFileError as error:
        raise click.ClickException(str(error)) from error


def _unknown(table: PriceTable, provider: str, model: str) -> str:
    sellers = "" if provider else ", ".join(price.provider for price in table.rows() if price.model == model)
    hint = f"name one of its providers: {sellers}" if sellers else "a call of it has an unknown cost, not 0"
    return f"no price is known for {model}; {hint}"


def _refuse(ctx: click.Context, error: PriceFileError, *, as_json: bool) -> None:
    if not as_json:
        raise click.ClickException(str(error)) from error
    faults = [fault._asdict() for fault in error.faults]
    click.echo(orjson.dumps({"file": str(error.path), "faults": faults}))
    ctx.exit(1)


def _sentence(counts: dict[str, int], *, dry_run: bool) -> str:
    verb = "would be imported" if dry_run else "imported"
    rest = f"; {counts['left_out']} left out, not priced per token" if counts["left_out"] else ""
    return f"{counts['prices']} prices {verb}{rest}; {counts['overrides']} of your own in all"


def _listing(rows: list[Price]) -> Table:
    """One line a model; a tier stands on a line of its own, below the base."""
    table = Table(
        Column("model", overflow="fold"), "input", "output", "cache read", "cache write", "context", box=SIMPLE
    )
    for price in rows:
        row = row_of(price)
        table.add_row(
            escape(f"{price.provider}/{price.model}"), *_figures(row), f"{price.context:,}" if price.context else "-"
        )
        for tier in row.get("tiers", []):
            table.add_row(f"  above {tier['above']:,} tokens in", *_figures(tier), "")
    return table


def _figures(row: dict[str, Any]) -> list[str]:
    writes = [row[name] for name in ("cache_write", "cache_write_1h") if name in row]
    return [*(row.get(name, "-") for name in ("input", "output", "cache_read")), " / 1 h ".join(writes) or "-"]


def _sheet(price: Price) -> Table:
    """Everything that is known of one price."""
    table = Table("field", "value", box=SIMPLE, show_header=False)
    row = row_of(price)
    tiers = {f"above {tier.pop('above'):,} tokens in": tier for tier in row.pop("tiers", [])}
    stated = row | {name: ", ".join(f"{part} {value}" for part, value in tier.items()) for name, tier in tiers.items()}
    for name, value in stated.items():
        table.add_row(name.replace("_", " "), escape(str(value)))
    return table


def _answer(content: dict[str, Any], shown: str | Table, *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    else:
        Console().print(shown, highlight=False)
