"""The agent's line to its server: requests that are repeated until they are answered, with growing pauses."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import requests

from app.agent.identity import AgentError, Identity

CONNECT_S, ANSWER_S = 10, 60
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 15.0
# What a server that dies or is away does to a request; an address that is none is no such trouble.
TROUBLE = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT})


class StoppedError(Exception):
    """The agent is to end, and there is no answer."""


class Link:
    """One thread's connection. Everything it sends may be repeated: the server counts nothing twice."""

    def __init__(self, identity: Identity, stop: threading.Event) -> None:
        self._identity = identity
        self._stop = stop
        self._session = requests.Session()
        self._session.headers["X-API-Key"] = identity.key

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, patience_s: float | None = None
    ) -> requests.Response:
        """The answer, whatever it is but trouble of the server; AgentError when the key is not taken.

        Tries for ever, or for `patience_s` seconds; StoppedError when the agent is to end, or the patience is.
        """
        options: dict[str, Any] = {} if body is None else {"json": body}
        address, times = self._identity.url + path, (CONNECT_S, ANSWER_S)
        answer = self._answered(lambda: self._session.post(address, timeout=times, **options), patience_s)
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            raise AgentError("the server does not take this box's key any more; enrol it anew with --token")
        return answer

    def fetch(self, url: str) -> requests.Response:
        """A file at a presigned address, which may be another host's: the box's key is not sent there."""
        return self._answered(lambda: requests.get(url, timeout=(CONNECT_S, ANSWER_S)), None)

    def _answered(self, send: Callable[[], requests.Response], patience_s: float | None) -> requests.Response:
        until = None if patience_s is None else time.monotonic() + patience_s
        pause = FIRST_PAUSE_S
        while True:
            answer = _tried(send)
            if answer is not None and not _is_trouble(answer):
                return answer
            wait = max(pause, _asked_to_wait(answer)) * random.uniform(0.5, 1.0)  # noqa: S311 (so that boxes do not come at once)
            if until is not None and time.monotonic() + wait > until:
                raise StoppedError
            if self._paused(wait, forever=until is None):
                raise StoppedError
            pause = min(pause * 2, LONGEST_PAUSE_S)

    def _paused(self, seconds: float, *, forever: bool) -> bool:
        """Whether the agent is to end meanwhile; what has a patience of its own goes on then."""
        if forever:
            return self._stop.wait(seconds)
        time.sleep(seconds)
        return False

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()


def _tried(send: Callable[[], requests.Response]) -> requests.Response | None:
    try:
        return send()
    except TROUBLE:
        return None


def _is_trouble(answer: requests.Response) -> bool:
    return answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status_code in BUSY


def _asked_to_wait(answer: requests.Response | None) -> float:
    told = answer.headers.get("retry-after", "") if answer is not None else ""
    return min(float(told), 60.0) if told.isdigit() else 0.0
