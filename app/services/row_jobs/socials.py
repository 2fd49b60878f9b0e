"""Socials: the accounts a site links to on the large networks; buttons for sharing are none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from app.outbound.web_addresses import host
from app.services.row_jobs import pages, visits
from app.services.row_jobs.contract import Json, Tools, job_type
from app.services.row_jobs.pages import Document
from app.services.row_jobs.preparing import enrichment

NAME: Final = r"[\w.%-]{1,100}"
PROFILE: Final = r"/profile\.php"
# Column, the hosts of its network, and what the path of an account looks like there.
NETWORKS: Final[Mapping[str, tuple[frozenset[str], re.Pattern[str]]]] = {
    "social_facebook": (
        frozenset({"facebook.com", "fb.com", "fb.me"}),
        re.compile(
            rf"{PROFILE}|/(?!(sharer|share|plugins|dialog|tr|login|policies|help|events|photo|watch|groups|hashtag|"
            rf"home|legal|privacy|business)\b)(pages/|people/)?{NAME}(/\d+)?/?"
        ),
    ),
    "social_instagram": (
        frozenset({"instagram.com", "instagr.am"}),
        re.compile(rf"/(?!(p|reel|reels|explore|accounts|tv|stories|about|share)(/|$)){NAME}/?"),
    ),
    "social_linkedin": (frozenset({"linkedin.com"}), re.compile(rf"/(company|in|school|showcase)/{NAME}(/about)?/?")),
    "social_twitter": (
        frozenset({"twitter.com", "x.com"}),
        re.compile(r"/(?!(intent|share|home|search|hashtag|i|login|privacy|tos)(/|$))\w{1,30}/?"),
    ),
    "social_tiktok": (frozenset({"tiktok.com"}), re.compile(rf"/@{NAME}/?")),
    "social_youtube": (frozenset({"youtube.com"}), re.compile(rf"/((channel|c|user)/{NAME}|@{NAME})(/\w+)?/?")),
}
# Subdomains by language or device are the network itself.
FRONT: Final = re.compile(r"^(m|mobile|web|[a-z]{2}(-[a-z]{2})?)\.(?=.+\..+)")


def each(_params: Json, item: Json, tools: Tools) -> Iterable[Json]:
    """The row with the first account of each network on its home page, null where there is none."""
    _, page = visits.home("socials", item, tools)
    return [item | accounts(pages.read(page))]


def accounts(document: Document) -> dict[str, str | None]:
    """The first link of a page to an account of each network, over HTTPS and without what tracks the click."""
    return {
        column: next(filter(None, (_account(column, url) for url, _ in document.links)), None) for column in NETWORKS
    }


def _account(column: str, url: str) -> str | None:
    hosts, account = NETWORKS[column]
    parts = urlsplit(url)
    if FRONT.sub("", host(url)) not in hosts or not account.fullmatch(parts.path):
        return None
    query = next((part for part in parts.query.split("&") if re.fullmatch(r"id=\d+", part)), "")
    if re.fullmatch(PROFILE, parts.path) and not query:
        return None
    return urlunsplit(("https", parts.netloc, parts.path, query if re.fullmatch(PROFILE, parts.path) else "", ""))


TYPE: Final = job_type("socials", partial(enrichment, "socials"), each=each)
