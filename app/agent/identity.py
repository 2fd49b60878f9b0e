"""Who a box is to its server: the address and the key, kept in one private file."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import requests

TIMEOUT_S = 30


class AgentError(Exception):
    """The agent cannot go on; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Where the server is, what proves who is asking, and how often to say that one is alive."""

    url: str
    key: str = field(repr=False)
    interval_s: float = 30.0


def enrol(url: str, token: str, file: Path) -> Identity:
    """Exchange the token of a box's setup for its key, and keep that; AgentError when the server refuses."""
    name = "".join(c for c in socket.gethostname() if c.isascii() and (c.isalnum() or c in "._-"))
    body = {"token": token} | ({"hostname": name[:253]} if name else {})
    try:
        answer = requests.post(f"{url}/api/box/enroll", json=body, timeout=TIMEOUT_S)
    except requests.RequestException as error:
        raise AgentError(f"{url} cannot be reached ({type(error).__name__})") from None
    if answer.status_code != HTTPStatus.CREATED:
        raise AgentError(f"the server refused the token: {_said(answer)}")
    control = answer.json()["controlPlane"]
    identity = Identity(url, control["api_key"], float(control["heartbeat_interval_seconds"]))
    save(identity, file)
    return identity


def save(identity: Identity, file: Path) -> None:
    """Keep it where only its owner can read it; there before this returns, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = {"url": identity.url, "api_key": identity.key, "heartbeat_interval_seconds": identity.interval_s}
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump(kept | {"enabled": True}, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)


def load(file: Path, url: str = "") -> Identity:
    """What was kept, at another address if one is given; AgentError when there is nothing that can be read."""
    try:
        kept = json.loads(file.read_text())
        return Identity(
            url or str(kept["url"]), str(kept["api_key"]), float(kept.get("heartbeat_interval_seconds", 30))
        )
    except FileNotFoundError:
        raise AgentError(f"there is no {file}; enrol this box with --url and --token") from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise AgentError(f"{file} cannot be read ({type(error).__name__}); enrol this box anew with --token") from None


def _said(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"
