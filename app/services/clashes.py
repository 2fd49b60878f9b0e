"""What two things may not both have: a unique index decides, so that of two at once one is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import IntegrityError

from app.problems import Problem
from models.base import session


@contextmanager
def refusing(taken: Problem) -> Iterator[None]:
    """Writes what the block changed; raises `taken`, with nothing of it written, when an index refuses it."""
    try:
        with session().begin_nested():
            yield
    except IntegrityError:
        raise taken from None
