"""Languages: which one a text is written in, by its script, and in Latin script by the small words of a language."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

# Where each script lies in Unicode, and the commonest language that is written in it.
SCRIPTS: Final = (
    ("ja", 0x3040, 0x30FF),
    ("zh", 0x4E00, 0x9FFF),
    ("ko", 0xAC00, 0xD7AF),
    ("ru", 0x0400, 0x052F),
    ("el", 0x0370, 0x03FF),
    ("ar", 0x0600, 0x06FF),
    ("he", 0x0590, 0x05FF),
    ("hi", 0x0900, 0x097F),
    ("th", 0x0E00, 0x0E7F),
)
LATIN_ENDS: Final = 0x0250
_SMALL: Final = """
en=the,of,and,to,is,that,was,for,with,are,this,have,from,not,it,be,you,what,how,which
de=der,die,und,das,ist,nicht,ein,eine,mit,den,auf,für,von,sich,dem,wie,ich,zu,sind,wird
fr=le,les,et,des,est,une,du,que,pour,dans,pas,qui,sur,avec,nous,je,il,sont,aux,cette
es=el,los,las,que,del,una,por,con,para,es,como,pero,su,más,está,se,al,lo,muy,y
it=il,di,che,gli,della,per,una,non,con,sono,del,è,nel,alla,anche,come,più,questo,le,ma
pt=os,não,uma,com,para,que,do,da,em,por,são,mais,como,dos,das,ao,é,seu,ou,muito
nl=het,een,van,en,dat,niet,zijn,op,voor,met,aan,ook,maar,wordt,naar,bij,deze,ik,hij,de
"""
SMALL: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset(words.split(",")) for name, _, words in (line.partition("=") for line in _SMALL.split())
}
WORD: Final = re.compile(r"[^\W\d_]+")
# Characters from which the rest is judged.
LOOKED_AT: Final = 2_000
# A language must be seen in so many words, and in more than the next one.
LEAST_WORDS: Final = 2


def language_of(text: str) -> str:
    """The tag of the language, such as `de`; empty when it cannot be told, as of a few words."""
    text = text[:LOOKED_AT]
    letters = Counter(script for character in text if (script := _script(character)))
    if not letters:
        return ""
    script = "ja" if letters["ja"] and letters["ja"] * 10 >= letters["zh"] else letters.most_common(1)[0][0]
    return script or "" if script != "latin" else _latin(text)


def _script(character: str) -> str:
    code = ord(character)
    if code < LATIN_ENDS:
        return "latin" if character.isalpha() else ""
    return next((name for name, first, last in SCRIPTS if first <= code <= last), "")


def _latin(text: str) -> str:
    words = WORD.findall(text.lower())
    counts = {name: sum(word in small for word in words) for name, small in SMALL.items()}
    (best, most), (_, next_most) = Counter(counts).most_common(2)
    return best if most >= LEAST_WORDS and most > next_most else ""
