"""Mask mode: a model works with invented people, and who asked reads about the real ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.masks import CARD, EMAIL, NAME, PHONE, Masks
from app.gateway.modules.accounts import account_of
from app.gateway.modules.bodies import changed, texts
from app.gateway.modules.promptguard import KINDS, is_card
from app.gateway.modules.words import COMMON
from app.gateway.patterns import linear
from app.gateway.steps import Module, Steps
from app.gateway.wire import Kind

Find = Callable[[str], Iterator[str]]
_WORD: Final = r"\p{Lu}[\p{L}'’-]{1,30}"
_NAME: Final = rf"{_WORD}(?: {_WORD}){{0,2}}"
# What people are introduced by; a name is what follows in capitals.
INTRODUCED: Final = (
    rf"\b(?:[Mm]y name is|[Nn]ame:|[Cc]alled|I am|I'm|Dear|Hi|Hello|Mr\.?|Mrs\.?|Ms\.?|Dr\.?|Prof\.?|Herrn?|Frau|"
    rf"Monsieur|Madame|Mme|Signora?|Se[ñn]ora?|[Mm]ich nenne|[Ii]ch hei(?:ß|ss)e|[Jj]e m'appelle|[Mm]e llamo)"
    rf"[ \t]+({_NAME})"
)
_GIVEN: Final = """
Ada Adam Agnes Alan Albert Alexander Alice Alina Amanda Amelia Amy Ana Andrea Andrew Angela Ann Anna Anne Anthony
Arthur Barbara Ben Benjamin Bernd Betty Bob Brian Carla Carlos Carol Caroline Catherine Charles Charlotte Chloe Chris
Christian Christine Christopher Claire Clara Claudia Daniel David Deborah Dennis Diana Donald Dorothy Edward Elena
Elisabeth Elizabeth Emily Emma Eric Erik Eva Felix Fiona Frank Franz Fred Gabriel George Grace Hannah Hans Harry
Heather Helen Helena Henry Ian Ines Irene Isabel Isabella Jack Jacob James Jan Jane Janet Jason Jean Jennifer Jens
Jessica Joan Johanna John Jonas Jonathan Jorge Jose Joseph Juan Judith Julia Julian Karen Karl Katharina Katherine
Kevin Klaus Laura Lea Lena Leo Leon Liam Linda Lisa Louis Louise Lucas Lucy Luis Lukas Luke Magdalena Marco Margaret
Maria Marie Mark Markus Martha Martin Mary Matthew Max Michael Michelle Miguel Monica Nadia Nancy Nicholas Nicole Nina
Noah Oliver Olivia Oscar Patricia Patrick Paul Paula Pedro Peter Philip Pierre Rachel Ralph Rebecca Richard Robert
Roger Ruth Samuel Sandra Sara Sarah Scott Sebastian Simon Sofia Sophia Sophie Stefan Stephanie Stephen Steven Susan
Susanne Sven Sylvia Teresa Theodore Theresa Thomas Timothy Tom Ursula Vera Victor Victoria Vincent Walter Wendy
William Yvonne
"""
GIVEN: Final = tuple(_GIVEN.split())
KNOWN: Final = rf"\b((?:{'|'.join(GIVEN)})(?: \p{{Lu}}\.)?(?: {_WORD}){{1,2}})"
SHORTEST: Final = 3
# Words in capitals that follow an introduction and are nobody's name.
NOBODY: Final = frozenset({"there", "team", "all", "everyone", "sir", "madam", "i", "i'm"})


def cards(text: str) -> Iterator[str]:
    """Numbers of payment cards in a text."""
    return (found.group() for found in linear(KINDS["credit_card"]).match.finditer(text) if is_card(found))


def matches(kind: str) -> Find:
    """Whatever looks like this kind in a text."""
    pattern = linear(KINDS[kind])
    return lambda text: (found.group() for found in pattern.match.finditer(text))


def names(listed: Iterable[str]) -> Find:
    """Names in a text: those an operator listed, and what looks like one by what stands before it, or begins it."""
    ours = [name for name in listed if name.strip()]
    patterns = [linear(INTRODUCED), linear(KNOWN)]

    def find(text: str) -> Iterator[str]:
        yield from (name for name in ours if name in text)
        for pattern in patterns:
            for found in pattern.match.finditer(text):
                if found.group(1).split()[0].lower() not in NOBODY | COMMON:
                    yield found.group(1)

    return find


class Maskmode(Module):
    """Everything is masked alike in one call, wherever it stands, and in later calls of the same account."""

    COUNTS = ("calls", "masked")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Cards before phones, which a part of one may look like; names last."""
        finders = {EMAIL: matches("email"), CARD: cards, PHONE: matches("phone"), NAME: names(settings["names"])}
        wanted = [(kind, find) for kind, find in finders.items() if kind in settings["kinds"]]
        seed = settings["seed"]

        def request(exchange: Exchange) -> None:
            if exchange.kind is not Kind.EMBEDDINGS:
                self._mask(exchange, wanted, f"{seed}:{account_of(exchange)}")

        return Steps(request=request)

    def _mask(self, exchange: Exchange, wanted: Iterable[tuple[str, Find]], seed: str) -> None:
        said = list(texts(exchange.body))
        everything = "\n".join(said)
        masks = Masks(seed, lambda mask: mask in everything)
        for kind, find in wanted:
            for value in dict.fromkeys(value for text in said for value in find(text)):
                masks.mask(kind, value)
            said = _without(said, masks)
        if not masks.of:
            return
        pattern = _pattern(masks)
        exchange.body = changed(exchange.body, lambda text: pattern.sub(lambda found: masks.of[found.group()], text))
        exchange.hidden, exchange.restore = True, {**(exchange.restore or {}), **masks.back}
        exchange.details["masked"] = len(masks.of)
        self.counted["calls"] += 1
        self.counted["masked"] += len(masks.of)


def _without(said: list[str], masks: Masks) -> list[str]:
    """The texts without what was found in them already."""
    pattern = _pattern(masks)
    return [pattern.sub(" ", text) for text in said] if masks.of else said


def _pattern(masks: Masks) -> re.Pattern[str]:
    """Any of the values as a whole word, the longest first; of the parts of names those that are no common word."""
    parts = {word for word in masks.of if len(word) >= SHORTEST and word.lower() not in COMMON}
    joined = "|".join(re.escape(value) for value in sorted(masks.values | parts, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{joined})(?!\w)")
