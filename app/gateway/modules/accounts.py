"""Accounts: whose a call is, for what modules count and remember; nothing a caller sends can choose it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange


def account_of(exchange: Exchange) -> str:
    """The user; without one the key, be it ours or a provider's that was sent with the call."""
    principal = exchange.call.principal
    if principal.user_id is not None:
        return f"user:{principal.user_id}"
    if principal.secret:
        return f"raw:{sha256(principal.secret.encode()).hexdigest()}"
    return principal.subject
