"""Rotates the server's secrets under running workers: each accepts the new one before anything uses it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.security.secrets import FILE, fresh, write_draft

Content = dict[str, Any]
# Makes every worker read the file again, and returns once they must have.
Announce = Callable[[], None]


def rotate_pepper(data: Path, announce: Announce) -> None:
    """New credentials are fingerprinted under a new pepper; old ones still count, and move over when next used."""
    with _alone(data) as path:
        new = fresh()
        _edit(path, lambda held: held | {"accepted_peppers": [new, *held.get("accepted_peppers", ())]})
        announce()
        _edit(path, lambda held: _promoted(held, new))
        announce()


def rotate_sealing(data: Path, announce: Announce) -> str:
    """What is sealed from now on is sealed under a new key, whose id this returns; the old keys still open."""
    with _alone(data) as path:
        kid = _next(json.loads(path.read_text())["keyring"])
        _edit(path, lambda held: held | {"keyring": held["keyring"] | {kid: fresh()}})
        announce()
        _edit(path, lambda held: held | {"current": kid})
        announce()
        return kid


def _promoted(held: Content, new: str) -> Content:
    others = [held["pepper"], *(pepper for pepper in held["accepted_peppers"] if pepper != new)]
    return held | {"pepper": new, "accepted_peppers": others}


def _next(keyring: Content) -> str:
    """`k3` after `k1` and `k2`."""
    return f"k{1 + max(int(kid.removeprefix('k')) for kid in keyring)}"


@contextmanager
def _alone(data: Path) -> Iterator[Path]:
    """The secrets file, while no other rotation is at work on it."""
    with (data / f".{FILE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield data / FILE


def _edit(path: Path, change: Callable[[Content], Content]) -> None:
    """Put a changed file in the place of the old one at once: a reader sees either, never half."""
    draft = write_draft(path, change(json.loads(path.read_text())))
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
