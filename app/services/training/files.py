"""Files of training data: whole lines at every moment, put in place by renaming, whoever is killed meanwhile.

The database says which lines a file holds. A line it does not know, of a turn that was killed or of a user who is gone,
is left out as soon as the file is written again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Final

FOLDER: Final = "training"
DIGEST_BYTES: Final = 16


def place(data: Path, number: int) -> Path:
    """Where a file is, as its operator sees it."""
    return data / FOLDER / f"training-{number:06}.jsonl"


def digest(line: bytes) -> str:
    """What the database knows of a line."""
    return blake2b(line, digest_size=DIGEST_BYTES).hexdigest()


def size_of(path: Path) -> int | None:
    """Its size in bytes; None when somebody took it away."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def held(path: Path, digests: Iterable[str]) -> list[bytes]:
    """Those lines of the file that have these digests, each as often as it is among them."""
    left = Counter(digests)
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    found = []
    for line in lines:
        if left[known := digest(line)] > 0:
            left[known] -= 1
            found.append(line)
    return found


def strays(data: Path, last: int) -> list[Path]:
    """Files after the last one that is known, and drafts: a worker was killed before anybody knew of them."""
    found = sorted((data / FOLDER).glob(".*.draft"))
    while (path := place(data, last := last + 1)).exists():
        found.append(path)
    return found


def write(path: Path, lines: Iterable[bytes]) -> int:
    """Put a file with these lines in place; its size. Only its owner may read it. OSError when there is no room."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    with open(draft, "wb", opener=_private) as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return size


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
