"""The server about itself: its version and how long it has run."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from sqlalchemy import Engine, select

from models.base import transaction
from models.gateway import Revision

log = logging.getLogger("yardmaster.system")
PATIENCE_S = 2.0
UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


@cache
def release() -> str:
    """The version of the installed distribution."""
    try:
        return version("yardmaster")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0.0.0"


def uptime(started: float) -> str:
    """Time since a monotonic moment, as `2d 5h 30m`; seconds only in the first hour."""
    left = int(time.monotonic() - started)
    said: list[str] = []
    for unit, seconds in UNITS:
        count, left = divmod(left, seconds)
        if count and len(said) < 3:  # noqa: PLR2004
            said.append(f"{count}{unit}")
    return " ".join(said) or "0s"


async def database_answers(engine: Engine) -> bool:
    """Whether a query of a real table is answered within two seconds."""
    try:
        await asyncio.wait_for(asyncio.to_thread(_query, engine), PATIENCE_S)
    except Exception as error:  # noqa: BLE001 (whatever stopped it, the answer is no)
        log.warning("the database does not answer: %s", type(error).__name__)
        return False
    return True


def _query(engine: Engine) -> None:
    with transaction(engine, write=False) as opened:
        opened.execute(select(Revision.number)).one()
