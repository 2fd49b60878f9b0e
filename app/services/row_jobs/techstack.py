"""Techstack: the content system, the analytics and the advertising pixels of a site, by their signatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

import yaml

from app.outbound.fetch import Page
from app.services.row_jobs import pages, visits
from app.services.row_jobs.contract import Json, Tools, job_type
from app.services.row_jobs.pages import Document
from app.services.row_jobs.preparing import enrichment
from app.services.row_jobs.word_lists import DATA

SIGNATURES: Final = "techstack.yaml"


@dataclass(frozen=True, slots=True)
class Signature:
    """What gives a product away, in lower case: any one of these is enough.

    `code` in the addresses of what the page loads or in its scripts, `generator` at the beginning of its meta element,
    `header` (name: part of the value) among the answer's headers, `cookie` at the beginning of a cookie's name.
    """

    code: Sequence[str] = ()
    generator: str = ""
    header: Mapping[str, str] | None = None
    cookie: Sequence[str] = ()


def each(_params: Json, item: Json, tools: Tools) -> Iterable[Json]:
    """The row with the products recognised on its home page, null where none is."""
    _, page = visits.home("techstack", item, tools)
    return [item | recognised(page, pages.read(page))]


def recognised(page: Page, document: Document) -> dict[str, str | None]:
    """For each column the products of a page in the order of the table, by commas; None when there are none."""
    code, generator = document.code.lower(), document.meta.get("generator", "").strip().lower()
    return {
        column: ", ".join(name for name, sign in known.items() if _fits(sign, code, generator, page.headers)) or None
        for column, known in signatures().items()
    }


def _fits(sign: Signature, code: str, generator: str, headers: Mapping[str, str]) -> bool:
    cookies = headers.get("set-cookie", "").lower()
    return (
        any(part in code for part in sign.code)
        or bool(sign.generator and generator.startswith(sign.generator))
        or any(name in headers and part in headers[name].lower() for name, part in (sign.header or {}).items())
        or any(cookies.startswith(name) or f", {name}" in cookies for name in sign.cookie)
    )


@cache
def signatures() -> dict[str, dict[str, Signature]]:
    """The table: products by column."""
    raw: dict[str, dict[str, Any]] = yaml.safe_load((DATA / SIGNATURES).read_bytes())
    return {column: {name: Signature(**sign) for name, sign in known.items()} for column, known in raw.items()}


TYPE: Final = job_type("techstack", partial(enrichment, "techstack"), each=each)
