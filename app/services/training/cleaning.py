"""Taking personal data out of a conversation: each value has a stand-in, the same wherever it is said."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Final

from app.gateway.modules.kinds import finder
from app.gateway.modules.promptguard import KINDS
from app.gateway.modules.words import COMMON
from app.gateway.patterns import linear
from app.security.redact import redact
from app.services.training.conversations import Said

Find = Callable[[str], Iterator[str]]
NAME: Final = "name"
SHORTEST: Final = 3


def cleaned(said: Sequence[Said], own: str = "") -> list[Said]:
    """The conversation without keys and what tells of people; `own` is what the one who asked is called."""
    texts = [redact(one.text) for one in said]
    for kind, find in _finders().items():
        known = [own] if kind == NAME and _telling(own) else []
        texts = _without(texts, kind, [*known, *(value for text in texts for value in find(text))])
    return [Said(one.role, text) for one, text in zip(said, texts, strict=True)]


@cache
def _finders() -> Mapping[str, Find]:
    """What finds each kind: payments before phones, which a part of one may look like; names last."""
    known = {kind: finder(kind) for kind in ("payment", "email")}
    known |= {kind: _matching(kind) for kind in ("ssn", "ip_address")}
    return known | {kind: finder(kind) for kind in ("phone", "address", NAME)}


def _matching(kind: str) -> Find:
    pattern = linear(KINDS[kind])
    return lambda text: (found.group() for found in pattern.match.finditer(text))


def _without(texts: list[str], kind: str, values: Iterable[str]) -> list[str]:
    """The texts with numbered stand-ins; of a name its words, too, wherever they are said alone."""
    held = {value: f"[{kind.upper()}_{at}]" for at, value in enumerate(dict.fromkeys(values), start=1)}
    if kind == NAME:
        held |= {word: held[name] for name in reversed(held) for word in _telling(name)}
    if not held:
        return texts
    either = "|".join(re.escape(value) for value in sorted(held, key=len, reverse=True))
    pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)")
    return [pattern.sub(lambda found: held[found.group()], text) for text in texts]


def _telling(name: str) -> list[str]:
    """The words of a name that are no other words."""
    words = [word for word in name.split() if len(word) >= SHORTEST and word[0].isupper()]
    return [word for word in words if word.lower() not in COMMON]
