"""Filter: keeps the rows that meet every rule, in their order, then one per value of a column, then a sample."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from app.outbound.web_addresses import host
from app.services.row_jobs import columns, mailboxes, phones
from app.services.row_jobs.columns import Getter
from app.services.row_jobs.contract import Json, Prepared, job_type
from app.services.row_jobs.numbers import number
from app.services.row_jobs.parameters import accepted
from app.services.row_jobs.preparing import sheet
from app.services.row_jobs.word_lists import listed

Keep = Callable[[Json], bool]
Column = Callable[[str], Getter]
Rule = Callable[[Any, Column], Keep]
# What a dead-check writes of a site that is no more.
CLOSED: Final = frozenset({"closed", "dead"})


def prepare(params: Json, items: list[Json]) -> Prepared:
    """All rows as they are; a notice for each column a rule reads under another name."""
    given = accepted("filter", params)
    read: list[str] = []

    def reading(column: str) -> Getter:
        read.append(column)
        return columns.getter((), column)

    rules(given, reading)
    return sheet(given, items, dict.fromkeys([*read, *filter(None, [given.get("dedup_column")])]))


def run(params: Json, rows: list[Json]) -> Iterable[Json]:
    """The rows that meet the rules: the same objects, in the same order."""
    column = partial(columns.getter, columns.seen(rows))
    keep = rules(params, column)
    kept = [row for row in rows if all(rule(row) for rule in keep)]
    if params.get("dedup_column"):
        kept = _first_of_each(kept, column(params["dedup_column"]))
    return _sample(params, kept)


def rules(params: Json, column: Column) -> list[Keep]:
    """The rules that are set, in the documented order; `column` finds what they read."""
    asked = ((rule, params.get(name)) for name, rule in RULES.items())
    return [rule(value, column) for rule, value in asked if value is not None and value is not False]


def _needs(column: str) -> Rule:
    def rule(_: Any, find: Column) -> Keep:
        get = find(column)
        return lambda row: not columns.blank(get(row))

    return rule


def _least(column: str) -> Rule:
    def rule(least: float, find: Column) -> Keep:
        get = find(column)
        return lambda row: (value := number(get(row))) is not None and value >= least

    return rule


def _own_site(_: Any, column: Column) -> Keep:
    get = column("site_web")
    return lambda row: not listed(host(columns.text(get(row))), "aggregators")


def _alive(_: Any, column: Column) -> Keep:
    get = column("site_alive")
    return lambda row: columns.text(get(row)).lower() not in CLOSED


def _personal(_: Any, column: Column) -> Keep:
    get = column("email")
    return lambda row: any(not mailboxes.is_role(address) for address in mailboxes.found(get(row)))


def _phone_prefix(rule: Json, column: Column) -> Keep:
    get = column(rule.get("column", "telephone"))
    prefixes = tuple(filter(None, map(phones.compact, rule["prefixes"])))
    unreadable = bool(rule.get("prefix_unparseable_keep"))

    def keep(row: Json) -> bool:
        cell = columns.text(get(row))
        begins = phones.begins(cell, prefixes) if cell else False
        return unreadable if begins is None else begins

    return keep


def _email_domain(rule: Json, column: Column) -> Keep:
    get = column(rule.get("column", "email"))
    include, exclude = ({d.strip().lower().lstrip("@") for d in rule.get(n, ())} for n in ("include", "exclude"))
    throw_away = bool(rule.get("reject_disposable"))

    def suits(address: str) -> bool:
        domain = mailboxes.domain(address)
        wanted = (not include or domain in include) and domain not in exclude
        return wanted and not (throw_away and mailboxes.is_disposable(address))

    def keep(row: Json) -> bool:
        addresses = mailboxes.found(get(row))
        return any(map(suits, addresses)) if addresses else not include

    return keep


def _category(rule: Json, column: Column) -> Keep:
    get = column(rule["column"])
    values = {columns.same(value) for value in rule["values"]}

    def keep(row: Json) -> bool:
        cell = get(row)
        return any(columns.same(part) in values for part in (cell if isinstance(cell, list) else [cell]))

    return keep


# In the documented order.
RULES: Final[dict[str, Rule]] = {
    "require_phone": _needs("telephone"),
    "require_site": _needs("site_web"),
    "require_email": _needs("email"),
    "exclude_aggregators": _own_site,
    "alive_only": _alive,
    "has_personal_email": _personal,
    "rating_min": _least("rating"),
    "reviews_min": _least("reviews_count"),
    "phone_prefix": _phone_prefix,
    "email_domain": _email_domain,
    "category": _category,
}


def _first_of_each(rows: Iterable[Json], get: Getter) -> list[Json]:
    """The first row of each value; rows without a value are not copies of one another."""
    taken: set[str] = set()
    kept = []
    for row in rows:
        value = columns.same(get(row))
        if value not in taken:
            kept.append(row)
            taken.update([value] if value else [])
    return kept


def _sample(params: Json, rows: Sequence[Json]) -> Sequence[Json]:
    """As many rows as asked for, drawn without replacement, in their order; the seed is 0 unless given."""
    kind = params.get("sample_type")
    if not kind:
        return rows
    exact = params["sample_n"] if kind == "n" else len(rows) * params["sample_pct"] / 100
    size = min(len(rows), math.floor(exact + 0.5))
    drawn = random.Random(params.get("sample_seed", 0)).sample(range(len(rows)), size)  # noqa: S311 (no secret)
    return [rows[i] for i in sorted(drawn)]


TYPE: Final = job_type("filter", prepare, whole=run)
