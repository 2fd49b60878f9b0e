"""Numbers as sheets write them: 4.5, 4,5 and 1 234."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any, Final

GROUPS: Final = re.compile(r"(?<=\d)[ \u00a0\u202f](?=\d{3}(?:\D|$))")
PLAIN: Final = re.compile(r"[+-]?[0-9]{1,40}([.,][0-9]{1,40})?")


def number(cell: Any) -> Decimal | None:
    """The number in a cell, with either decimal sign and spaces between thousands; None when it is none."""
    if isinstance(cell, str):
        written = GROUPS.sub("", cell.strip())
        return Decimal(written.replace(",", ".")) if PLAIN.fullmatch(written) else None
    if isinstance(cell, bool) or not isinstance(cell, (int, float)) or not math.isfinite(cell):
        return None
    return Decimal(str(cell))
