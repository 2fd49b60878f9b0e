"""Files on their way: presigned addresses checked, uploads taken in pieces, downloads given in blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from sqlalchemy import select
from sqlalchemy.orm import undefer

from app.problems import Problem, forbidden, not_found
from app.runtime import Runtime, runtime
from app.security.presigned import Given, permits
from app.services.box_jobs import artifacts
from app.services.storage import BLOCK, LARGEST, LocalStore, TooLargeError
from app.wire.replies import Disconnected, RawHeaders, Receive, too_large
from models.base import now, session, transaction
from models.box_jobs import Artifact, BoxJob, BoxJobFile
from models.identity import User

FOLDER = "artifacts"
ANY_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that is kept: opened, and what tells of it."""

    file: BinaryIO
    headers: RawHeaders


def store_of(held: Runtime) -> LocalStore:
    """Where this server keeps artifacts."""
    return LocalStore(held.settings.data / FOLDER, held.settings.base_url, held.secrets)


def of_orgs(_user: User, orgs: Sequence[int]) -> list[Path]:
    """The files of the artifacts of these orgs (by number), for who erases them."""
    keys = select(Artifact.storage_key).join(BoxJob, BoxJob.id == Artifact.job_id).where(BoxJob.org_id.in_(orgs))
    store = store_of(runtime())
    return [store.place(key) for key in session().scalars(keys)]


def admit(held: Runtime, method: str, path: str, given: Given) -> None:
    """A 403 Problem unless the address was made here for this, and still works."""
    if not permits(method, path, given, now(), held.secrets):
        raise forbidden("This address was not made by this server, or has expired")


async def receive(held: Runtime, uid: str, incoming: Receive) -> int:
    """Take an artifact's file; its size. Problem 409 when none is waited for, 413 when it is too large."""
    key = await asyncio.to_thread(_expected, held, uid)
    try:
        return await store_of(held).receive(key, _pieces(incoming))
    except TooLargeError:
        raise too_large(LARGEST) from None


def opened(held: Runtime, uid: str) -> Kept:
    """An artifact's file; a 404 Problem when it is not there."""
    with transaction(held.engine, write=False):
        artifact = artifacts.uploaded(uid)
    if artifact is None:
        raise not_found("Artifact")
    try:
        file = store_of(held).open(artifact.storage_key)
    except FileNotFoundError:
        raise not_found("Artifact") from None
    etag = (b"etag", f'"{artifact.checksum}"'.encode())
    return Kept(file, [*_headers(artifact.name, artifact.content_type, artifact.size or 0), etag])


def brought(held: Runtime, uid: str) -> tuple[bytes, RawHeaders]:
    """A file that a job brings along; a 404 Problem when there is none."""
    with transaction(held.engine, write=False):
        known = select(BoxJobFile).where(BoxJobFile.uid == uid.lower()).options(undefer(BoxJobFile.content))
        row = session().scalar(known)
    if row is None:
        raise not_found("File")
    return row.content, _headers(row.path, ANY_TYPE, len(row.content))[:-1]


async def blocks(file: BinaryIO) -> AsyncIterator[bytes]:
    """The file from beginning to end, never whole in memory; closed when that is over or nobody reads on."""
    try:
        while block := await asyncio.to_thread(file.read, BLOCK):
            yield block
    finally:
        file.close()


def _expected(held: Runtime, uid: str) -> str:
    with transaction(held.engine, write=False):
        key = artifacts.expected(uid)
    if key is None:
        raise Problem(409, "No file is waited for here: it is uploaded already, or its job is not at work")
    return key


async def _pieces(incoming: Receive) -> AsyncIterator[bytes]:
    """The body as it comes; Disconnected when it breaks off."""
    more = True
    while more:
        message = await incoming()
        if message["type"] == "http.disconnect":
            raise Disconnected
        more = message.get("more_body", False)
        yield message.get("body", b"")


def _headers(path: str, media_type: str, size: int) -> RawHeaders:
    """To be saved under its name and never shown: a job may have made a page that acts as ours (RFC 6266, nosniff)."""
    name = path.rpartition("/")[2]
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return [
        (b"content-type", media_type.encode()),
        (b"content-disposition", disposition.encode()),
        (b"content-security-policy", b"sandbox; default-src 'none'"),
        (b"cache-control", b"private, no-store"),
        (b"content-length", b"%d" % size),
    ]
