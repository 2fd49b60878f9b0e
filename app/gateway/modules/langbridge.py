"""Language bridge: asks the model to answer in the language its caller reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.bodies import with_system
from app.gateway.steps import Module, Steps

TAG: Final = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}")
MOST_WISHES: Final = 20
# What the commonest tags mean (ISO 639); a model knows the others by their tag.
_NAMES: Final = """
= ar=Arabic bg=Bulgarian bn=Bengali ca=Catalan cs=Czech da=Danish de=German el=Greek en=English es=Spanish et=Estonian
eu=Basque fa=Persian fi=Finnish fr=French ga=Irish gl=Galician gu=Gujarati he=Hebrew hi=Hindi hr=Croatian hu=Hungarian
hy=Armenian id=Indonesian is=Icelandic it=Italian ja=Japanese ka=Georgian kk=Kazakh ko=Korean lt=Lithuanian lv=Latvian
mk=Macedonian ms=Malay mt=Maltese nb=Norwegian nl=Dutch nn=Norwegian no=Norwegian pa=Punjabi pl=Polish pt=Portuguese
ro=Romanian ru=Russian sk=Slovak sl=Slovenian sq=Albanian sr=Serbian sv=Swedish sw=Swahili ta=Tamil te=Telugu th=Thai
tl=Tagalog tr=Turkish uk=Ukrainian ur=Urdu uz=Uzbek vi=Vietnamese zh=Chinese
"""
NAMES: Final = dict(pair.split("=") for pair in _NAMES.split())


class Langbridge(Module):
    """A line of instructions; what the caller asks for in words still comes first."""

    COUNTS = ("asked", "left")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """The operator's language, or the one a call prefers of those allowed."""
        fixed, other = settings["language"].strip(), settings["default"].strip()
        allowed = [tag.strip().lower() for tag in settings["languages"]]

        def request(exchange: Exchange) -> None:
            wished = fixed or preferred(exchange.call.headers.get("accept-language", ""), allowed) or other
            before = exchange.body
            if wished and TAG.fullmatch(wished):
                exchange.body = with_system(before, _instruction(wished))
            self.counted["left" if exchange.body is before else "asked"] += 1

        return Steps(request=request)


def preferred(header: str, allowed: Sequence[str]) -> str:
    """The language an `Accept-Language` prefers (RFC 9110 §12.5.4), of those allowed, if any are; else nothing."""
    for wish in sorted(_wishes(header), key=lambda wish: -wish[1]):
        if not allowed or _is_among(wish[0].lower(), allowed):
            return wish[0]
    return ""


def _wishes(header: str) -> Iterator[tuple[str, float]]:
    """Tags with their weights; what is no tag, and what is weighed nothing, is no wish."""
    for part in header.split(",")[:MOST_WISHES]:
        tag, _, weight = (piece.strip() for piece in part.partition(";"))
        try:
            much = float(weight.removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        if TAG.fullmatch(tag) and much > 0:
            yield tag, much


def _is_among(tag: str, allowed: Sequence[str]) -> bool:
    """Whether the tag, or a shorter form of it, is allowed (RFC 4647 §3.4)."""
    return any(tag == known or tag.startswith(f"{known}-") for known in allowed)


def _instruction(tag: str) -> str:
    name = NAMES.get(tag.partition("-")[0].lower())
    said = f"{name} ({tag})" if name else f"the language with the tag {tag}"
    return (
        f"Answer in {said}, whatever language the documents and the examples are in, unless the user asks for another."
    )
