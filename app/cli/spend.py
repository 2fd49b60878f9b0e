"""`yardmaster spend`: prove that what counts against budgets is what was spent."""

from __future__ import annotations

import click
import orjson

from app.cli.database import beside
from app.gateway import config
from app.gateway.money import usd_text
from app.services.spending.reconcile import Difference, Report, reconcile
from models.base import now, transaction


class _UnwantedError(Exception):
    """Ends the transaction without keeping what it changed."""


@click.group()
def spend() -> None:
    """What was spent, and the proof of it."""


@spend.command("reconcile")
@click.option("--repair", is_flag=True, help="Put right what differs.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.pass_context
def reconcile_(ctx: click.Context, /, *, repair: bool, as_json: bool) -> None:
    """Compare the counters of budgets with the daily sums, those with the traces, and reserves with calls under way.

    A server may run beside it. Exit code 1 when something differs and was not repaired.
    """
    with beside(ctx) as server:
        days = int(config.load(server.engine, {}).of("logging")["retention_days"])
        try:
            with transaction(server.engine) as session:
                report = reconcile(session, now(), days)
                if not repair:
                    raise _UnwantedError  # noqa: TRY301 (rolls back)
        except _UnwantedError:
            pass
    click.echo(_in_json(report, repair=repair) if as_json else _in_words(report, repair=repair))
    ctx.exit(1 if report.differences and not repair else 0)


def _in_json(report: Report, *, repair: bool) -> str:
    told = {"counters": report.counters, "days": report.days, "repaired": repair and bool(report.differences)}
    differences = [difference.shown() for difference in report.differences]
    return orjson.dumps(told | {"differences": differences}, option=orjson.OPT_INDENT_2).decode()


def _in_words(report: Report, *, repair: bool) -> str:
    lines = [_line(difference) for difference in report.differences]
    compared = f"{report.counters} counters and {report.days} days of traces compared"
    if not lines:
        return f"{compared}: every amount is what it should be"
    done = "put right" if repair else "left as they are; --repair puts them right"
    return "\n".join([*lines, f"{compared}: {len(lines)} differences, {done}"])


def _line(found: Difference) -> str:
    amounts = f"{usd_text(found.stands, 9)} USD instead of {usd_text(found.should, 9)}"
    return f"{found.what} of {found.scope} {found.ref} in {found.period}: {amounts}"
