"""The server's own secrets: the pepper, the sealing keyring and the first admin key, kept in the data directory."""

from __future__ import annotations

import json
import os
import secrets as random
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from pathlib import Path

FILE = "secrets.json"


class SecretsError(Exception):
    """The secrets file cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """`pepper` keys the fingerprints of credentials; `keyring` seals under `current`; `signing` signs under `signer`."""

    pepper: bytes = field(repr=False)
    keyring: dict[str, bytes] = field(repr=False)
    current: str
    signing: dict[str, bytes] = field(default_factory=dict, repr=False)
    signer: str = "s1"


def load_or_create(data: Path) -> Secrets:
    """The secrets of this data directory, made on first use (mode 0600) by exactly one process."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = data / FILE
    if not path.exists():
        _create(path)
    return _read(path)


def _create(path: Path) -> None:
    made = {
        "pepper": _text(random.token_bytes(32)),
        "current": "k1",
        "keyring": {"k1": _text(random.token_bytes(32))},
        "signer": "s1",
        "signing": {"s1": _text(random.token_bytes(32))},
    }
    draft = path.with_name(f".{FILE}.{os.getpid()}.{random.token_hex(4)}")
    write_private(draft, json.dumps(made, indent=1))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first; its secrets count
    finally:
        draft.unlink()


def write_private(path: Path, text: str) -> None:
    """A file only its owner can read, on disk before this returns."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> Secrets:
    try:
        held = json.loads(path.read_text())
        keyring = {kid: b64decode(key) for kid, key in held["keyring"].items()}
        signing = {kid: b64decode(key) for kid, key in held["signing"].items()}
        return Secrets(b64decode(held["pepper"]), keyring, held["current"], signing, held["signer"])
    except (ValueError, KeyError, OSError) as error:
        raise SecretsError(f"{path} cannot be read ({type(error).__name__}); restore it from a backup") from None


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()
