"""Signatures by which a receiver knows our messages: Standard Webhooks, and the header of one dialect's receivers."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from datetime import datetime
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
LEAST_BYTES, MOST_BYTES = 24, 64


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
    signed = hmac.digest(_key(secret), f"{message}.{at}.".encode() + body, hashlib.sha256)
    old = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    told = {"webhook-id": message, "webhook-timestamp": at, "webhook-signature": f"v1,{b64encode(signed).decode()}"}
    return told | {"X-Stockyard-Signature": f"sha256={old}"}


def _key(secret: str) -> bytes:
    return b64decode(secret.removeprefix(PREFIX), validate=True)
