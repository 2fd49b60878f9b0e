"""Which of several answers most of the others agree with."""

from __future__ import annotations

from app.gateway.modules.multicall import agreed


def test_agreement_is_by_words() -> None:
    """Word for word where two are alike, else whoever shares most with the others."""
    assert agreed(["No.", "Yes", "yes!"]) == 1
    assert agreed(["the blue bird sings", "a blue bird sings loudly", "nothing alike"]) in {0, 1}
    assert agreed(["unlike", "one two three", "two three four", "three four two five"]) == 2
    assert agreed(["", ""]) == 0
