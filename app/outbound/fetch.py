"""The guarded client: reads pages of strangers' sites for a user, and goes nowhere the operator would not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from ssl import SSLError
from typing import Final
from urllib.parse import urljoin, urlsplit

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import DecodeError, HTTPError, LocationValueError
from urllib3.exceptions import SSLError as TLSError

from app.outbound import pinned, robots
from app.outbound.addresses import RefusedAddressError, refuse_private
from app.outbound.charsets import decoded
from app.outbound.pinned import Deadline
from app.outbound.robots import Rules
from app.outbound.web_addresses import canonical

CLIENT: Final = "Yardmaster"
HEADERS: Final[Mapping[str, str]] = {
    "User-Agent": f"{CLIENT}/0.1",
    "Accept": "text/html, application/xhtml+xml, text/plain;q=0.9, */*;q=0.5",
    "Accept-Encoding": "gzip, deflate",
}
REDIRECTS: Final = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)
UNPACKED: Final = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
MOST_SITES: Final = 1_000


class FetchError(Exception):
    """The page cannot be had; the sentence may be shown and names no address."""


class FetchCancelledError(Exception):
    """Nobody wants the page any more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one page may take, and one site. `seconds` is all of it: look-up, redirects, robots.txt and body."""

    seconds: float = 10.0
    page_bytes: int = 2 * 1024 * 1024
    redirects: int = 5
    pages: int = 5


@dataclass(frozen=True, slots=True)
class Page:
    """An answer. `url` is where it was after redirects; `complete` is false when there was more than may be read."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    complete: bool = True

    @property
    def media_type(self) -> str:
        """What the server says it is, in lower case and without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_html(self) -> bool:
        """Whether it is a page to look into; a server that says nothing is taken to send one."""
        return self.media_type in {"text/html", "application/xhtml+xml", ""}

    def text(self) -> str:
        """The body as text, whatever charset the server claims."""
        return decoded(self.body, self.headers.get("content-type", ""), complete=self.complete)


def never() -> bool:
    """Nobody cancels."""
    return False


class Fetcher:
    """Reads pages for one job. Not for several threads at once; `cancelled` is asked before every request."""

    def __init__(
        self, allowed: Sequence[str] = (), *, limits: Limits | None = None, cancelled: Callable[[], bool] = never
    ) -> None:
        self._allowed = tuple(allowed)
        self._cancelled = cancelled
        self._sites: dict[str, Rules | FetchError] = {}
        self.limits = limits or Limits()

    def site(self) -> Site:
        """A visit, for the few pages one may read of a site."""
        return Site(self)

    def get(self, url: str, most: int | None = None) -> Page:
        """The page at an http(s) URL, up to `most` bytes of it; FetchError when it cannot or may not be read.

        FetchCancelledError once the job is cancelled.
        """
        deadline = Deadline(self.limits.seconds)
        return self._follow(url, most or self.limits.page_bytes, deadline, self._respect)

    def _follow(self, url: str, most: int, deadline: Deadline, respect: Callable[[str, Deadline], None]) -> Page:
        for _ in range(self.limits.redirects + 1):
            found = canonical(url)
            if found is None:
                raise FetchError("it is no http or https address")
            respect(found, deadline)
            page, url = self._ask(found, most, deadline)
            if not url:
                return page
        raise FetchError(f"it redirects more than {self.limits.redirects} times")

    def _ask(self, url: str, most: int, deadline: Deadline) -> tuple[Page, str]:
        """One request, and where it leads on to; an empty text when it is the page itself."""
        if self._cancelled():
            raise FetchCancelledError
        try:
            addresses = pinned.within(deadline, partial(refuse_private, _origin(url), self._allowed))
            with pinned.request(url, addresses, HEADERS, deadline) as response:
                return _answer(url, response, most, deadline)
        except RefusedAddressError as error:
            raise FetchError(str(error)) from None
        except (HTTPError, OSError, ValueError) as error:
            raise FetchError(f"no answer within {self.limits.seconds:g} s" if deadline.over else _why(error)) from None

    def _respect(self, url: str, deadline: Deadline) -> None:
        """FetchError when the site's robots.txt forbids the page, or the site cannot say."""
        origin = _origin(url)
        if origin not in self._sites:
            while len(self._sites) >= MOST_SITES:
                del self._sites[next(iter(self._sites))]
            self._sites[origin] = self._rules(origin, deadline)
        rules = self._sites[origin]
        if isinstance(rules, FetchError):
            raise FetchError(str(rules))
        if not rules.allow(url.removeprefix(origin) or "/"):
            raise FetchError("its robots.txt does not allow it")

    def _rules(self, origin: str, deadline: Deadline) -> Rules | FetchError:
        """What RFC 9309 §2.3.1 makes of the answer: none of that name allows everything, a broken site nothing."""
        try:
            page = self._follow(f"{origin}/robots.txt", robots.MOST_BYTES, deadline, _without_asking)
        except FetchError as error:
            return error
        if page.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return robots.NOTHING
        if page.status >= HTTPStatus.BAD_REQUEST:
            return robots.EVERYTHING
        return robots.parse(page.body.decode("utf-8", "replace"), CLIENT)


class Site:
    """One visit to a site: so many pages, and no more."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self.left = fetcher.limits.pages

    def get(self, url: str) -> Page:
        """As Fetcher.get; FetchError when all pages of the visit are used up."""
        if self.left <= 0:
            raise FetchError(f"more than {self._fetcher.limits.pages} pages of a site are not read")
        self.left -= 1
        return self._fetcher.get(url)


def _without_asking(_url: str, _deadline: Deadline) -> None:
    """robots.txt itself may always be read."""


def _answer(url: str, response: BaseHTTPResponse, most: int, deadline: Deadline) -> tuple[Page, str]:
    headers = {name.lower(): response.headers[name] for name in response.headers}
    location = headers.get("location", "")
    if response.status in REDIRECTS and location:
        return Page(url, response.status, headers, b""), urljoin(url, _readable(location))
    if headers.get("content-encoding", "").strip().lower() not in UNPACKED:
        raise FetchError("it is packed in a way that is not read here")
    body, complete = pinned.read(response, most, deadline)
    return Page(url, response.status, headers, body, complete), ""


def _readable(location: str) -> str:
    """A Location as browsers read it: UTF-8 where it is, and spaces escaped (WHATWG URL, against RFC 9110)."""
    raw = location.strip().encode("latin-1", "replace")
    return raw.decode("utf-8", "replace").replace(" ", "%20")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _why(error: Exception) -> str:
    """The kind of failure only: its text may hold an address."""
    if isinstance(error, (TLSError, SSLError)):
        return "its certificate is not accepted"
    if isinstance(error, DecodeError):
        return "its answer cannot be unpacked"
    if isinstance(error, (LocationValueError, ValueError)) and not isinstance(error, OSError):
        return "it is no http or https address"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return "no connection, or one that broke off"
