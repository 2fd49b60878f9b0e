"""Notices: tells once, whichever worker sees it first, that a budget came to a threshold or has no room left."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Engine, or_, update

from app.gateway.money import usd, usd_text
from app.services.spending.counters import COUNTERS, Key, Standing, read
from app.services.spending.periods import kind
from app.services.webhooks import announce
from models.base import now, transaction

log = logging.getLogger("yardmaster.caps")
# A call's trace is stored within a quarter of a second, a slow database allowed for.
WATCHED_S = 5.0
KEPT = 20
WHOLE = 1_000


@dataclass(frozen=True, slots=True)
class Notice:
    """A budget that came to a share of itself; amounts in nano-dollars, `share` in thousandths.

    A `soft` one refuses nothing.
    """

    key: Key
    share: int
    spent: int
    most: int
    soft: bool = False


class Notices:
    """Looks at the counters that calls touched lately. `told` are the last notices of this worker."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._levels: tuple[int, ...] = ()
        self._quiet = timedelta(hours=1)
        self._touched: dict[Key, tuple[int, float, bool]] = {}
        self._full: set[Key] = set()
        self.count = 0
        self.told: deque[Notice] = deque(maxlen=KEPT)

    def configure(self, thresholds: Iterable[float], quiet_s: float) -> None:
        """Tell at these shares of a budget, each again only after so many seconds."""
        self._levels = tuple(sorted({round(share * WHOLE) for share in thresholds if share > 0}))
        self._quiet = timedelta(seconds=quiet_s)

    def touch(self, counters: Iterable[tuple[Key, int, bool]]) -> None:
        """Something was spent of these, soft or not; the tightest budget on a counter is the one told of."""
        until = time.monotonic() + WATCHED_S
        for key, most, soft in counters:
            tightest, _, softly = self._touched.get(key, (most, 0.0, soft))
            self._touched[key] = (most, until, soft) if most <= tightest else (tightest, until, softly)

    def refuse(self, counters: Iterable[tuple[Key, int]]) -> None:
        """A call found no room in these: they are as good as spent, whatever is left of them."""
        kept = list(counters)
        self._full |= {key for key, _ in kept}
        self.touch((key, most, False) for key, most in kept)

    def shown(self) -> list[dict[str, object]]:
        """The last notices as they are shown, the newest first."""
        return [
            {
                "scope": notice.key.scope,
                "ref": notice.key.ref,
                "period": notice.key.period,
                "share": notice.share / WHOLE,
                "spent": usd(notice.spent),
                "cap": usd(notice.most),
            }
            for notice in reversed(self.told)
        ]

    def look(self) -> list[Notice]:
        """Tell of what came to a threshold; waits for the database."""
        touched, full = dict(self._touched), self._full
        self._full = set()
        moment = time.monotonic()
        for key in [key for key, (_, until, _) in touched.items() if until <= moment]:
            if self._touched.get(key) == touched[key]:  # calls touch them meanwhile
                del self._touched[key]
        if not touched or not self._levels:
            return []
        with transaction(self._engine, write=False) as session:
            standing = read(session.connection(), list(touched))
        levels = {key: self._level(key, held, touched[key][0], full) for key, held in standing.items()}
        due = [
            Notice(key, level, standing[key].spent, touched[key][0], touched[key][2])
            for key, level in levels.items()
            if level
        ]
        told = [notice for notice in due if self._claim(notice)]
        self._say(told)
        return told

    def _level(self, key: Key, held: Standing, most: int, full: Collection[Key]) -> int:
        """The highest threshold reached, 0 for none."""
        reached = [level for level in self._levels if held.spent * WHOLE >= level * most]
        return max([*reached, WHOLE] if key in full else reached, default=0)

    def _claim(self, notice: Notice) -> bool:
        """Whether nobody told of it before, or not lately."""
        table, moment = COUNTERS.c, now()
        fresh = or_(table.noticed < notice.share, table.noticed_at <= moment - self._quiet)
        where = [table[name] == value for name, value in notice.key._asdict().items()]
        with transaction(self._engine) as session:
            claimed = update(COUNTERS).where(*where, fresh).values(noticed=notice.share, noticed_at=moment)
            mine = bool(session.connection().execute(claimed).rowcount)
            if mine:
                _announce(notice)
            return mine

    def _say(self, notices: Sequence[Notice]) -> None:
        for notice in notices:
            self.count += 1
            self.told.append(notice)
            whose = f"{kind(notice.key.period)} budget of {notice.key.scope} {notice.key.ref}"
            spent = f"{usd_text(notice.spent)} of {usd_text(notice.most)} USD"
            log.warning("the %s came to %g %% of itself: %s are spent", whose, notice.share / 10, spent)


def _announce(notice: Notice) -> None:
    """An event of it, in the transaction that claims it: sent once, whichever worker saw it first."""
    key = notice.key
    told = {"scope": key.scope, "id": key.ref, "period": kind(key.period), "spent": usd(notice.spent)}
    told |= {"cap": usd(notice.most), "soft": notice.soft}
    if notice.share >= WHOLE:
        announce("spend.cap_exceeded", told)
        return
    named = {"project": key.ref} if key.scope == "project" else {}
    announce("cost.threshold", told | named | {"threshold": notice.share / WHOLE})
