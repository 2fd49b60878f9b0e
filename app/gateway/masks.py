"""Masks: invented people, addresses and numbers, the same for the same value, and told apart from everything real."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2s
from typing import Final

_FIRST: Final = """
Anneke Bastian Calista Davor Eliska Fenna Gustavo Henrike Ilyana Joaquim Katarzyna Lorenz Mirela Nikodem Oluchi
Pernille Quirin Rosalba Svante Tamsin Ulrika Valentin Wilhelmina Xanthe Yevgenia Zoltan Amadou Brynja Cosimo Dagny
Emeka Florian Ginevra Haruka Ivaylo Jolanta Kwame Ludmila Matteus Noemi Ottavio Petronella Ragnar Sunniva Thandiwe
"""
FIRST: Final = tuple(_FIRST.split())
_LAST: Final = """
Adeyemi Bjornstad Castellano Dvorakova Eriksen Fitzwilliam Grabowski Holmqvist Ivanovic Jankowski Kowalczyk Lindqvist
Marchetti Nakagawa Okonjo Petrosyan Quintana Rasmussen Sokolova Takahashi Ulvestad Vandermeer Wachowski Xenakis
Yamauchi Zielinski Abernathy Brancusi Cavendish Delacroix Esterhazy Fairweather Guadagnino Hristova Ingebrigtsen
Jorgensen Kaminski Lagerfeld Montefiore Niedermann Oyelaran Pellegrino Rosenqvist Szymanska Tikkanen
"""
LAST: Final = tuple(_LAST.split())
DOMAIN: Final = "mail.example"  # no such host can be (RFC 2606 §2)
NAME, EMAIL, PHONE, CARD = "name", "email", "phone", "card"
# What every mask looks like; a text is searched for these to put back what is real.
SHAPES: Final = "|".join(
    (
        rf"\b[a-z]{{2,20}}\.[a-z]{{2,20}}[0-9]{{0,4}}@{DOMAIN.replace('.', '[.]')}\b",
        r"\b[2-9][0-9]{2}-555-01[0-9]{2}\b",
        r"\b9999 [0-9]{4} [0-9]{4} [0-9]{4}\b",
        rf"\b(?:{'|'.join((*FIRST, *LAST))})\b",
    )
)
MOST_TRIES: Final = 500
LUHN_NINE: Final = 9


class Masks:
    """The masks of one call: `of` values and the words of names, `back` to them. None is given twice.

    Nor is anything that `taken` says is there already.
    """

    def __init__(self, seed: str, taken: Callable[[str], bool]) -> None:
        self._seed = seed.encode()
        self._taken = taken
        self.values: set[str] = set()
        self.of: dict[str, str] = {}
        self.back: dict[str, str] = {}

    def mask(self, kind: str, value: str) -> str:
        """What stands for a value; for a name, word by word."""
        if kind == NAME:
            words = value.split()
            masked = " ".join(self._one(FIRST if at == 0 else LAST, word) for at, word in enumerate(words))
        else:
            masked = self._one(kind, value)
        self.values.add(value)
        self.of[value] = masked
        return masked

    def _one(self, kind: str | Sequence[str], value: str) -> str:
        if (known := self.of.get(value)) is None:
            made = (mask for mask in self._invented(kind, value) if mask not in self.back and not self._taken(mask))
            known = next(made, None) or f"[NAME_REDACTED_{len(self.back) + 1}]"
            self.of[value], self.back[known] = known, value
        return known

    def _invented(self, kind: str | Sequence[str], value: str) -> Iterator[str]:
        """Masks for the value, the first of them always the same."""
        drawn = int.from_bytes(blake2s(value.encode(), key=self._seed[:32], digest_size=16).digest())
        if not isinstance(kind, str):
            yield from (kind[(drawn + step) % len(kind)] for step in range(len(kind)))
            return
        make = {EMAIL: _email, PHONE: _phone, CARD: _card}[kind]
        yield from (make(drawn + step) for step in range(MOST_TRIES))


def _email(drawn: int) -> str:
    drawn, first = divmod(drawn, len(FIRST))
    drawn, last = divmod(drawn, len(LAST))
    return f"{FIRST[first]}.{LAST[last]}{drawn % 10_000}@{DOMAIN}".lower()


def _phone(drawn: int) -> str:
    """A number of those that are kept for fiction."""
    drawn, ending = divmod(drawn, 100)
    return f"{200 + drawn % 800}-555-01{ending:02}"


def _card(drawn: int) -> str:
    """A number no bank gives, whose digits add up as a card's do (ISO/IEC 7812-1, annex B)."""
    digits = [9, 9, 9, 9, *(int(digit) for digit in f"{drawn % 10**11:011}")]
    doubled = sum(d * 2 - LUHN_NINE * (d * 2 > LUHN_NINE) for d in digits[::2])
    digits.append(-(doubled + sum(digits[1::2])) % 10)
    text = "".join(map(str, digits))
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))
