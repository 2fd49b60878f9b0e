"""The fleet as a whole: whether it can be served."""

from __future__ import annotations

from app.problems import Problem
from app.runtime import runtime
from app.services import system
from app.wire.call import Call
from app.wire.replies import Reply, json_reply


async def get_fleet_health(_call: Call) -> Reply:
    """Tell a monitor whether the server can work."""
    if not await system.database_answers(runtime().engine):
        raise Problem(503, "The database does not answer", headers={"retry-after": "1"})
    return json_reply({"status": "ok"})
