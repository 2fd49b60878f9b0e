"""HTTP fetch: opens each row's page and notes its status, title, final address and the hash of its content."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from app.outbound.fetch import FetchError
from app.services.row_jobs import columns, pages, visits
from app.services.row_jobs.contract import Json, Prepared, Tools, job_type
from app.services.row_jobs.parameters import accepted
from app.services.row_jobs.preparing import enrichment, refuse_unknown

SITE: Final = "site_web"


def prepare(params: Json, items: list[Json]) -> Prepared:
    """The rows that have an address in the chosen column; a Problem when it is a column of none."""
    column = accepted("http_fetch", params)["column"]
    if column != SITE:
        refuse_unknown(items, ("column", column))
    return enrichment("http_fetch", params, items, (column,))


def each(params: Json, item: Json, tools: Tools) -> Iterable[Json]:
    """The row and what was found; UnitFailed, with the row, when nobody answered."""
    address = columns.text(columns.getter(item, params["column"])(item))
    try:
        _, page = visits.opened(tools, address)
    except FetchError as error:
        raise visits.unread("http_fetch", item, str(error)) from None
    found = {
        "http_status": page.status,
        "title": pages.read(page).title,
        "final_url": page.url,
        # Of a page that was not read to its end there is no hash that anybody could compare.
        "content_sha256": sha256(page.body).hexdigest() if page.complete else None,
    }
    return [item | found]


TYPE: Final = job_type("http_fetch", prepare, each=each)
