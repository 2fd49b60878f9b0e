"""Where artifacts are kept: an interface that hands out addresses, and the store in the data directory."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets as random
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from app.security.presigned import presign
from app.security.secrets import Secrets

# The largest file that is taken: 100 MB.
LARGEST = 100 * 1024 * 1024
BLOCK = 1024 * 1024


class TooLargeError(Exception):
    """More was sent than the store takes."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how a file is sent."""

    url: str = field(repr=False)
    method: str = "PUT"
    headers: Mapping[str, str] = field(default_factory=dict)


class ArtifactStore(Protocol):
    """What keeps files by key. A box sends to it and people fetch from it by addresses that carry their permission."""

    def upload_target(self, uid: str, expires_at: datetime) -> Target:
        """Where the file of this artifact is sent, until then."""

    def download_url(self, uid: str, expires_at: datetime) -> str:
        """Where the file of this artifact is fetched, until then."""

    def keep(self, key: str, size: int, sha256: str) -> bool:
        """Make what was sent under the key permanent if it has this size and hash, else throw it away; whether it has.

        True too when exactly that is kept already: the caller may not have learned of it.
        """

    def discard(self, key: str) -> None:
        """Forget whatever was sent or kept under the key."""


def content_path(uid: str) -> str:
    """Where this server takes and gives the file of an artifact."""
    return f"/api/artifacts/{uid}/content"


class LocalStore:
    """Files in the data directory: `incoming` may be sent again, `kept` never changes; both move by renaming alone."""

    def __init__(self, folder: Path, base_url: str, secrets: Secrets) -> None:
        self._incoming, self._kept = folder / "incoming", folder / "kept"
        self._base_url = base_url
        self._secrets = secrets

    def upload_target(self, uid: str, expires_at: datetime) -> Target:
        """An address of this server."""
        headers = {"Content-Type": "application/octet-stream"}
        return Target(self._base_url + presign("PUT", content_path(uid), expires_at, self._secrets), headers=headers)

    def download_url(self, uid: str, expires_at: datetime) -> str:
        """An address of this server."""
        return self._base_url + presign("GET", content_path(uid), expires_at, self._secrets)

    async def receive(self, key: str, pieces: AsyncIterator[bytes]) -> int:
        """Write what is sent, a megabyte at a time, and put it in its place when it is whole; its size in bytes.

        Raises TooLargeError as soon as more than `LARGEST` came. What breaks off leaves nothing behind.
        """
        place = self._incoming / key
        draft = place.with_name(f"{place.name}.{random.token_hex(8)}.part")
        await asyncio.to_thread(_make_folder, place.parent)
        try:
            size = await _write(draft, pieces)
            await asyncio.to_thread(draft.replace, place)
        finally:
            with suppress(FileNotFoundError):
                await asyncio.to_thread(draft.unlink)
        return size

    def keep(self, key: str, size: int, sha256: str) -> bool:
        """Taken away first, so that nobody can exchange it while it is looked at; reads the file once, by blocks."""
        taken = self._incoming / f"{key}.{random.token_hex(8)}.taken"
        try:
            (self._incoming / key).replace(taken)
        except FileNotFoundError:
            return _is(self._kept / key, size, sha256)
        if not _is(taken, size, sha256):
            taken.unlink()
            return False
        place = self._kept / key
        _make_folder(place.parent)
        taken.replace(place)
        _sync(place.parent)
        return True

    def discard(self, key: str) -> None:
        """Drafts of broken-off uploads included."""
        (self._kept / key).unlink(missing_ok=True)
        place = self._incoming / key
        for found in place.parent.glob(f"{place.name}*"):
            found.unlink(missing_ok=True)
        with suppress(OSError):  # another artifact of the job is still there
            place.parent.rmdir()

    def open(self, key: str) -> BinaryIO:
        """What is kept under the key; FileNotFoundError when nothing is."""
        return self.place(key).open("rb")

    def place(self, key: str) -> Path:
        """Where what is kept under the key lies."""
        return self._kept / key


async def _write(draft: Path, pieces: AsyncIterator[bytes]) -> int:
    size, held = 0, bytearray()
    with draft.open("xb") as file:
        async for piece in pieces:
            size += len(piece)
            if size > LARGEST:
                raise TooLargeError
            held += piece
            if len(held) >= BLOCK:
                await asyncio.to_thread(file.write, bytes(held))
                held.clear()
        await asyncio.to_thread(_finish, file, bytes(held))
    return size


def _finish(file: BinaryIO, rest: bytes) -> None:
    file.write(rest)
    file.flush()
    os.fsync(file.fileno())


def _is(path: Path, size: int, sha256: str) -> bool:
    """Whether there is such a file, of this size and hash; it is read by blocks, and only if its size is right."""
    if not path.is_file() or path.stat().st_size != size:
        return False
    with path.open("rb") as file:
        return hmac.compare_digest(hashlib.file_digest(file, "sha256").hexdigest(), sha256)


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _sync(folder: Path) -> None:
    """A rename is on disk once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
