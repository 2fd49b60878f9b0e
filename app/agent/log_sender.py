"""Sends a job's lines in batches, in order, as long as it takes; tells when the server wants no more."""

from __future__ import annotations

import queue
import threading
import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from app.agent.identity import AgentError
from app.agent.link import Link, StoppedError

MOST, MOST_BYTES = 500, 1024 * 1024
EVERY_S = 0.3
# What is written while the server is away waits here; beyond it the command waits too.
WAITING = 5_000


class LogSender:
    """A thread with a queue. `over` is set when the server says that the job is; `status` is then how."""

    def __init__(self, link: Link, job_id: str, over: threading.Event) -> None:
        self._link = link
        self._path = f"/api/box/jobs/{job_id}/logs"
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(WAITING)
        self._lock = threading.Lock()
        self._next = 0
        self._over = over
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def say(self, stream: str, line: str) -> None:
        """One more line; numbered in the order of the calls."""
        if self._over.is_set():
            return
        with self._lock:
            moment = datetime.now(UTC).isoformat(timespec="milliseconds")
            self._queue.put({"sequenceNum": self._next, "stream": stream, "line": line, "timestamp": moment})
            self._next += 1

    def finish(self) -> None:
        """Return when every line is stored, or nobody wants them any more."""
        self._queue.put(None)
        self._thread.join()

    def _send(self) -> None:
        last = False
        while not last:
            batch, last = self._batch()
            if batch and not self._over.is_set():
                self._deliver(batch)

    def _deliver(self, batch: list[dict[str, Any]]) -> None:
        try:
            answer = self._link.post(self._path, {"chunks": batch})
        except (StoppedError, AgentError):
            self._over.set()
            return
        if answer.status_code in {HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND}:
            self._over.set()

    def _batch(self) -> tuple[list[dict[str, Any]], bool]:
        """The next lines, gathered for a moment; whether they are the last."""
        batch: list[dict[str, Any]] = []
        size, until = 0, 0.0
        while len(batch) < MOST and size < MOST_BYTES:
            try:
                item = self._queue.get(timeout=max(0.0, until - time.monotonic()) if batch else None)
            except queue.Empty:
                break
            if item is None:
                return batch, True
            until = until or time.monotonic() + EVERY_S
            batch.append(item)
            size += 4 * len(item["line"])
        return batch, False
