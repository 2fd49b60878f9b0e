"""What every known model costs: the shipped table, the rules of lookup, and the user's own prices over it."""

from __future__ import annotations

from app.gateway.prices.importer import PriceFileError, load_overrides, merge, read_file, save_overrides
from app.gateway.prices.table import PriceTable, builtin

__all__ = ["PriceFileError", "PriceTable", "builtin", "load_overrides", "merge", "read_file", "save_overrides"]
