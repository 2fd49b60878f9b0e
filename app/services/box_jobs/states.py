"""The nine states of a job on a box and the one-way edges between them; no database, no clock."""

from __future__ import annotations

from collections.abc import Mapping

QUEUED, WAITING = "queued", "waiting_for_box"
DISPATCHING, RUNNING, UPLOADING = "dispatching", "running", "uploading_artifacts"
COMPLETED, FAILED, CANCELLED, TIMED_OUT = "completed", "failed", "cancelled", "timed_out"

# A job stands still before a box takes it, is at work on a box, or is over.
OPEN = (QUEUED, WAITING)
ACTIVE = (DISPATCHING, RUNNING, UPLOADING)
TERMINAL = (COMPLETED, FAILED, CANCELLED, TIMED_OUT)
STATES = OPEN + ACTIVE + TERMINAL

# A job that waits cannot run out of time: its clock starts when a box takes it.
EDGES: Mapping[str, frozenset[str]] = {
    QUEUED: frozenset({WAITING, DISPATCHING, CANCELLED, FAILED}),
    WAITING: frozenset({DISPATCHING, CANCELLED, FAILED}),
    DISPATCHING: frozenset({RUNNING, FAILED, CANCELLED, TIMED_OUT}),
    RUNNING: frozenset({UPLOADING, COMPLETED, FAILED, CANCELLED, TIMED_OUT}),
    UPLOADING: frozenset({COMPLETED, FAILED, CANCELLED, TIMED_OUT}),
    **dict.fromkeys(TERMINAL, frozenset()),
}


def may_become(state: str, following: str) -> bool:
    """Whether an edge leads from one state to the other; none leads back, none out of an end, none to itself."""
    return following in EDGES[state]


def before(following: str) -> tuple[str, ...]:
    """The states a job may be in to become this one: what a conditional UPDATE asks for."""
    return tuple(state for state in STATES if following in EDGES[state])


def is_over(state: str) -> bool:
    """Whether nothing more can happen to a job in this state."""
    return not EDGES[state]


def outcome(exit_code: int) -> str:
    """How a command that ended so leaves its job: 0 is success, anything else is failure (-1: it could not run)."""
    return COMPLETED if exit_code == 0 else FAILED
