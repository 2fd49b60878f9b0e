"""Names that a test answers itself: the one part of a connection a loopback has not."""

from __future__ import annotations

import socket
from typing import Any

import pytest


def resolving(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> list[str]:
    """Answer look-ups of these names, each answer once and the last for ever; which were asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        asked.append(host)
        answers = names.get(host)
        found = (answers.pop(0) if len(answers) > 1 else answers[0]) if answers else host
        return real(found, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked
