"""What a sandbox model is told to do wrong, read from its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

MAX_DELAY_MS: Final = 60_000


class Fault(StrEnum):
    """What can go wrong on top of a delay or an error status; each is a word in the model's name."""

    HTML = "html"
    TRUNCATE = "truncate"
    RESET = "reset"
    EMPTY = "empty"
    ERROR_FRAME = "error-frame"
    NO_USAGE = "no-usage"


@dataclass(frozen=True, slots=True)
class Script:
    """One model's behaviour: delays in seconds, the status to answer with, the faults to commit."""

    first_byte: float = 0.0
    drip: float = 0.0
    status: int = 200
    faults: frozenset[Fault] = frozenset()


_DELAY: Final = re.compile(r"-(slow|drip)-(\d{1,6})ms(?![^-])")
_STATUS: Final = re.compile(r"-fail-([45]\d\d)(?![^-])")
_FAULT: Final = re.compile(rf"-({'|'.join(Fault)})(?![^-])")


@lru_cache(maxsize=1024)
def parse(model: str) -> Script:
    """The script in a model's name, its parts in any order; the plain script for names not starting with `sandbox`.

    `sandbox-slow-250ms-drip-20ms-truncate` waits, then drips, then stops half way. Words it does not know are ignored;
    a delay is at most a minute.
    """
    if not model.startswith("sandbox"):
        return Script()
    delays = {word: min(int(ms), MAX_DELAY_MS) / 1000 for word, ms in _DELAY.findall(model)}
    status = _STATUS.search(model)
    return Script(
        first_byte=delays.get("slow", 0.0),
        drip=delays.get("drip", 0.0),
        status=int(status[1]) if status else 200,
        faults=frozenset(map(Fault, _FAULT.findall(model))),
    )
