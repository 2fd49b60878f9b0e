"""Bytes of the web as text: the charset they claim, if they keep to it, and what they are likely to be otherwise."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Final

MARKS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
LABEL: Final = r"""charset\s{0,5}=\s{0,5}["']?\s{0,5}([A-Za-z0-9_.:-]{2,40})"""
PARAMETER: Final = re.compile(LABEL, re.IGNORECASE)
META: Final = re.compile(rb"<meta[^>]{0,200}?" + LABEL.encode(), re.IGNORECASE)
HEAD: Final = 2_048
FALLBACK: Final = "cp1252"
# The charsets of the WHATWG Encoding Standard that Python knows; its other codecs are no charsets of documents.
KNOWN: Final = frozenset(
    """
    utf-8 utf-16-le utf-16-be ascii cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 cp866 cp874 big5
    euc_jp euc_kr gb18030 gb2312 gbk iso2022_jp iso8859-1 iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 iso8859-7
    iso8859-8 iso8859-9 iso8859-10 iso8859-13 iso8859-14 iso8859-15 iso8859-16 koi8-r koi8-u mac-cyrillic mac-roman
    shift_jis
    """.split()  # noqa: SIM905 (a list of thirty words reads better so)
)
# What claims these is read as their superset (Encoding Standard §4.2).
MEANT: Final = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "utf-16": "utf-16-le"}


def decoded(body: bytes, content_type: str = "", *, complete: bool = True) -> str:
    """The text without its mark: by mark, header, meta element, UTF-8, and Windows-1252 for what fits none of them.

    A text that is not complete may end within a character.
    """
    for name in _candidates(body, content_type):
        try:
            text = codecs.getincrementaldecoder(name)("strict").decode(body, final=complete)
        except UnicodeDecodeError:
            continue
        return text.removeprefix("\ufeff")
    return body.decode(FALLBACK, "replace")


def known(name: str) -> str | None:
    """The codec of a charset's label; None for what is no charset of documents."""
    try:
        found = codecs.lookup(name.strip()).name
    except (LookupError, ValueError):
        return None
    found = MEANT.get(found, found)
    return found if found in KNOWN else None


def _candidates(body: bytes, content_type: str) -> Iterator[str]:
    yield from (name for mark, name in MARKS if body.startswith(mark))
    told, meta = PARAMETER.search(content_type), META.search(body[:HEAD])
    labels = (told[1] if told else "", meta[1].decode("ascii") if meta else "")
    yield from (name for label in labels if label and (name := known(label)))
    yield "utf-8"
