"""What is on a web page: title, links, meta elements, text and code, as far as any browser would make it out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urljoin

from app.outbound.fetch import Page
from app.outbound.web_addresses import canonical

LONGEST_TITLE: Final = 500
MOST_LINKS: Final = 5_000
SPACES: Final = re.compile(r"\s+")
UNSEEN: Final = frozenset({"script", "style", "template", "noscript"})
# Elements that end a line, so that the words of two cells are not one.
LINES: Final = "address article br dd div dt footer h1 h2 h3 h4 h5 h6 header li p section td th tr ul"
BLOCKS: Final = frozenset(LINES.split())
ASSETS: Final = {"script": "src", "img": "src", "iframe": "src", "link": "href"}


@dataclass(slots=True)
class Document:
    """A page, read. Links are canonical http(s) addresses with their text; mailboxes are what `mailto:` links name."""

    url: str
    title: str | None = None
    links: list[tuple[str, str]] = field(default_factory=list)
    mailboxes: list[str] = field(default_factory=list)
    # Addresses hidden from harvesters by exclusive-or (the `data-cfemail` attribute), in hexadecimal.
    hidden: list[str] = field(default_factory=list)
    meta: dict[str, str] = field(default_factory=dict)
    text: str = ""
    # Inline scripts and the addresses of scripts, images, frames and styles: what a page runs, and not what it says.
    code: str = ""


def read(page: Page) -> Document:
    """The page's content; nothing but its address when it is no HTML."""
    document = Document(page.url)
    if page.is_html:
        reader = _Reader(document)
        # A marked section makes the parser raise; the end it would look for is found by the next tag instead. It is
        # never told that the page ends: it would look for the end of every tag that has none, all over again.
        reader.feed(page.text().replace("<![", "<! [") + "\n<p>")
        reader.finish()
    return document


class _Reader(HTMLParser):
    def __init__(self, document: Document) -> None:
        super().__init__(convert_charrefs=True)
        self._document = document
        self._base = document.url
        self._title: list[str] | None = None
        self._anchor: tuple[str, list[str]] | None = None
        self._unseen = 0
        self._text: list[str] = []
        self._code: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """Keep what an element points to."""
        told = {name: value or "" for name, value in reversed(attrs)}
        if "data-cfemail" in told:
            self._document.hidden.append(told["data-cfemail"])
        if tag in UNSEEN:
            self._unseen += 1
        if tag in BLOCKS:
            self._text.append("\n")
        if tag in ASSETS and told.get(ASSETS[tag]):
            self._code.append(told[ASSETS[tag]])
        self._point(tag, told)

    def _point(self, tag: str, told: Mapping[str, str]) -> None:
        if tag == "title" and self._document.title is None and self._title is None:
            self._title = []
        elif tag in {"a", "area"}:
            self._close_anchor()
            self._anchor = (told.get("href", ""), [])
        elif tag == "base" and told.get("href"):
            self._base = _joined(self._document.url, told["href"])
        elif tag == "meta":
            name = told.get("name") or told.get("property") or told.get("http-equiv") or ""
            self._document.meta.setdefault(name.lower(), told.get("content", ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A slash before the end means nothing in HTML."""
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        """End what was open."""
        if tag in UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag == "a":
            self._close_anchor()
        elif tag == "title":
            self._close_title()
        if tag in BLOCKS:
            self._text.append("\n")

    def handle_data(self, data: str) -> None:
        """Text of the title, of a link, of the page, or of a script."""
        if self._title is not None:
            self._title.append(data)
        elif self._unseen:
            self._code.append(data)
        else:
            self._text.append(data)
            if self._anchor:
                self._anchor[1].append(data)

    def finish(self) -> None:
        """Close what the page left open."""
        self._close_title()
        self._close_anchor()
        self._document.text = "".join(self._text)
        self._document.code = "\n".join(self._code)

    def _close_title(self) -> None:
        if self._title is not None:
            told = SPACES.sub(" ", "".join(self._title)).strip()
            self._document.title = told[:LONGEST_TITLE] or None
            self._title = None

    def _close_anchor(self) -> None:
        if self._anchor is None or len(self._document.links) >= MOST_LINKS:
            return
        href, words = self._anchor[0].strip(), SPACES.sub(" ", "".join(self._anchor[1])).strip()
        self._anchor = None
        if href.lower().startswith("mailto:"):
            self._document.mailboxes.append(href)
        elif found := canonical(_joined(self._base, href)):
            self._document.links.append((found, words))


def _joined(base: str, href: str) -> str:
    try:
        return urljoin(base, SPACES.sub("%20", href.strip()))
    except ValueError:  # what looks like an IPv6 address and is none
        return ""
