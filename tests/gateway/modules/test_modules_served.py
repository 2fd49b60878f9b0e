"""Modules through the real server: callers who hang up, several workers, and a crash."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app.services.observing.exchange_log import linked
from gateway.lane.conftest import PROVIDERS, chat
from gateway.lane.test_served import ask, stored, whole
from gateway.upstream import Upstream
from support.receiver import receiving
from support.servers import Server

MODELS = ["gpt-4o-mini", "gpt-4o"]


def switched(yard: Server, name: str, **config: Any) -> None:
    """A module switched on by its operator."""
    body = {"enabled": True, "config": config}
    answer = yard.request("PUT", f"/api/proxy/modules/{name}", yard.admin_key, json=body)
    assert answer.ok, answer.text


def hung_up_on(yard: Server, upstream: Upstream, models: list[str], body: dict[str, Any], head: str = "") -> list[str]:
    """A caller who leaves while these models are asked; how the asking ended."""
    before, raw = {model: len(upstream.seen(model)) for model in models}, json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {yard.user_key}\r\n{head}"
    head += f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", yard.port), timeout=10) as connection:
        connection.sendall(head.encode() + raw)
        deadline = time.monotonic() + 5
        while any(len(upstream.seen(model)) == before[model] for model in models):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    return [upstream.ended(model)["end"] for model in models]


def test_a_caller_who_hangs_up_ends_every_call_made_for_him(serve: Callable[..., Server], upstream: Upstream) -> None:
    """No model goes on writing for nobody; what each was sent is settled."""
    yard = serve(rate_limits="off", variables=upstream.environment(*PROVIDERS, timeout=20))
    switched(yard, "multicall", routes=[{"name": "both", "models": MODELS, "strategy": "fastest"}])
    steps = [{"name": name, "model": model, "prompt": "x"} for name, model in zip("ab", MODELS, strict=True)]
    switched(yard, "chainforge", workflows=[{"name": "letter", "steps": steps}])
    for model in MODELS:
        upstream.script(model, {"delay": 15})
    for stream in (False, True):
        body = chat("any", stream=stream)
        assert hung_up_on(yard, upstream, MODELS, body, "X-MultiCall-Route: both\r\n") == ["cut", "cut"]
    rows = stored(yard, 4)
    assert [(row["status"], row["http_status"]) for row in rows] == [("error", 499)] * 4
    assert all(row["cost_nano"] > 0 for row in rows)
    assert hung_up_on(yard, upstream, MODELS[:1], chat("chain/letter")) == ["cut"]
    step, call = stored(yard, 6)[4:]
    assert (step["cost_nano"] > 0, call["http_status"], len(upstream.seen(MODELS[1]))) == (True, 499, 2)


def test_the_chained_log_survives_a_crash_of_several_workers(serve: Callable[..., Server], upstream: Upstream) -> None:
    """Every answered call is in it once, in one chain, whoever answered it and whoever died."""
    variables = upstream.environment(*PROVIDERS, timeout=20)
    yard = serve(rate_limits="off", workers=2, variables=variables)
    switched(yard, "compliancelog")
    key = yard.user_key
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: whole(ask(yard, stream=n % 2 == 0)), range(40)))
    assert {answer.status_code for answer in answers} == {200}
    ids = {answer.headers["x-stockyard-trace-id"] for answer in answers}
    yard.kill()
    again = serve(rate_limits="off", workers=2, data=yard.data, variables=variables)
    body = chat("gpt-4o-mini")
    last = again.request("POST", "/v1/chat/completions", key, json=body).headers["x-stockyard-trace-id"]
    rows = stored(again, 41)
    with contextlib.closing(sqlite3.connect(again.data / "yardmaster.db")) as database:
        query = "SELECT number, trace_id, hash, content FROM logged_exchanges ORDER BY number"
        entries = database.execute(query).fetchall()
    assert {entry[1] for entry in entries} == ids | {last} == {row["id"] for row in rows}
    assert [entry[0] for entry in entries] == list(range(1, 42))
    before = ""
    for number, _, own, content in entries:
        assert own == linked(before, number, content)
        before = own


def test_an_alert_is_raised_once_for_all_workers(serve: Callable[..., Server], upstream: Upstream) -> None:
    """Each worker sees a part of the calls; the alert counts all of them, and nobody has to ask for it."""
    variables = upstream.environment(*PROVIDERS, timeout=20)
    yard = serve(rate_limits="off", workers=2, outbound_allow="127.0.0.1", variables=variables)
    switched(yard, "alertpulse", min_calls=12)
    upstream.script("gpt-4o", {"status": 400})
    with receiving() as receiver:
        hook = {"url": receiver.url, "events": ["alert.fired"]}
        assert yard.request("POST", "/api/webhooks", yard.admin_key, json=hook).ok
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: ask(yard, model="gpt-4o"), range(12)))
        told = receiver.of("alert.fired", within=25)[0].body["data"]
    assert (told["rule_name"], told["metric_value"], told["details"]) == ("high_error_rate", 100.0, {"calls": 12})
    assert len(receiver.posts) == 1


def test_what_is_odd_and_what_is_disliked_is_told_of(serve: Callable[..., Server], upstream: Upstream) -> None:
    """Calls and ratings through either worker count together; the engine looks by itself."""
    variables = upstream.environment(*PROVIDERS, timeout=20)
    yard = serve(rate_limits="off", workers=2, outbound_allow="127.0.0.1", variables=variables)
    switched(yard, "anomalyradar", min_samples=12)
    switched(yard, "feedbackloop", min_samples=3)
    with receiving() as receiver:
        hook = {"url": receiver.url, "events": ["alert.fired"]}
        assert yard.request("POST", "/api/webhooks", yard.admin_key, json=hook).ok
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: ask(yard, model="gpt-4o"), range(12)))
        traces = [row["id"] for row in stored(yard, 12)]
        usage = {"prompt_tokens": 8, "completion_tokens": 9_000, "total_tokens": 9_008}
        upstream.script("gpt-4o", *[{"usage": usage}] * 3)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _: ask(yard, model="gpt-4o"), range(3)))
        [odd] = [post.body["data"] for post in receiver.of("alert.fired", within=25)]
        assert (odd["source"], odd["details"]["model"]) == ("anomalyradar", "gpt-4o")
        for trace in traces[:3]:
            said = {"trace_id": trace, "rating": 1}
            assert yard.request("POST", "/api/trust/feedback", yard.user_key, json=said).ok
        with contextlib.closing(sqlite3.connect(yard.data / "yardmaster.db")) as database, database:
            database.execute("UPDATE engine_schedules SET next_at = 0 WHERE name = 'feedbackloop'")
        disliked = receiver.of("alert.fired", 2, within=25)[1].body["data"]
    assert (disliked["source"], disliked["metric_value"]) == ("feedbackloop", 1)
    assert len(receiver.posts) == 2


def test_what_is_made_of_stored_calls_is_there_for_every_worker(
    serve: Callable[..., Server], upstream: Upstream
) -> None:
    """The engine writes training data and cohorts by itself; either worker tells of them, and of the costs."""
    yard = serve(rate_limits="off", workers=2, variables=upstream.environment(*PROVIDERS, timeout=20))
    for name in ("costmap", "trainexport", "cohorttrack"):
        switched(yard, name)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ask(yard, model="gpt-4o"), range(8)))
    for row in stored(yard, 8):
        said = {"trace_id": row["id"], "rating": 5}
        assert yard.request("POST", "/api/trust/feedback", yard.user_key, json=said).ok
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline and not (shown(yard, "trainexport")["written"] == 8 and cohort(yard)):
        due(yard, "trainexport", "cohorttrack")  # a turn may have come between two ratings
        time.sleep(0.5)
    lines = (yard.data / shown(yard, "trainexport")["files"][0]["file"]).read_text().splitlines()
    assert [len(json.loads(line)["messages"]) for line in lines] == [2] * 8
    assert [shown(yard, "costmap")["calls"] for _ in range(6)] == [8] * 6
    assert [group["users"] for group in cohort(yard)] == [1]


def test_a_scheduled_prompt_survives_the_death_of_its_server(serve: Callable[..., Server], upstream: Upstream) -> None:
    """The firing that was under way is made by the next server, once for all its workers, and told of once."""
    settings: dict[str, Any] = {"rate_limits": "off", "workers": 2, "outbound_allow": "127.0.0.1"}
    settings["variables"] = upstream.environment(*PROVIDERS, timeout=20)
    yard = serve(**settings)
    job = {"name": "report", "schedule": "0 9 * * *", "model": MODELS[0], "prompt": "How was the day?", "user": 1}
    switched(yard, "cronllm", jobs=[job])
    upstream.script(MODELS[0], {"delay": 15}, {})
    with receiving() as receiver:
        hook = {"url": receiver.url, "events": ["cron.*"]}
        assert yard.request("POST", "/api/webhooks", yard.admin_key, json=hook).ok
        due(yard, "cronllm")
        deadline = time.monotonic() + 20
        while not upstream.seen(MODELS[0]):
            assert time.monotonic() < deadline
            first = "SELECT min(id) FROM engine_tasks WHERE kind = 'cronllm'"
            written(yard, f"UPDATE engine_tasks SET due_at = 0 WHERE id = ({first})")  # noqa: S608 (a constant)
            time.sleep(0.2)
        yard.kill()
        written(yard, "UPDATE idempotent_calls SET expires_at = 0")
        again = serve(data=yard.data, **settings)
        [post] = receiver.of("cron.completed", within=25)
        [row] = stored(again, 1)
        assert (post.body["data"]["trace_id"], row["status"]) == (row["id"], "ok")
    assert (len(upstream.seen(MODELS[0])), receiver.events()) == (2, ["cron.completed"])


def written(yard: Server, statement: str) -> None:
    """Change what the server has stored."""
    with contextlib.closing(sqlite3.connect(yard.data / "yardmaster.db", timeout=10)) as database, database:
        database.execute(statement)


def due(yard: Server, *names: str) -> None:
    """Make these turns due."""
    with contextlib.closing(sqlite3.connect(yard.data / "yardmaster.db")) as database, database:
        turns = [(name,) for name in names]
        database.executemany("UPDATE engine_schedules SET next_at = 0 WHERE name = ? AND executor IS NULL", turns)


def shown(yard: Server, name: str) -> Any:
    """What a module tells of itself, through whichever worker answers."""
    return yard.request("GET", f"/api/proxy/modules/{name}", yard.admin_key).json()["stats"]


def cohort(yard: Server) -> Any:
    """The groups of users."""
    return shown(yard, "cohorttrack")["groups"]
