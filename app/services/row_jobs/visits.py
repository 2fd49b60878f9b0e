"""Visits to a row's web site: its home page, what is worth reading after it, and the row of a site that is away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from app.outbound.fetch import FetchError, Page, Site
from app.outbound.web_addresses import absolute, host
from app.services import registry
from app.services.row_jobs import columns, pages
from app.services.row_jobs.contract import Json, Tools, UnitFailed
from app.services.row_jobs.pages import Document

BAD: Final = 400
# Where people say who they are and how to reach them, the likeliest first.
TELLING: Final = (
    re.compile(r"contact|kontakt|contatt|nous-ecrire|nous-joindre", re.IGNORECASE),
    re.compile(r"mentions|legal|impressum|imprint", re.IGNORECASE),
    re.compile(r"about|a-propos|propos|qui-sommes|equipe|équipe|team|cabinet|ueber-uns", re.IGNORECASE),
)


def opened(tools: Tools, address: str) -> tuple[Site, Page]:
    """The first page at an address, over HTTPS and then HTTP when it names neither; FetchError when there is none."""
    failure = FetchError("it is no http or https address")
    site = tools.fetcher.site()
    for url in absolute(address):
        try:
            return site, site.get(url)
        except FetchError as error:
            failure = error
    raise failure


def home(slug: str, item: Json, tools: Tools) -> tuple[Site, Page]:
    """The home page of a row's site; UnitFailed, with the row all the same, when it cannot be read."""
    try:
        site, page = opened(tools, columns.text(item.get("site_web")))
    except FetchError as error:
        raise unread(slug, item, str(error)) from None
    if page.status >= BAD:
        raise unread(slug, item, f"its server answered {page.status}")
    return site, page


def unread(slug: str, item: Json, why: str) -> UnitFailed:
    """The failure of a unit whose row keeps what it had, with nothing in the columns the type adds."""
    row = item | {name: item.get(name) for name in registry.job_types()[slug].produces}
    return UnitFailed(f"A site could not be read: {why}.", (row,))


def further(site: Site, first: Document, most: int) -> Iterator[Document]:
    """Up to so many more pages of the same site that tell who is behind it; those that cannot be read are passed by."""
    for url in telling(first)[:most]:
        try:
            page = site.get(url)
        except FetchError:
            continue
        if page.status < BAD:
            yield pages.read(page)


def telling(document: Document) -> list[str]:
    """The page's links to telling pages of its own site, the likeliest first, else in order; each once."""
    own = host(document.url)
    ranked: dict[str, int] = {}
    for url, words in document.links:
        rank = next((i for i, sign in enumerate(TELLING) if sign.search(f"{url} {words}")), None)
        if rank is not None and host(url) == own and url != document.url:
            ranked[url] = min(rank, ranked.get(url, rank))
    return sorted(ranked, key=lambda url: ranked[url])
