"""Signatures by which a receiver knows our messages: Standard Webhooks, and the header of one dialect's receivers."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from datetime import datetime
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
LEAST_BYTES, MOST_BYTES = 24, 64
ID, STAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
NAMED: Final = re.compile(r"[!-~]{1,200}")
SECONDS: Final = re.compile(r"[0-9]{1,12}")
TOLERANCE_S: Final = 300
# While a secret is exchanged, a message is signed with both.
MOST_SIGNATURES: Final = 10


def new_secret() -> str:
    """A secret of 32 random bytes, as Standard Webhooks writes it."""
    return PREFIX + b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def is_secret(text: str) -> bool:
    """Whether this is `whsec_` and the base64 of 24 to 64 bytes."""
    try:
        return text.startswith(PREFIX) and LEAST_BYTES <= len(_key(text)) <= MOST_BYTES
    except NotBase64:
        return False


def headers(secret: str, message: str, body: bytes, moment: datetime) -> dict[str, str]:
    """The headers that prove a message to be ours, and to be of this moment (standard-webhooks.md, "Signature scheme").

    `X-Stockyard-Signature` signs the body alone, as that system's receivers expect it; it does not stop replays.
    """
    at = str(int(moment.timestamp()))
    old = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    told = {ID: message, STAMP: at, SIGNATURE: _signature(secret, message, at, body)}
    return told | {"X-Stockyard-Signature": f"sha256={old}"}


def is_signed(secret: str, headers: Mapping[str, str], body: bytes, moment: datetime) -> bool:
    """Whether one of a message's signatures is of this secret, made within five minutes of the moment."""
    message, at = headers.get(ID, ""), headers.get(STAMP, "")
    if not NAMED.fullmatch(message) or not SECONDS.fullmatch(at) or abs(moment.timestamp() - int(at)) > TOLERANCE_S:
        return False
    wanted = _signature(secret, message, at, body).encode()
    given = headers.get(SIGNATURE, "").encode("latin-1", "replace").split()[:MOST_SIGNATURES]
    return any([hmac.compare_digest(one, wanted) for one in given])  # noqa: C419 (as long for any of them)


def _signature(secret: str, message: str, at: str, body: bytes) -> str:
    signed = hmac.digest(_key(secret), f"{message}.{at}.".encode() + body, hashlib.sha256)
    return f"v1,{b64encode(signed).decode()}"


def _key(secret: str) -> bytes:
    return b64decode(secret.removeprefix(PREFIX), validate=True)
