"""Telephone numbers: read in a country, written in E.164 form, compared by their beginnings."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat

# Where numbers without a country are from, unless a job says otherwise.
HOME: Final = "FR"
LONGEST: Final = 40
BEFORE: Final = re.compile(r"^\s*tel:", re.IGNORECASE)
NO_DIGITS: Final = re.compile(r"[^0-9+]+")


@lru_cache(1_024)
def read(text: str, country: str = HOME) -> PhoneNumber | None:
    """The number, valid in its country's plan (ITU-T E.164); None when the text is none or has an extension."""
    if len(text) > LONGEST:
        return None
    try:
        number = phonenumbers.parse(BEFORE.sub("", text), country)
    except NumberParseException:
        return None
    return number if phonenumbers.is_valid_number(number) and not number.extension else None


def e164(text: str, country: str = HOME) -> str | None:
    """`+33612345678`; None when it cannot be read."""
    number = read(text, country)
    return phonenumbers.format_number(number, PhoneNumberFormat.E164) if number else None


def compact(text: str) -> str:
    """The digits as they were written, with the plus; 00 counts as one."""
    digits = NO_DIGITS.sub("", text)
    return "+" + digits[2:] if digits.startswith("00") else digits


def begins(text: str, prefixes: tuple[str, ...], country: str = HOME) -> bool | None:
    """Whether a number begins with one of the compact prefixes, at home or abroad; None when it cannot be read."""
    if compact(text).startswith(prefixes):
        return True
    number = read(text, country)
    if number is None:
        return None
    forms = (PhoneNumberFormat.E164, PhoneNumberFormat.NATIONAL)
    return any(compact(phonenumbers.format_number(number, form)).startswith(prefixes) for form in forms)
