"""How rows are shown: output only, one module per group of operations."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, post_dump


class View(Schema):
    """Shows a row; a field that is not set is left out."""

    @post_dump
    def leave_out_unset(self, shown: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Absent says "not set" in every dialect; null would need a type of its own."""
        return {name: value for name, value in shown.items() if value is not None}
