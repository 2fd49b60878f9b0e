"""The cache's figures, and emptying it: right over two workers of one data directory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from app.factory import create
from app.settings import Settings
from models.audit import AuditEntry
from models.base import transaction
from support.callers import Caller, Client
from support.databases import Template
from support.envelopes import Refusals
from support.people import Promised

STATS, CACHE = "/api/cache/stats", "/api/cache"
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
EMBED = {"model": "sandbox-embed", "input": ["a", "b"]}


@pytest.fixture
def workers(client: Client, settings: Settings, document: Any, backend: Template) -> Iterator[tuple[Client, Client]]:
    """Two workers with both caches on."""
    for module in ("cachelayer", "embedcache"):
        client.admin.put(f"/api/proxy/modules/{module}", json={"enabled": True})
    made = create(settings, document)
    made.runtime.gateway.answers.shared.patience_s = 5.0
    with Client(made, backend.keys) as other:
        yield client, other


def ask(caller: Caller, content: str) -> str:
    """One question, and whether it was answered from the cache."""
    body = {"model": "sandbox", "messages": [{"role": "user", "content": content}]}
    return str(caller.post("/v1/chat/completions", json=body).headers["x-stockyard-cache"])


def shared(caller: Caller, promised: Promised, entries: int) -> dict[str, Any]:
    """The figures, once so many answers are shared and every worker has told of what it did."""
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        stats = promised(caller.get(STATS))
        if stats["shared"]["entries"] == entries and stats["memory"]["workers"] == 2:
            return stats
        time.sleep(0.05)
    raise AssertionError(stats)


def test_a_fresh_cache_has_done_nothing(admin: Caller, promised: Promised) -> None:
    """And says so without dividing by nothing."""
    stats = promised(admin.get(STATS))
    assert (stats["enabled"], stats["strategy"], stats["ttl_seconds"]) == (False, "exact", 3600)
    assert {stats[name] for name in ("entries", "size_bytes", "hits", "misses", "hit_rate", "savings_usd")} == {0}
    assert promised(admin.delete(CACHE)) == {"status": "cleared", "removed": 0}


def test_the_figures_are_those_of_all_workers(workers: tuple[Client, Client], promised: Promised) -> None:
    """An answer that is in two memories and in the database is one answer; hits are hits wherever they were."""
    here, there = workers
    assert [ask(here.user, content) for content in ("one", "two", "one")] == ["MISS", "MISS", "HIT"]
    shared(here.admin, promised, 2)
    assert [ask(there.user, content) for content in ("one", "two", "three")] == ["HIT", "HIT", "MISS"]
    for _ in range(2):
        there.user.post("/v1/embeddings", json=EMBED)
    stats = shared(there.admin, promised, 3)
    assert (stats["entries"], stats["memory"]["entries"]) == (3, 5)
    assert (stats["hits"], stats["exact_hits"], stats["misses"], stats["hit_rate"]) == (3, 3, 3, 0.5)
    assert stats["savings_usd"] > 0
    assert stats["size_bytes"] == stats["shared"]["size_bytes"] > 0
    assert {**stats["embeddings"], "size_bytes": 0} == {"entries": 2, "size_bytes": 0, "hits": 2, "misses": 2}
    assert stats["embeddings"]["size_bytes"] > 0


def test_emptying_reaches_every_worker_within_a_second(workers: tuple[Client, Client], promised: Promised) -> None:
    """Answers, embeddings and what is shared; and the audit log knows who it was."""
    here, there = workers
    for client in workers:
        ask(client.user, "one")
        client.user.post("/v1/embeddings", json=EMBED)
        shared(here.admin, promised, 1)
    assert promised(here.admin.delete(CACHE)) == {"status": "cleared", "removed": 1}
    stats = promised(here.admin.get(STATS))
    assert (stats["shared"]["entries"], stats["shared"]["available"]) == (0, True)
    assert here.application.runtime.gateway.answers.memory.size == (0, 0)
    began, gateway = time.monotonic(), there.application.runtime.gateway
    while gateway.answers.memory.size[0] or gateway.modules.stats("embedcache")["entries"]:
        assert time.monotonic() < began + 1.0
        time.sleep(0.02)
    assert (ask(here.user, "one"), ask(there.user, "two")) == ("MISS", "MISS")
    with transaction(here.application.runtime.engine, write=False) as session:
        acts = [entry.action for entry in session.query(AuditEntry)]
    assert acts.count("cache.clear") == 1


def test_only_operators_see_and_empty_the_cache(user: Caller, refused: Refusals) -> None:
    """How much others ask is theirs to know, and what emptying costs is the operator's to pay."""
    refused(user.get(STATS), 403)
    refused(user.delete(CACHE), 403)
