"""What a column holds, told from its cells: for lists that come without a header."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from app.services.row_jobs import phones, syntax

# So much of what is not blank must look alike.
SHARE: Final = 0.6
DOMAIN: Final = re.compile(
    r"(https?://\S+|(www\.)?([a-z0-9-]+\.)+(com|fr|net|org|eu|be|ch|de|it|es|uk|info|biz|io|co|ca|paris|bzh|alsace|lu)(/\S*)?)",
    re.IGNORECASE,
)
MAPS: Final = re.compile(
    r"https?://([a-z.]*google\.[a-z.]+/maps|maps\.google\.|maps\.app\.|goo\.gl/maps)", re.IGNORECASE
)
POSTCODE: Final = re.compile(r"(?:F-?)?(?:0[1-9]|[1-8]\d|9[0-8])\d{3}")
STREET: Final = re.compile(
    r"\d{1,4}\s?(bis|ter|quater|[a-d])?[ ,]+\D{3,}.*|(rue|avenue|place|boulevard|chemin|route|impasse|allée)\s.+",
    re.IGNORECASE,
)
NUMBER: Final = re.compile(r"[+-]?\d+([.,]\d+)?")
LETTERS: Final = re.compile(r"[^\W\d_]{2}")


def _is_email(cell: str) -> bool:
    return "@" in cell and syntax.address(cell) is not None


def _is_site(cell: str) -> bool:
    return bool(DOMAIN.fullmatch(cell)) and bool(urlsplit(cell).netloc or "://" not in cell)


def _is_phone(cell: str) -> bool:
    return not POSTCODE.fullmatch(cell) and phones.read(cell) is not None


# Canonical column, and what its cells look like; the first that fits is meant.
SHAPES: Final[Mapping[str, Callable[[str], bool]]] = {
    "email": _is_email,
    "lien_google_maps": lambda cell: bool(MAPS.match(cell)),
    "site_web": _is_site,
    "code_postal": lambda cell: bool(POSTCODE.fullmatch(cell)),
    "telephone": _is_phone,
    "adresse": lambda cell: bool(STREET.fullmatch(cell)),
}


def kind(cell: str) -> str | None:
    """The column a cell belongs to by its looks, `number` for a number, None for what could be any text."""
    shaped = next((name for name, fits in SHAPES.items() if fits(cell)), None)
    return shaped or ("number" if NUMBER.fullmatch(cell) else None)


def column(lines: Sequence[list[str]], at: int) -> str | None:
    """What most cells of a column are; None when they are nothing in particular."""
    kinds = [kind(line[at]) for line in lines if at < len(line) and line[at]]
    likely = max(set(kinds), key=kinds.count, default=None)
    return likely if likely and kinds.count(likely) >= SHARE * len(kinds) else None


def guess(lines: Sequence[list[str]], width: int) -> dict[int, str]:
    """The canonical name of each position that is recognised, each once.

    What has letters and no other shape is a town right after a postcode, and else the name, at its first position.
    """
    found: dict[int, str] = {}
    for at in range(width):
        name = column(lines, at)
        if name and name in SHAPES and name not in found.values():
            found[at] = name
    plain = [at for at in range(width) if at not in found and _is_text(lines, at)]
    towns = [at for at in plain if found.get(at - 1) == "code_postal"]
    names = [at for at in plain if at not in towns]
    return found | dict.fromkeys(towns[:1], "ville") | dict.fromkeys(names[:1], "nom")


def _is_text(lines: Sequence[list[str]], at: int) -> bool:
    cells = [line[at] for line in lines if at < len(line) and line[at]]
    return bool(cells) and sum(bool(LETTERS.search(cell)) for cell in cells) >= SHARE * len(cells)
