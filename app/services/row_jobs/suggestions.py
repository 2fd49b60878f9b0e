"""What a mistyped e-mail address was probably meant to be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Final

from app.services.row_jobs.syntax import address
from app.services.row_jobs.word_lists import listed, names, ordered

# Short names have too many neighbours that exist: free.fr and tree.fr.
SHORTEST: Final = 5
ENDINGS: Final = {"con": "com", "cmo": "com", "ocm": "com", "comm": "com", "vom": "com", "xom": "com", "fe": "fr"}
WRONG: Final = {
    "gmail.fr": "gmail.com",
    "laposte.fr": "laposte.net",
    "icloud.fr": "icloud.com",
    "gmail.cm": "gmail.com",
}
SLIPS: Final = ((re.compile(r"\s+"), ""), (re.compile(r"[,;]"), "."), (re.compile(r"\.{2,}"), "."))


@lru_cache(4_096)
def for_domain(domain: str) -> str | None:
    """The domain that was meant; None when this one is as good as any."""
    if domain in names("providers") or listed(domain, "disposable"):
        return None
    if domain in WRONG:
        return WRONG[domain]
    name, _, ending = domain.rpartition(".")
    if name and ending in ENDINGS:
        return f"{name}.{ENDINGS[ending]}"
    around = {provider for cut in _cuts(domain) for provider in _providers_by_cut().get(cut, ())}
    return next((p for p in ordered("providers") if p in around and _near(domain, p)), None) if around else None


def for_text(text: str) -> str | None:
    """A valid address near what is none: commas for dots, spaces, doubled or trailing dots, an ending left off."""
    mended = text.strip().strip(".,;:<>\"'").lower()
    for slip, right in SLIPS:
        mended = slip.sub(right, mended)
    local, at, domain = mended.rpartition("@")
    local, domain = local.strip("."), domain.strip(".")
    if at and "." not in domain:
        domain = next((p for p in ordered("providers") if p.partition(".")[0] == domain), for_domain(domain) or domain)
    found = address(f"{local}@{domain}")
    return found if found != text.strip().lower() else None


@cache
def _providers_by_cut() -> dict[str, list[str]]:
    """Providers by what is left of them without any one letter: who is one slip away shares such a remainder."""
    found: dict[str, list[str]] = {}
    for provider in ordered("providers"):
        for cut in _cuts(provider) if provider.find(".") >= SHORTEST else ():
            found.setdefault(cut, []).append(provider)
    return found


def _cuts(text: str) -> Iterator[str]:
    yield text
    yield from (text[:at] + text[at + 1 :] for at in range(len(text)))


def _near(one: str, other: str) -> bool:
    """Whether one slip of the finger lies between them: a letter more, less, wrong, or two swapped."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    swapped = one[at : at + 2] == other[at : at + 2][::-1] and one[at + 2 :] == other[at + 2 :]
    return swapped or other[at + 1 :] in {one[at:], one[at + 1 :]} or one[at + 1 :] == other[at:]
