"""The second factor: codes from an authenticator app (TOTP, RFC 6238), and backup codes for when it is lost."""

from __future__ import annotations

import hmac
import secrets as random
from base64 import b32decode, b32encode
from dataclasses import dataclass, field
from time import time

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from sqlalchemy import delete, or_, update

from app.problems import conflict
from app.security.keys import fingerprint, fingerprints
from app.security.sealing import seal, unseal
from app.security.secrets import Secrets
from models.base import now, session
from models.identity import User
from models.sessions import BackupCode

STEP_S, DIGITS, DRIFT = 30, 6, 1
BACKUP_CODES = 10
# No letter or digit that reads like another.
ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
ISSUER = "Yardmaster"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator app is told, as text and as the URL of a QR code."""

    secret: str = field(repr=False)
    url: str = field(repr=False)


def set_up(user: User, secrets: Secrets) -> Enrolment:
    """A new secret, in force once a code from it was shown; a 409 Problem when a second factor is on already."""
    if user.mfa_enabled:
        raise conflict("A second factor is already on; disable it first")
    secret = random.token_bytes(20)
    text = b32encode(secret).decode()
    user.mfa_secret, user.mfa_counter = seal(text, owner_of(user.id), secrets), None
    return Enrolment(text, _totp(secret).get_provisioning_uri(user.email, ISSUER))


def enable(user: User, code: str, secrets: Secrets) -> list[str] | None:
    """Turn the second factor on: ten backup codes, shown once; None when the code is wrong."""
    if user.mfa_enabled or user.mfa_secret is None:
        raise conflict("There is nothing to enable; ask for a new secret first")
    if not _is_current(user, code, secrets):
        return None
    user.mfa_enabled = True
    return _new_backup_codes(user.id, secrets)


def disable(user: User) -> None:
    """Turn the second factor off and forget its secret and backup codes."""
    user.mfa_enabled, user.mfa_secret, user.mfa_counter = False, None, None
    session().execute(delete(BackupCode).where(BackupCode.user_id == user.id))


def passes(user: User, code: str, secrets: Secrets) -> bool:
    """Whether the code proves the second factor. Each works once; hold the user while asking."""
    return _is_current(user, code, secrets) or _spend_backup(user.id, code, secrets)


def owner_of(user_id: int) -> str:
    """What binds the sealed secret to its user."""
    return f"user:{user_id}:mfa"


def _is_current(user: User, code: str, secrets: Secrets) -> bool:
    """Whether an app one step early or late would show the code; the step is then used up, with those before it."""
    if user.mfa_secret is None or len(code) != DIGITS:
        return False
    totp = _totp(b32decode(unseal(user.mfa_secret, owner_of(user.id), secrets)))
    present = int(time()) // STEP_S
    steps = range(present - DRIFT, present + DRIFT + 1)
    shown = [step for step in steps if hmac.compare_digest(totp.generate(step * STEP_S), code.encode())]
    return bool(shown) and _use_up(user.id, shown[0])


def _use_up(user_id: int, step: int) -> bool:
    later = or_(User.mfa_counter.is_(None), User.mfa_counter < step)
    unused = update(User).where(User.id == user_id, later).values(mfa_counter=step)
    return session().execute(unused.returning(User.id)).first() is not None


def _new_backup_codes(user_id: int, secrets: Secrets) -> list[str]:
    session().execute(delete(BackupCode).where(BackupCode.user_id == user_id))
    codes = ["".join(random.choice(ALPHABET) for _ in range(10)) for _ in range(BACKUP_CODES)]
    hashes = (fingerprint(_bound(user_id, code), secrets.pepper) for code in codes)
    session().add_all(BackupCode(user_id=user_id, code_hash=digest) for digest in hashes)
    return [f"{code[:5]}-{code[5:]}" for code in codes]


def _spend_backup(user_id: int, code: str, secrets: Secrets) -> bool:
    plain = code.strip().lower().replace("-", "")
    digests = fingerprints(_bound(user_id, plain), secrets)
    unused = update(BackupCode).where(
        BackupCode.user_id == user_id, BackupCode.code_hash.in_(digests), BackupCode.used_at.is_(None)
    )
    return session().execute(unused.values(used_at=now()).returning(BackupCode.id)).first() is not None


def _bound(user_id: int, code: str) -> str:
    return f"backup:{user_id}:{code}"


def _totp(secret: bytes) -> TOTP:
    return TOTP(secret, DIGITS, SHA1(), STEP_S)  # noqa: S303 (what authenticator apps know; RFC 6238 §1.2)
