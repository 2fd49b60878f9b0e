"""Import: rows from a pasted list, from a file at a public address, or from another job, under canonical columns."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from app.outbound.fetch import FetchError, Page
from app.outbound.web_addresses import canonical
from app.problems import Issue, invalid
from app.services.row_jobs import columns, sheets
from app.services.row_jobs.contract import JobFailed, Json, Prepared, Tools, job_type
from app.services.row_jobs.parameters import accepted
from app.services.row_jobs.sheets import Sheet, SheetError

BAD: Final = 400
ZIPPED: Final = b"PK\x03\x04"
# A spreadsheet's page in the browser, by the shape its link has; the list itself is its export.
SHARED_SHEET: Final = re.compile(r"(?P<sheet>/spreadsheets/d/[A-Za-z0-9_-]{20,100})(/(edit|view|preview|htmlview).*)?")
SHEET_TAB: Final = re.compile(r"gid=(\d{1,12})")


def prepare(params: Json, items: list[Json]) -> Prepared:
    """The rows of the list that was pasted or of the other job; for a URL one unit, which reads it.

    A Problem when the list is empty or too large, or when the URL is none.
    """
    given = accepted("import", params)
    source = given["source"]
    others = {"text", "url", "from_job_id"} - {OWN[source]}
    kept = {name: value for name, value in given.items() if name not in others}
    rows, notices = {"paste": _pasted, "url": _at_url, "from_job": _of_job}[source](kept, items)
    return Prepared(rows, 0, notices, 0.0, kept)


OWN: Final = {"paste": "text", "url": "url", "from_job": "from_job_id"}


def _pasted(given: Json, _: list[Json]) -> tuple[list[Json], tuple[str, ...]]:
    try:
        sheet = sheets.read(given["text"])
    except SheetError as error:
        raise invalid(Issue(("body", "text"), error.rule, error.expected)) from None
    return sheet.rows, sheet.notices


def _at_url(given: Json, _: list[Json]) -> tuple[list[Json], tuple[str, ...]]:
    if canonical(given["url"]) is None:
        raise invalid(Issue(("body", "url"), "format", "uri"))
    return [{"url": given["url"]}], ()


def _of_job(_: Json, items: list[Json]) -> tuple[list[Json], tuple[str, ...]]:
    if len(items) > sheets.MOST_ROWS:
        raise invalid(Issue(("body", "from_job_id"), "maxItems", sheets.MOST_ROWS))
    return columns.resolve(items, columns.TABLE)


def whole(_: Json, rows: list[Json]) -> Iterable[Json]:
    """The rows, which were read when the job was prepared."""
    return rows


def each(_: Json, item: Json, tools: Tools) -> Iterable[Json]:
    """The rows of the list at a URL; JobFailed when it cannot be had or is none."""
    try:
        page = tools.fetcher.get(export_address(item["url"]), sheets.MOST_BYTES)
        sheet = _listed(page)
    except FetchError as error:
        raise JobFailed(f"The list could not be read: {error}.") from None
    except SheetError as error:
        raise JobFailed(error.message) from None
    for notice in sheet.notices:
        tools.note(notice)
    return sheet.rows


def _listed(page: Page) -> Sheet:
    if page.status >= BAD:
        raise JobFailed(f"The list could not be read: its server answered {page.status}.")
    if not page.complete:
        raise SheetError("The list is larger than 5 MiB.", "maxLength", sheets.MOST_BYTES)
    if page.body.startswith(ZIPPED):
        raise JobFailed("It is a workbook or an archive; publish it as CSV.")
    text = page.text()
    if page.is_html and text.lstrip().startswith("<"):
        raise JobFailed("It is a web page and no list; is it shared with everybody?")
    return sheets.read(text)


def export_address(url: str) -> str:
    """Where a shared spreadsheet's link has its CSV; any other address as it is."""
    parts = urlsplit(url)
    shared = SHARED_SHEET.fullmatch(parts.path)
    if shared is None:
        return url
    tab = SHEET_TAB.search(f"{parts.query}&{parts.fragment}")
    which = f"&gid={tab[1]}" if tab else ""
    return parts._replace(path=f"{shared['sheet']}/export", query=f"format=csv{which}", fragment="").geturl()


TYPE: Final = job_type("import", prepare, whole=whole, each=each)
