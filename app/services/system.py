"""The server about itself: its version and how long it has run."""

from __future__ import annotations

import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version

UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


@cache
def release() -> str:
    """The version of the installed distribution."""
    try:
        return version("yardmaster")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0.0.0"


def uptime(started: float) -> str:
    """Time since a monotonic moment, as `2d 5h 30m`; seconds only in the first hour."""
    left, said = int(time.monotonic() - started), []
    for unit, seconds in UNITS:
        count, left = divmod(left, seconds)
        if count and len(said) < 3:  # noqa: PLR2004
            said.append(f"{count}{unit}")
    return " ".join(said) or "0s"
