"""The webhook bus: events announced in the transaction they happen in, and delivered by the engine.

Whoever makes something happen announces it there, after adding its type to `EVENTS`:

    announce("key.revoked", {"id": key.id})

Data holds ids and figures, and the answers that an operator has relays and jobs tell of: no addresses of people, no
prompts, no keys.
"""

from __future__ import annotations

from app.services.webhooks.events import EVENTS, announce

__all__ = ["EVENTS", "announce"]
