"""People's SSH keys, for every box they can reach."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_key,
)
from sqlalchemy import Select, delete, func, select
from sqlalchemy.exc import IntegrityError

from app.problems import Issue, conflict, invalid, not_found
from models.base import session
from models.sessions import SshKey

FORMS = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
LEAST_RSA_BITS = 2048
MOST_KEYS = 100


def of_user(user_id: int) -> Select[SshKey]:
    """A user's keys."""
    return select(SshKey).where(SshKey.user_id == user_id)


def add(user_id: int, name: str, text: str) -> SshKey:
    """Store a key; Problem 400 when it is none that sshd takes, 409 when somebody has it already."""
    line, fingerprint = _read(text)
    if (session().scalar(select(func.count()).select_from(of_user(user_id).subquery())) or 0) >= MOST_KEYS:
        raise conflict(f"An account has {MOST_KEYS} SSH keys at most; delete one first")
    row = SshKey(user_id=user_id, name=name, public_key=line, fingerprint=fingerprint)
    try:
        with session().begin_nested():
            session().add(row)
    except IntegrityError:
        raise conflict("An SSH key with this publicKey exists", field="publicKey") from None
    return row


def remove(user_id: int, uid: str) -> None:
    """Forget a key; a 404 Problem when it is not this user's."""
    gone = delete(SshKey).where(SshKey.user_id == user_id, SshKey.uid == uid.lower())
    if session().execute(gone.returning(SshKey.id)).first() is None:
        raise not_found("SSH key")


def _read(text: str) -> tuple[str, str]:
    """The key as one line without options or control characters, and its fingerprint as `ssh-keygen -l` writes it."""
    parts = text.split()
    try:
        key = load_ssh_public_key(" ".join(parts[:2]).encode())
        line = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    except (ValueError, UnsupportedAlgorithm):
        raise _unfit() from None
    form, blob = line.split()
    if form not in FORMS or (isinstance(key, RSAPublicKey) and key.key_size < LEAST_RSA_BITS):
        raise _unfit()
    digest = hashlib.sha256(b64decode(blob)).digest()
    return " ".join([line, *parts[2:]])[:8192], "SHA256:" + b64encode(digest).decode().rstrip("=")


def _unfit() -> Exception:
    return invalid(Issue(("body", "publicKey"), "format", "public key"))
