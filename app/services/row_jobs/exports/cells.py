"""What a value is in a sheet: its text, and that text so that no spreadsheet takes it for a formula."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

# What a spreadsheet reads as the beginning of a formula, also in the wide forms of East Asian keyboards and after
# spaces that it trims (OWASP, CSV injection).
FORMULA: Final = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
# Only digits and what stands between them: neither a name nor a reference can be in it, so nothing is called or read.
HARMLESS: Final = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?([eE][+-]?[0-9]+)?|\+[0-9][0-9 \u00a0.()]{3,30}")
QUOTE: Final = "'"


def text(value: Any) -> str:
    """A value as people read it: lists of plain values by commas, objects as JSON, nothing as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and not any(isinstance(part, (dict, list)) for part in value):
        return ", ".join(map(text, value))
    return orjson.dumps(value).decode() if isinstance(value, (dict, list)) else str(value)


def is_formula(written: str) -> bool:
    """Whether a spreadsheet would work the text out; a plain number and a number to call are not meant."""
    return bool(FORMULA.match(written)) and not HARMLESS.fullmatch(written)


def inert(written: str) -> str:
    """The text with a quote before it when it would be worked out."""
    return QUOTE + written if is_formula(written) else written
