"""Normalize: telephones, e-mail addresses and web addresses in one form; what cannot be read stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

import phonenumbers

from app.outbound import web_addresses
from app.problems import Issue, invalid
from app.services.row_jobs import columns, phones
from app.services.row_jobs.contract import Json, Prepared, job_type
from app.services.row_jobs.mailboxes import BETWEEN
from app.services.row_jobs.parameters import accepted
from app.services.row_jobs.preparing import sheet
from app.services.row_jobs.syntax import address

Form = Callable[[str], str | None]
# Which columns each switch is about: a caller's, and those that other types add.
COLUMNS: Final = {
    "phones": ("telephone", "phone_secondary", "mobile", "fax"),
    "emails": ("email", "email_personal"),
    "urls": ("site_web",),
}
READ: Final = ("telephone", "email", "site_web")


def prepare(params: Json, items: list[Json]) -> Prepared:
    """All rows; a Problem when there is no such country."""
    given = accepted("normalize", params)
    if given["country"] not in phonenumbers.SUPPORTED_REGIONS:
        raise invalid(Issue(("body", "country"), "format", "ISO 3166-1 alpha-2 country"))
    return sheet(given, items, READ)


def run(params: Json, rows: list[Json]) -> Iterable[Json]:
    """Each row with its contacts in canonical form, under the keys and in the order they came in."""
    forms = dict(_forms(params, columns.seen(rows)))
    return ({key: _formed(forms[key], cell) if key in forms else cell for key, cell in row.items()} for row in rows)


def _forms(params: Json, known: list[str]) -> Iterator[tuple[str, Form]]:
    """The form of each key that holds a contact."""
    made: dict[str, Form] = {
        "phones": partial(phones.e164, country=params["country"]),
        "emails": _emails,
        "urls": web_addresses.canonical,
    }
    for switch, names in COLUMNS.items():
        for name in names if params[switch] else ():
            yield from ((key, made[switch]) for key in columns.keys(known, name))


def _formed(form: Form, cell: Any) -> Any:
    """A text in its form, or trimmed when it has none; a number may be a telephone that lost its text."""
    if isinstance(cell, bool) or not isinstance(cell, (str, int)):
        return cell
    return form(str(cell).strip()) or (cell.strip() if isinstance(cell, str) else cell)


def _emails(text: str) -> str | None:
    """One or more addresses in canonical form; None unless all can be read."""
    found = [address(part) for part in BETWEEN.split(text) if part]
    return ", ".join(part for part in found if part) if found and all(found) else None


TYPE: Final = job_type("normalize", prepare, whole=run)
