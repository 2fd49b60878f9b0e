"""The live feed's promise: everything, once, in order, to every listener, and nothing left behind by those who go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from app.problems import Problem
from app.services import live
from app.services.live import AT_ONCE, REMEMBERED, Feed, Memory
from app.services.rollups import store
from app.services.trace_record import TraceRecord, trace_id
from models.base import connect

Event = tuple[int, dict[str, Any]]


@pytest.fixture
def engine(database_url: str, settings: Any) -> Iterator[Engine]:
    """The test's database."""
    made = connect(settings.database)
    yield made
    made.dispose()


def calls(number: int, **fields: Any) -> list[TraceRecord]:
    """So many finished calls."""
    plain = {"created_at": 1_790_000_000_000_000, "request_id": "r", "operation": "chat", "provider": "p", "model": "m"}
    return [TraceRecord(**plain | {"id": trace_id(), "status": "ok"} | fields) for _ in range(number)]


async def read(stream: AsyncIterator[bytes], most: int) -> list[Event]:
    """The next events of a stream; comments are passed over."""
    events: list[Event] = []
    async with asyncio.timeout(10):
        while len(events) < most:
            for block in (await anext(stream)).decode().split("\n\n"):
                fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
                if "data" in fields:
                    events.append((int(fields["id"]), json.loads(fields["data"])))
    return events


def names(events: list[Event]) -> list[str]:
    """The calls' ids."""
    return [event["id"] for _, event in events]


@given(st.lists(st.integers(1, 30), max_size=12), st.integers(1, 10), st.data())
def test_memory_gives_what_follows_or_says_that_it_cannot(batches: list[int], size: int, data: st.DataObject) -> None:
    """A gap would be a call the operator never sees."""
    memory, seq = Memory(size), 100
    memory.begin(seq)
    for batch in batches:
        memory.add([(seq + n, b"%d" % (seq + n)) for n in range(1, batch + 1)])
        seq += batch
        assert len(memory._frames) <= 2 * size + 30
    position = data.draw(st.integers(90, seq + 5))
    got = memory.after(position)
    if got is None:
        assert position < seq - size or position < 100
    else:
        assert [n for n, _ in got] == list(range(position + 1, seq + 1))[:AT_ONCE]


async def test_every_listener_gets_every_call_once_and_in_order(engine: Engine) -> None:
    """Whoever watches sees the same traffic."""
    feed = Feed(engine)
    async with aclosing(await feed.open()) as one, aclosing(await feed.open()) as two:
        assert [(await read(s, 1))[0][1] for s in (one, two)] == [{"type": "connected"}] * 2
        sent = [*calls(40, cost_nano=250_000_000, duration_us=1500, tokens_in=2), *calls(1, status="cache_hit")]
        await asyncio.to_thread(store, engine, sent)
        seen = await read(one, 41)
        assert names(seen) == [r.id for r in sent]
        assert seen == await read(two, 41)
    shown = {"tokens": 2, "cost": 0.25, "latency": 1, "cache_hit": False, "status": "ok", "type": "request_logged"}
    assert shown.items() <= seen[0][1].items()
    assert seen[-1][1].items() >= {"cost": None, "cache_hit": True}.items()


async def test_a_listener_that_returns_misses_nothing_and_sees_nothing_twice(engine: Engine) -> None:
    """A laptop that slept shows the same list as one that did not."""
    feed = Feed(engine)
    async with aclosing(await feed.open()) as stream:
        await read(stream, 1)
        sent = calls(90)
        await asyncio.to_thread(store, engine, sent[:50])
        seen = await read(stream, 20)
    await asyncio.to_thread(store, engine, sent[50:])
    async with aclosing(await Feed(engine).open(seen[-1][0])) as stream:
        [connected, *rest] = await read(stream, 91 - len(seen))
    assert connected == (seen[-1][0], {"type": "connected"})
    assert names(seen) + names(rest) == [r.id for r in sent]


async def test_a_slow_listener_is_given_everything_from_the_table(engine: Engine) -> None:
    """A client on a bad line costs the server nothing and loses nothing."""
    feed = Feed(engine)
    sent = calls(3 * REMEMBERED)
    async with aclosing(await feed.open()) as slow, aclosing(await feed.open()) as quick:
        await asyncio.gather(read(slow, 1), read(quick, 1))
        await asyncio.to_thread(store, engine, sent)
        await read(quick, len(sent))
        assert len(feed._memory._frames) <= 2 * REMEMBERED
        assert names(await read(slow, len(sent))) == [r.id for r in sent]


async def test_a_listener_with_nothing_seen_yet_still_resumes(engine: Engine) -> None:
    """The first event has an id, so that calls during a reconnect are not lost."""
    async with aclosing(await Feed(engine).open()) as stream:
        [(position, _)] = await read(stream, 1)
    sent = calls(2)
    await asyncio.to_thread(store, engine, sent)
    async with aclosing(await Feed(engine).open(position)) as stream:
        assert names((await read(stream, 3))[1:]) == [r.id for r in sent]


async def test_an_id_from_another_life_means_now(engine: Engine) -> None:
    """After a restored backup a dashboard must not wait for ever."""
    async with aclosing(await Feed(engine).open(10**9)) as stream:
        await read(stream, 1)
        sent = calls(1)
        await asyncio.to_thread(store, engine, sent)
        assert names(await read(stream, 1)) == [sent[0].id]


async def test_the_reader_runs_only_while_somebody_listens(engine: Engine) -> None:
    """An idle server asks its database nothing."""
    feed = Feed(engine)
    streams = [await feed.open() for _ in range(3)]
    for stream in streams:
        await read(stream, 1)
    reader = feed._reader
    assert feed.listeners == 3
    for stream in streams:
        assert reader is not None
        assert not reader.done()
        await stream.aclose()  # type: ignore[attr-defined]
    await asyncio.wait({reader}, timeout=5)
    assert (feed.listeners, feed._reader, reader.done()) == (0, None, True)


async def test_too_many_listeners_are_told_so(engine: Engine) -> None:
    """A full house is a clear answer, not a slow death."""
    feed = Feed(engine, most=1)
    async with aclosing(await feed.open()) as stream:
        await read(stream, 1)
        with pytest.raises(Problem) as refusal:
            await feed.open()
    assert (refusal.value.status, refusal.value.headers["retry-after"]) == (503, "30")
    async with aclosing(await feed.open()) as stream:
        assert await read(stream, 1)


async def test_silence_is_broken_by_signs_of_life(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in between must not take a quiet night for a dead line."""
    monkeypatch.setattr(live, "BEAT_S", 0.3)
    async with aclosing(await Feed(engine).open()) as stream:
        await read(stream, 1)
        async with asyncio.timeout(5):
            while await anext(stream) != live.BEAT:
                pass


async def test_a_stopping_server_ends_its_streams_with_a_last_event(engine: Engine) -> None:
    """A browser told of the end reconnects at once; one that is cut off guesses."""
    feed = Feed(engine)
    stream = await feed.open()
    await read(stream, 1)
    asyncio.get_running_loop().call_later(0.1, feed.close)
    [(_, last)] = await read(stream, 1)
    assert last == {"type": "closing"}
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    with pytest.raises(Problem):
        await feed.open()


async def test_a_database_away_for_a_moment_ends_no_stream(engine: Engine) -> None:
    """A restart of the database is not a reason to lose every dashboard."""
    async with aclosing(await Feed(engine).open()) as stream:
        await read(stream, 1)
        for before, after in (("traces", "away"), ("away", "traces")):
            with engine.begin() as connection:
                connection.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))
            await asyncio.sleep(0.6)
        sent = calls(1)
        await asyncio.to_thread(store, engine, sent)
        assert names(await read(stream, 1)) == [sent[0].id]
