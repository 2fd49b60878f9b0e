"""The server's own secrets: peppers, the sealing keyring and the signing keys, kept in the data directory."""

from __future__ import annotations

import json
import logging
import os
import secrets as random
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

log = logging.getLogger("yardmaster.secrets")
FILE = "secrets.json"
KEY_BYTES = 32
Stamp = tuple[int, int, int]


class SecretsError(Exception):
    """The secrets file cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class _Held:
    peppers: tuple[bytes, ...] = field(repr=False)
    keyring: Mapping[str, bytes] = field(repr=False)
    current: str
    signing: Mapping[str, bytes] = field(repr=False)
    signer: str


class Secrets:
    """What the file holds, as one value that `refresh` replaces whole when the file was replaced.

    `pepper` keys the fingerprints of new credentials, `peppers` are all that are accepted, it first; `keyring` seals
    under `current`; `signing` signs under `signer`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._held = _read(path)

    def refresh(self) -> None:
        """Take over a replaced file; one that cannot be read is reported, and what is held stays."""
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._held, self._stamp = _read(self._path), stamp
        except SecretsError as error:
            log.error("%s", error)  # noqa: TRY400 (the traceback says nothing more)

    @property
    def pepper(self) -> bytes:
        """What new credentials are fingerprinted under."""
        return self._held.peppers[0]

    @property
    def peppers(self) -> tuple[bytes, ...]:
        """What a credential may be fingerprinted under."""
        return self._held.peppers

    @property
    def keyring(self) -> Mapping[str, bytes]:
        """Sealing keys by their ids."""
        return self._held.keyring

    @property
    def current(self) -> str:
        """The id of the key that seals."""
        return self._held.current

    @property
    def signing(self) -> Mapping[str, bytes]:
        """Signing keys by their ids."""
        return self._held.signing

    @property
    def signer(self) -> str:
        """The id of the key that signs."""
        return self._held.signer


def load_or_create(data: Path) -> Secrets:
    """The secrets of this data directory, made on first use (mode 0600) by exactly one process."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = data / FILE
    if not path.exists():
        _create(path)
    return Secrets(path)


def _create(path: Path) -> None:
    made = {
        "pepper": fresh(),
        "current": "k1",
        "keyring": {"k1": fresh()},
        "signer": "s1",
        "signing": {"s1": fresh()},
    }
    draft = write_draft(path, made)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first; its secrets count
    finally:
        draft.unlink()


def write_draft(path: Path, content: Mapping[str, Any]) -> Path:
    """The content as a private file beside `path`, ready to take its place."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{random.token_hex(4)}")
    write_private(draft, json.dumps(content, indent=1))
    return draft


def write_private(path: Path, text: str) -> None:
    """A file only its owner can read, on disk before this returns."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def fresh() -> str:
    """32 random bytes, as the file writes them."""
    return b64encode(random.token_bytes(KEY_BYTES)).decode()


def _stamp(path: Path) -> Stamp:
    try:
        stat = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _read(path: Path) -> _Held:
    try:
        held = json.loads(path.read_text())
        peppers = tuple(_key(text) for text in (held["pepper"], *held.get("accepted_peppers", ())))
        keyring = {kid: _key(text) for kid, text in held["keyring"].items()}
        signing = {kid: _key(text) for kid, text in held["signing"].items()}
        _ = keyring[held["current"]], signing[held["signer"]]
        return _Held(peppers, keyring, held["current"], signing, held["signer"])
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        raise _unreadable(path, error) from None


def _key(text: str) -> bytes:
    """Exactly the bytes that were made: a cut or emptied key must not protect anything."""
    raw = b64decode(text, validate=True)
    if len(raw) != KEY_BYTES:
        raise ValueError("a key of another length")
    return raw


def _unreadable(path: Path, error: Exception) -> SecretsError:
    return SecretsError(f"{path} cannot be read ({type(error).__name__}); restore it from a backup")
