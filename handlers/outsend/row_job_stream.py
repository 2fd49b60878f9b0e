"""What flows: the progress of a job while it runs, and its result as a file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial

from app.runtime import runtime
from app.services.row_jobs import lifecycle, results
from app.services.row_jobs.exports import MEDIA_TYPES
from app.services.row_jobs.stream import Wanted, streams_of
from app.wire.call import Call
from app.wire.replies import Reply
from models.base import transaction

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


async def stream_row_job(call: Call, id_: str, after: int | None, last_event_id: str | None) -> Reply:
    """Follow a job."""
    held = runtime()
    seen_job, _, seq = (last_event_id or "").rpartition(":")
    position = int(seq) if seen_job == id_ else after
    admit = partial(held.authenticator.admit, call.operation, call.headers, call.path)
    wanted = Wanted(call.principal.user_id or 0, id_, position, admit)
    return Reply(200, STREAM_HEADERS, chunks=await streams_of(held).open(wanted))


async def download_row_job(call: Call, id_: str, format_: str) -> Reply:
    """Download a result."""
    made, size, name = await asyncio.to_thread(_made, call.principal.user_id or 0, id_, format_)
    headers = [
        (b"content-type", MEDIA_TYPES[format_].encode()),
        (b"content-disposition", f'attachment; filename="{name}"'.encode()),
        (b"content-length", str(size).encode()),
        (b"cache-control", b"no-store"),
    ]
    return Reply(200, headers, chunks=_flowing(made))


def _made(user_id: int, uid: str, format_: str) -> tuple[Iterator[bytes], int, str]:
    held = runtime()
    with transaction(held.engine, write=False):
        job = lifecycle.get(user_id, uid)
    results.refuse_unready(job)
    file = results.make(held.engine, job, format_, held.settings.data)
    size = file.seek(0, 2)
    file.seek(0)
    return results.pieces(file), size, results.filename(job, format_)


async def _flowing(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(next, pieces, b""):
        yield piece
