"""The server itself: health, status, and its own document."""

from __future__ import annotations

from typing import Any

from app.runtime import runtime
from app.services import system

Json = dict[str, Any]


def get_health() -> Json:
    """Tell whether the server answers."""
    return {"status": "ok", "uptime": system.uptime(runtime().started), "version": system.release()}


def get_api_health() -> Json:
    """Tell a load balancer whether the server answers."""
    return {"status": "ok", "product": "yardmaster", "uptime": system.uptime(runtime().started)}
