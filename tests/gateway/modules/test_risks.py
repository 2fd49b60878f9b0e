"""What whoever decides on a call is shown of it."""

from __future__ import annotations

import re

import pytest

from app.gateway.modules.risks import Risk, preview

RISKY = "Please drop table invoices"
LONG = "sk-" + "abcdefghijklmnop" * 20 + ", "


@pytest.mark.parametrize(
    ("text", "at", "shown"),
    [
        ("drop it", 0, "drop it"),
        ("please do drop it", 10, "…o drop i…"),
        ("drop it all, and now", 0, "drop it a…"),
        ("and then, drop it", 10, "…, drop it"),
        ("", 0, ""),
    ],
)
def test_a_piece_is_what_stands_around_a_finding(text: str, at: int, shown: str) -> None:
    """A sign at each end tells that there is more."""
    assert preview(Risk("pattern", text=text, at=at, end=at + 4), len(shown.replace("…", "")) or 9) == shown


@pytest.mark.parametrize(
    "secret", ["key-holder@example.com, ", "sk-abcdefghijklmnop1234567890, ", "4111111111111111, ", LONG]
)
def test_no_half_of_a_secret_is_shown(secret: str) -> None:
    """Wherever a long text is cut, and however short it becomes by what is hidden in it."""
    for gap in range(len(secret)):
        around = secret * 1_000 + " " * gap
        shown = preview(
            Risk("pattern", text=f"{around}{RISKY}, {around}", at=len(around), end=len(around) + len(RISKY)), 2_000
        )
        assert RISKY in shown
        assert not re.search(r"hold|xamp|\w-h|bcde|lmno|\d{3}", shown.replace(RISKY, "").replace("…", ""))
        assert len(shown) <= 2_002
