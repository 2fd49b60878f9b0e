"""What modules keep of a call until it is over."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from app.gateway.exchange import Exchange
from app.gateway.wire import Kind


def test_what_is_kept_is_taken_once_by_each_copy_of_a_call() -> None:
    """A call that becomes several holds money for each, and what one gives back is not another's."""
    call: Any = SimpleNamespace(headers={})
    first = Exchange(call, Kind.CHAT, {})
    assert first.taken("purse") is None
    first.keep("tenant", "acme")
    second = replace(first)
    first.keep("purse", 1)
    second.keep("purse", 2)
    assert (first.taken("purse"), second.taken("purse"), first.taken("purse")) == (1, 2, None)
    assert (first.taken("tenant"), second.taken("tenant"), second.taken("tenant")) == ("acme", "acme", None)
