"""The prices in force in a running worker: an import by the command is noticed without a restart."""

from __future__ import annotations

import logging
from pathlib import Path

from app.gateway.prices.importer import PriceFileError, load_overrides
from app.gateway.prices.table import PriceTable, builtin

log = logging.getLogger("yardmaster.prices")


class PriceBook:
    """The shipped table under the operator's file, which is read again when it changes."""

    def __init__(self, overrides: Path) -> None:
        """Read both; PriceFileError when the file is broken, so that a start is refused."""
        self._overrides = overrides
        self._seen = self._stamp()
        self.table: PriceTable = builtin().with_overrides(load_overrides(overrides))

    def refresh(self) -> None:
        """Take the file over when it is another than before; a broken one is logged, and the prices stay."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self.table = builtin().with_overrides(load_overrides(self._overrides))
        except PriceFileError as error:
            log.error("the prices stay as they were: %s", error)  # noqa: TRY400 (the sentence says it all)
            return
        log.info("prices were taken over: %d in all", len(self.table))

    def _stamp(self) -> tuple[int, int]:
        try:
            held = self._overrides.stat()
        except OSError:
            return 0, 0
        return held.st_mtime_ns, held.st_ino
