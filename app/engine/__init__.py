"""The durable engine: work that outlives the request that asked for it, on DBOS.

Whoever has work submits it in the transaction that gives the reason for it:

    from app import engine
    engine.submit("rows", job.uid)                # begun within 250 ms of the commit, when its lane has room
    engine.submit("mail", "17.2", at=moment)      # or when it is due
    engine.cancel("rows", job.uid)                # in the transaction of the request that asks for it

A task is a kind and a key of up to 200 characters. It is accepted once: submitting it again, at the same moment or
within a day of its end, does nothing. Nothing is begun when the transaction is rolled back, nothing is lost once it is
committed, whatever is killed after. The factory says what carries a kind out:

    tasks.register("rows", run)                   # lane "parallel": 6 at once, over all workers together
    tasks.register("rows_in_turn", run, lane="serial")      # 2 at once
    tasks.register("mail", send, concurrency=4)   # a lane of its own

    def run(key: str, context: Context) -> None:
        rows = context.step("read", lambda: read(key))      # done once; after a crash, what it returned comes back
        for number, row in enumerate(rows):
            if context.cancelled():
                return
            context.step(f"row {number}", lambda row=row: transform(row))

- Steps are known by their names. A step that was cut short by a crash is run again: what it does must bear that, or be
  told apart by `context.id`, which never changes. What it returns must be JSON. Code outside of steps runs again too.
- `cancelled()` hears of `cancel` within a second. A task that waits when it is cancelled is never begun: who cancels
  settles what belongs to it.
- `step`, `cancelled` and `pause` raise Stopping, no Exception, when the worker is about to end: let it pass.
- A function that raises is not called again: it is logged, and the task has failed. Where the database was away, it is
  called again. `runtime()` works inside; there is no transaction: open one (`models.base.transaction`).
- Fairness between users is the submitter's matter: what is due first is begun first.

`tasks.every(3600, "retention", turn)` calls `turn(context)` an hour after it last ended, on one worker at a time.

Workers keep a heartbeat in the database, every 5 s. What one held that is silent for 15 s is taken up by another. On
one data directory that happens at once: each locks a file there, which the kernel lets go when its process ends.
"""

from __future__ import annotations

from app.engine.context import Context, Stopping
from app.engine.engine import PARALLEL, SERIAL, Engine
from app.engine.tasks import cancel, submit

__all__ = ["PARALLEL", "SERIAL", "Context", "Engine", "Stopping", "cancel", "submit"]
