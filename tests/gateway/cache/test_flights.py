"""Calls alike at the same time: one asks, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import time

from app.gateway.cache.flights import Flights

LATER = 5.0


async def test_the_first_asks_and_the_others_wait_for_its_end() -> None:
    """Each once; a call with another key waits for nobody."""
    flights, until = Flights(), time.monotonic() + LATER
    assert not await flights.waited(b"k", "first", until)
    others = [asyncio.create_task(flights.waited(b"k", f"other {n}", until)) for n in range(3)]
    assert not await flights.waited(b"l", "else", until)
    await asyncio.sleep(0)
    assert not any(task.done() for task in others)
    flights.landed(b"k", "other 1")
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in others)
    flights.landed(b"k", "first")
    assert await asyncio.gather(*others) == [True] * 3
    assert list(flights.under_way) == [b"l"]


async def test_who_waited_long_enough_asks_and_is_waited_for() -> None:
    """A call that was lost track of holds up one call, once."""
    flights = Flights()
    assert not await flights.waited(b"k", "lost", time.monotonic() + LATER)
    assert not await flights.waited(b"k", "second", time.monotonic() + 0.01)
    third = asyncio.create_task(flights.waited(b"k", "third", time.monotonic() + LATER))
    await asyncio.sleep(0)
    flights.landed(b"k", "lost")
    flights.landed(b"k", "second")
    assert await third
    assert not flights.under_way
