"""Words of a text, as far as they tell what it is about: what modules match questions by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

WORD: Final = re.compile(r"\w{2,40}")
# Words that are in every text, in the languages most prompts are written in.
_COMMON: Final = """
about after all also an and any are as at be because been before but by can could did do does for from get give had
has have he her him his how if in into is it its just know like make me more most my no not of on or other our out
over please she should so some tell than that the their them then there these they this those to up us use using want
was we were what when where which who why will with would you your au aux avec ce ces cette comment dans de des du
elle en est et il ils je la le les leur mais mon ne nous on ou par pas pour que quel quelle qui sa se ses son sur une
vous aber als am auch auf aus bei bin bis das dass dem den der des die ein eine einem einen einer er es ich ihr im ist
mit nicht oder sein sich sie sind und uns von vor warum was wer wie wir wo zu zum zur como con cual del el esta este
las lo los mi para pero por porque si sin su sus un una y
"""
COMMON: Final = frozenset(_COMMON.split())
MOST_READ: Final = 20_000


def words(text: str) -> Iterator[str]:
    """Each telling word, in lower case and in order, as often as it stands there."""
    return (word for word in WORD.findall(text[:MOST_READ].lower()) if word not in COMMON)


def words_of(text: str) -> frozenset[str]:
    """The telling words of a text, each once."""
    return frozenset(words(text))
