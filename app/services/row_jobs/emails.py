"""Emails: the addresses a site shows, the best of them first. None is ever made up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Final
from urllib.parse import unquote

from app.outbound.web_addresses import host
from app.services.row_jobs import mailboxes, pages, syntax, visits
from app.services.row_jobs.contract import Json, Prepared, Tools, job_type
from app.services.row_jobs.pages import Document
from app.services.row_jobs.preparing import enrichment
from app.services.row_jobs.verify_emails import RESERVED

DEEP: Final = "deep"
DEEP_COST: Final = 3
# Pages read after the home page, of the five a site is asked for at most.
FURTHER: Final = {"normal": 1, DEEP: 4}
LOCAL: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.!#$%&'*+/=?^_`{|}~-éèêëàâçîïôûùü"
DOMAIN: Final = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){1,6}")
# A page with more is a list of others' addresses, or a trap for harvesters.
MOST_SHOWN: Final = 2_000
# How people write an address for people only.
AT: Final = re.compile(r"\s{0,3}[\[({]\s?(?:at|arobase|arobas|@|chez)\s?[\])}]\s{0,3}", re.IGNORECASE)
DOT: Final = re.compile(r"\s{0,3}[\[({]\s?(?:dot|point|\.)\s?[\])}]\s{0,3}", re.IGNORECASE)
# File names of pictures for dense screens (logo@2x.png), and identifiers of error trackers.
FILES: Final = frozenset("png jpg jpeg gif svg webp avif ico css js mjs html php pdf".split())  # noqa: SIM905
IDENTIFIER: Final = re.compile(r"[0-9a-f-]{16,}")


def prepare(params: Json, items: list[Json]) -> Prepared:
    """The rows that have a site; deep looks at more pages and costs three times as much."""
    prepared = enrichment("emails", params, items)
    factor = DEEP_COST if prepared.params["mode"] == DEEP else 1
    return replace(prepared, ef_cost=round(prepared.ef_cost * factor, 9))


def each(params: Json, item: Json, tools: Tools) -> Iterable[Json]:
    """The row with the best address and the best person's; what it had stays where nothing is found."""
    site, page = visits.home("emails", item, tools)
    first = pages.read(page)
    documents = [first, *visits.further(site, first, FURTHER[params["mode"]])]
    ranked = rank(documents, host(first.url))
    personal = next((address for address in ranked if not mailboxes.is_role(address)), None)
    best = {"email": next(iter(ranked), None), "email_personal": personal}
    return [item | {name: address or item.get(name) for name, address in best.items()}]


def rank(documents: Iterable[Document], own: str) -> list[str]:
    """The addresses on a site's pages: people's before functions', at its own domain before others, links before text.

    What is equal in all that stays in the order of the pages.
    """
    found: dict[str, tuple[bool, bool, bool]] = {}
    for document in documents:
        for address, linked in _shown(document):
            found.setdefault(address, (mailboxes.is_role(address), not _belongs(address, own), not linked))
    return sorted(found, key=lambda address: found[address])


def _belongs(address: str, own: str) -> bool:
    domain = mailboxes.domain(address)
    return domain == own or own.endswith("." + domain) or domain.endswith("." + own)


def _shown(document: Document) -> Iterator[tuple[str, bool]]:
    """Each address of a page, and whether it is a link."""
    linked = [address for href in document.mailboxes for address in _of_link(href)]
    linked += [address for code in document.hidden if (address := revealed(code))]
    plain = DOT.sub(".", AT.sub("@", document.text))
    yield from ((found, True) for text in linked if (found := _usable(text)))
    yield from ((found, False) for text in _in_text(plain) if (found := _usable(text)))


def _in_text(text: str) -> Iterator[str]:
    """What looks like an address around each @ of a text, in linear time."""
    for at in islice((match.start() for match in re.finditer("@", text)), MOST_SHOWN):
        before = text[max(0, at - syntax.LONGEST_LOCAL) : at]
        local = before[len(before.rstrip(LOCAL)) :].lstrip(".'")
        if local and (domain := DOMAIN.match(text, at + 1)):
            yield f"{local}@{domain[0]}"


def _of_link(href: str) -> list[str]:
    """The recipients of a mailto link (RFC 6068)."""
    return unquote(href[len(syntax.MAILTO) :].partition("?")[0]).split(",")


def revealed(code: str) -> str | None:
    """The address in a `data-cfemail` attribute: each byte after the first, exclusive-or the first."""
    try:
        key, *rest = bytes.fromhex(code)
        return bytes(byte ^ key for byte in rest).decode()
    except ValueError:
        return None


def _usable(text: str) -> str | None:
    """The address in canonical form; None when no mail could be meant for it."""
    found = syntax.address(text.strip().rstrip(".,;:"))
    if found is None or IDENTIFIER.fullmatch(found.partition("@")[0]):
        return None
    domain = mailboxes.domain(found)
    return None if domain.rpartition(".")[2] in FILES or RESERVED.fullmatch(domain) else found


TYPE: Final = job_type("emails", prepare, each=each)
