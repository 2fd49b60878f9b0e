"""The deadline: a timeout where its own cancellation ended the wait, and nobody else's cancellation swallowed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from app.gateway.deadline import Deadline


async def test_what_takes_too_long_is_a_timeout_and_the_task_goes_on() -> None:
    """The lane tells a timeout from a client that hung up, and asks the next provider in the same task."""
    for _ in range(2):
        with pytest.raises(TimeoutError), Deadline(0.01):
            await asyncio.sleep(5)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_what_is_quick_is_left_alone() -> None:
    """And so is what comes after it."""
    with Deadline(0.02):
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)


async def test_an_error_is_not_taken_for_a_timeout() -> None:
    """Even when the time was over as it was raised: a broken connection is a broken connection."""

    async def fail_late() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(5)
        raise ConnectionError

    with pytest.raises(ConnectionError), Deadline(0.01):
        await fail_late()
    await asyncio.sleep(0)


@pytest.mark.parametrize("others", ["before", "with"])
async def test_a_cancellation_by_somebody_else_goes_on(others: str) -> None:
    """A client that hangs up in the very moment must not look like a slow provider, which would be asked again."""

    async def wait() -> None:
        with Deadline(0.05):
            await asyncio.sleep(5)

    task = asyncio.create_task(wait())
    loop = asyncio.get_running_loop()
    if others == "before":
        loop.call_later(0.01, task.cancel)
    else:
        await asyncio.sleep(0)
        loop.call_later(0.05, task.cancel)
        loop.call_later(0.01, _hold_up, 0.2)
    with pytest.raises(asyncio.CancelledError):
        await task


def _hold_up(seconds: float) -> None:
    """Keep the loop from its timers, so that the deadline and the other cancellation are due at once."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        pass


async def test_deadlines_nest() -> None:
    """The inner one's time is not the outer one's."""
    with Deadline(1):
        with pytest.raises(TimeoutError), Deadline(0.01):
            await asyncio.sleep(5)
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError), Deadline(0.01), Deadline(1):
        await asyncio.sleep(5)
