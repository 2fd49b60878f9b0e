"""What the engine carries out for jobs over rows: the jobs themselves, and looking after those nobody works on."""

from __future__ import annotations

from typing import Final

from app.engine import PARALLEL, SERIAL, Context
from app.runtime import Runtime, runtime
from app.services.row_jobs import lifecycle, queue
from app.services.row_jobs.execution import execute

EXPIRE_EVERY_S: Final = 600.0
TEND_EVERY_S: Final = 60.0


def take_on(held: Runtime) -> None:
    """Tell a worker's engine, before it starts."""
    held.tasks.register(queue.KINDS[PARALLEL], run, lane=PARALLEL)
    held.tasks.register(queue.KINDS[SERIAL], run, lane=SERIAL)
    held.tasks.every(EXPIRE_EVERY_S, "row_jobs.expire", expire)
    held.tasks.every(TEND_EVERY_S, "row_jobs.tend", tend)


def run(key: str, context: Context) -> None:
    """Carry a job out, from wherever it is."""
    held = runtime()
    execute(held.engine, key.partition(".")[0], context.cancelled, held.settings.outbound_allowed)


def expire(_: Context) -> None:
    """Let go of old results."""
    lifecycle.expire(runtime().engine)


def tend(_: Context) -> None:
    """Hand jobs over again that the engine gave up, and those that wait for a place that is free."""
    queue.tend(runtime().engine)
