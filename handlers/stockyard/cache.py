"""The gateway's cache: how it does, and emptied."""

from __future__ import annotations

from typing import Any

from app.http import transact
from app.runtime import runtime
from app.services import answer_cache
from app.wire.call import Call
from app.wire.replies import Reply, json_reply

Json = dict[str, Any]
NO_CACHE = (b"cache-control", b"no-cache")


async def get_cache_stats(_call: Call) -> Reply:
    """What the caches of all workers hold, and what they did."""
    held = runtime()
    gateway = held.gateway
    counted, living = await held.metrics.all_told()
    stored = await gateway.answers.held(gateway.config)
    return json_reply(answer_cache.report(gateway, counted, living, stored), headers=[NO_CACHE])


def delete_cache() -> Json:
    """Forget every answer and every embedding, in every worker."""
    answers = runtime().gateway.answers
    removed = answers.count()
    with transact():
        over = answer_cache.empty()
    answers.clear(over)
    return {"status": "cleared", "removed": removed}
