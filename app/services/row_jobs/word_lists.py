"""The lists that judge addresses and sites: files of names, read once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

DATA: Final = Path(__file__).parent / "data"


@cache
def ordered(file: str) -> tuple[str, ...]:
    """The names in a file of the data folder, the most common first; lines that begin with # are for people."""
    lines = (DATA / f"{file}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(name for line in lines if not line.startswith("#") for name in line.split())


@cache
def names(file: str) -> frozenset[str]:
    """The names in a file, to look one up."""
    return frozenset(ordered(file))


def listed(host: str, file: str) -> bool:
    """Whether a host, or a domain it lies in, is in a list."""
    labels = host.lower().rstrip(".").split(".")
    return any(".".join(labels[i:]) in names(file) for i in range(len(labels) - 1))
