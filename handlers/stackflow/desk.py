"""The service desk as a whole: whether it can be served."""

from __future__ import annotations

from app.runtime import runtime
from app.services import system
from app.wire.call import Call
from app.wire.replies import Reply, json_reply

REGION = "local"


async def get_desk_health(_call: Call) -> Reply:
    """Tell a monitor whether the service desk can work."""
    well = await system.database_answers(runtime().engine)
    body = {"status": "healthy" if well else "degraded", "version": system.release(), "region": REGION}
    return json_reply(body, 200 if well else 503)
