"""The registry of job types, open to anybody."""

from __future__ import annotations

from typing import Any

from app.services import registry

Json = dict[str, Any]


def list_registry_modules(category: str | None = None, pipelinable: bool | None = None) -> Json:
    """List the job types."""
    return {
        "modules": registry.list_modules(category, pipelinable=pipelinable),
        "generated_at": registry.generated_at(),
    }


def get_registry_module(slug: str) -> Json:
    """Get one job type with its parameters, limits and output."""
    return registry.get_module(slug)
