"""Kinds of personal data, and what tells that a text holds one: signs, not proof."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final

from app.gateway.modules.maskmode import cards, matches, names
from app.gateway.patterns import linear

Find = Callable[[str], Iterator[str]]
# A text is searched piece by piece, so that no more of it is read than it takes to find each kind once; pieces overlap
# by more than what is looked for is long.
PIECE: Final = 65_536
OVERLAP: Final = 512
_CAPITAL: Final = r"\p{Lu}[\p{L}'’.-]*"
_STATES: Final = (
    "A[LKZR]|C[AOT]|D[CE]|FL|GA|HI|I[DLNA]|K[SY]|LA|M[EDAINSOT]|N[EVHJMYCD]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[TA]|W[AVIY]"
)
# Where people live, as it is written in English, German and Dutch, French, Italian, Spanish and Portuguese.
ADDRESSES: Final = (
    (
        rf"\b[0-9]{{1,5}}[A-Za-z]?,? (?:{_CAPITAL} ){{1,4}}(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|"
        r"Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Way|Highway|Hwy|Parkway|Pkwy|Close|Crescent)\b"
    ),
    (
        r"\p{Lu}[\p{L}-]+ ?(?:[Ss]tra(?:ß|ss)e|[Ss]tr\.|[Ww]eg|[Gg]asse|[Pp]latz|[Aa]llee|straat|laan|gracht|"
        r"plein) ?[0-9]{1,4}"
    ),
    (
        r"\b[0-9]{1,4}(?: ?(?:bis|ter))?,? (?:rue|avenue|boulevard|place|chemin|allée|quai|impasse|route) "
        rf"(?:(?:de la|de|du|des) |de l['’]|d['’])?{_CAPITAL}"
    ),
    (
        rf"\b(?:Via|Viale|Piazza|Corso|Calle|Avenida|Plaza|Paseo|Rua|Praça) (?:{_CAPITAL} |de |del |della |la |da |do )"
        rf"{{0,4}}{_CAPITAL},? [0-9]{{1,4}}\b"
    ),
    rf"{_CAPITAL},? (?:{_STATES}) [0-9]{{5}}(?:-[0-9]{{4}})?\b",
    r"\b[A-Z]{1,2}[0-9][A-Z0-9]? [0-9][A-Z]{2}\b",
    r"\b(?:P\.? ?O\.? Box|Postfach) [0-9]{1,6}\b",
)
# How long an account number is, by country (the register of ISO 13616), and what it looks like.
IBAN: Final = r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,32}"
_LENGTHS: Final = """
AD24 AE23 AT20 BA20 BE16 BG22 BR29 CH21 CY28 CZ24 DE22 DK18 EE20 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 HR21
HU28 IE22 IL23 IS26 IT27 KZ20 LI21 LT20 LU20 LV21 MC27 MD24 ME22 MK19 MT31 NL18 NO15 PL28 PT25 RO24 RS22 SA24 SE24
SI19 SK24 SM27 TR26 UA29 XK20
"""
LENGTHS: Final = {entry[:2]: int(entry[2:]) for entry in _LENGTHS.split()}
NINETY_SEVEN: Final = 97
SPACES: Final = re.compile(r"\s+")


def _addresses() -> Find:
    patterns = [linear(pattern) for pattern in ADDRESSES]
    return lambda text: (found.group() for pattern in patterns for found in pattern.match.finditer(text))


def _payments(text: str) -> Iterator[str]:
    yield from cards(text)
    yield from (found.group() for found in linear(IBAN).match.finditer(text) if is_iban(found))


def is_iban(found: Any) -> bool:
    """Whether it begins as an account number whose check digits are right (ISO 13616, by ISO/IEC 7064)."""
    text = SPACES.sub("", found.group())
    length = LENGTHS.get(text[:2], 0)
    digits = "".join(str(int(sign, 36)) for sign in text[4:length] + text[:4])
    return 0 < length <= len(text) and int(digits) % NINETY_SEVEN == 1


# What makes each kind's finder: only those that are wanted are made.
MAKERS: Final[Mapping[str, Callable[[], Find]]] = {
    "email": lambda: matches("email"),
    "phone": lambda: matches("phone"),
    "name": lambda: names(()),
    "address": _addresses,
    "payment": lambda: _payments,
}


@cache
def finder(kind: str) -> Find:
    """What finds this kind; made once, which takes a moment."""
    return MAKERS[kind]()


def kinds_in(texts: Iterable[str], wanted: Iterable[str], invented: Collection[str]) -> set[str]:
    """Which of the wanted kinds the texts hold, what was invented in the place of real ones aside."""
    missing, found = dict.fromkeys(wanted), set[str]()
    whole = "\n".join(texts)
    for at in range(0, len(whole), PIECE):
        piece = whole[at : at + PIECE + OVERLAP]
        found |= {kind for kind in missing if any(not _is_invented(v, invented) for v in finder(kind)(piece))}
        if not (missing := {kind: None for kind in missing if kind not in found}):
            break
    return found


def _is_invented(value: str, invented: Collection[str]) -> bool:
    return value in invented or (bool(invented) and all(word in invented for word in value.split()))
