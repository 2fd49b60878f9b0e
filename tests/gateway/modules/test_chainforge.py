"""Workflows that are called like a model: their steps, their money, their failures, and what settings may say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask, chat
from gateway.lane.test_caps import Money
from gateway.modules.conftest import MODEL, problem_of, text_of
from gateway.upstream import Upstream
from stockyard.conftest import ada
from support.callers import Caller, Client
from support.people import Person
from support.together import at_once

__all__ = ["ada"]

# What it does does not depend on the database.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Json = dict[str, Any]
Configure = Callable[..., None]
Traces = Callable[..., list[Json]]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
DRAFTER, CRITIC = "gpt-4.1-nano", "gpt-4o"
DRAFT: Json = {"name": "draft", "model": DRAFTER, "prompt": "Draft: {{input}}"}
JUDGE: Json = {"name": "judge", "model": CRITIC, "prompt": "Judge {{ steps.draft }}", "max_tokens": 7}
POLISH: Json = {"name": "polish", "model": MODEL, "prompt": "{{input}} / {{steps.draft}} / {{steps.judge}}"}
NAME = "chain/letter"
PICTURE: Json = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@pytest.fixture
def workflow(configure: Configure) -> Callable[..., None]:
    """`workflow(step, step, …)`: what `chain/letter` is from now on."""

    def store(*steps: Json, **more: Any) -> None:
        configure("chainforge", workflows=[{"name": "letter", "steps": list(steps)}], **more)

    return store


Workflow = Callable[..., None]


def prompts(upstream: Upstream, *models: str) -> list[Any]:
    """What each model was sent last."""
    return [upstream.seen(model)[-1]["body"]["messages"][-1]["content"] for model in models]


def stats(client: Client) -> list[int]:
    """What the module counted: runs, steps, skipped, refused, failed."""
    told = client.admin.get("/api/proxy/modules/chainforge").json()["stats"]
    return [told[name] for name in ("runs", "steps", "skipped", "refused", "failed")]


@BOTH
def test_each_step_is_asked_with_what_the_steps_before_answered(
    ask: Ask, workflow: Workflow, upstream: Upstream, client: Client, traces: Traces, stream: bool
) -> None:
    """The last one is the call itself; the others are traced and paid as its caller's, and say what for."""
    workflow(DRAFT, JUDGE, POLISH)
    upstream.script(DRAFTER, {"text": "Dear {{input}}"})
    upstream.script(CRITIC, {"text": "Fine."})
    upstream.script(MODEL, {"text": "Dear all, fine."})
    answer = ask(NAME, "write!", stream=stream, temperature=0.5, headers={"x-project": "mail"})
    assert text_of(answer) == "Dear all, fine."
    assert prompts(upstream, DRAFTER, CRITIC, MODEL) == [
        *("Draft: write!", "Judge Dear {{input}}", "write! / Dear {{input}} / Fine.")
    ]
    judged, polished = (upstream.seen(model)[0]["body"] for model in (CRITIC, MODEL))
    assert (judged["max_tokens"], "stream" in judged, "temperature" in judged) == (7, False, False)
    assert (polished["temperature"], polished.get("stream", False), "max_tokens" in polished) == (0.5, stream, False)
    *steps, call = traces(3)
    assert [(row["model"], row["user_id"], row["project"], row["cost_nano"] > 0) for row in (*steps, call)] == [
        (model, 1, "mail", True) for model in (DRAFTER, CRITIC, MODEL)
    ]
    told = [json.loads(row["details"]) for row in steps]
    assert told == [
        {"for": call["id"], "purpose": "workflow", "workflow": "letter", "step": n} for n in ("draft", "judge")
    ]
    run = {"name": "letter", "steps": ["draft", "judge", "polish"], "skipped": []}
    assert json.loads(call["details"])["workflow"] == run
    assert answer.headers["x-stockyard-trace-id"] == call["id"]
    assert stats(client) == [1, 3, 0, 0, 0]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/messages",
            {"max_tokens": 50, "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
        ),
        ("/v1/responses", {"input": "hi"}),
        ("/v1/completions", {"prompt": "hi"}),
    ],
)
@BOTH
def test_a_workflow_is_called_on_every_wire(
    client: Client, workflow: Workflow, upstream: Upstream, path: str, body: Json, stream: bool
) -> None:
    """Whatever a client speaks, its last word is the input, and it is answered in its own form."""
    workflow(DRAFT, POLISH | {"prompt": "Polish {{steps.draft}}"})
    upstream.script(DRAFTER, {"text": "Draft one"})
    upstream.script(MODEL, {"text": "Polished"})
    answer = client.user.post(path, json=body | {"model": NAME, "stream": stream})
    assert (answer.status_code, "Polished" in answer.text) == (200, True), answer.text
    sent = upstream.seen(MODEL)[-1]["body"]
    assert sent.get("prompt") or sent["messages"][-1]["content"] == "Polish Draft one"
    assert prompts(upstream, DRAFTER) == ["Draft: hi"]


@BOTH
def test_a_step_is_made_when_its_condition_holds(
    ask: Ask, workflow: Workflow, upstream: Upstream, client: Client, traces: Traces, stream: bool
) -> None:
    """Else its answer is empty; where the last one is left out, the answer before is given, and costs nothing again."""
    judge = JUDGE | {"when": {"contains": "FORMAL"}}
    polish = POLISH | {"when": {"step": "draft", "matches": "^Dear", "equals": " dear all "}}
    workflow(DRAFT, judge, polish)
    upstream.script(DRAFTER, {"text": "Dear all"}, {"text": "Hello"})
    upstream.script(CRITIC, {"text": "Judged"})
    upstream.script(MODEL, {"text": "Polished"})
    assert text_of(ask(NAME, "write", stream=stream)) == "Polished"
    assert prompts(upstream, MODEL) == ["write / Dear all / "]
    assert text_of(ask(NAME, "write a formal letter", stream=stream)) == "Judged"
    assert [len(upstream.seen(model)) for model in (DRAFTER, CRITIC, MODEL)] == [2, 1, 1]
    last = traces(5)[-1]
    assert (last["provider"], last["cost_nano"]) == ("chainforge", 0)
    assert json.loads(last["details"])["workflow"]["skipped"] == ["polish"]
    assert stats(client) == [2, 4, 2, 0, 0]


def test_a_workflow_with_nothing_to_do_says_so(ask: Ask, workflow: Workflow, upstream: Upstream) -> None:
    """An answer that no step gave would be invented."""
    workflow(DRAFT | {"when": {"equals": "yes"}})
    answer = ask(NAME, "no")
    assert (answer.status_code, "letter" in problem_of(answer)["message"]) == (422, True)
    assert not upstream.seen(DRAFTER)
    assert ask(NAME, "Yes").status_code == 200


def test_what_was_said_before_goes_where_a_step_wants_it(ask: Ask, workflow: Workflow, upstream: Upstream) -> None:
    """Instructions and earlier turns, in their order; other steps are sent their prompt alone."""
    workflow(DRAFT, POLISH | {"prompt": "{{steps.draft}}", "history": True})
    upstream.script(DRAFTER, {"text": "Drafted"})
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a"}]
    turns += [{"role": "assistant", "content": "b"}]
    ask(NAME, messages=[*turns, {"role": "user", "content": "c"}])
    assert upstream.seen(DRAFTER)[0]["body"]["messages"] == [{"role": "user", "content": "Draft: c"}]
    assert upstream.seen(MODEL)[0]["body"]["messages"] == [*turns, {"role": "user", "content": "Drafted"}]


@BOTH
@pytest.mark.parametrize("named", ["judge", "polish"])
def test_a_step_that_fails_fails_the_call_and_is_named(
    ask: Ask, workflow: Workflow, upstream: Upstream, traces: Traces, named: str, *, stream: bool
) -> None:
    """With the status it was refused with; nothing further is asked, and what was is in the traces."""
    workflow(DRAFT, JUDGE, POLISH)
    upstream.script(
        CRITIC if named == "judge" else MODEL, {"status": 400, "error": {"message": "too hot", "code": "heat"}}
    )
    answer = ask(NAME, stream=stream)
    told = problem_of(answer)
    assert (answer.status_code, f"Step {named} of workflow letter: " in told["message"]) == (400, True), told
    assert "too hot" in told["message"]
    assert [len(upstream.seen(model)) for model in (DRAFTER, CRITIC, MODEL)] == [1, 1, named == "polish"]
    rows = traces(3)
    assert [row["status"] for row in rows][-1] == "error"
    assert rows[-1]["id"] == answer.headers["x-stockyard-trace-id"]
    assert named in rows[-1]["error"]


def test_a_workflow_that_takes_too_long_ends(
    ask: Ask, workflow: Workflow, upstream: Upstream, client: Client, traces: Traces
) -> None:
    """What was sent until then is paid."""
    workflow(DRAFT, JUDGE, POLISH, timeout="200ms")
    upstream.script(CRITIC, {"hang": True})
    answer = ask(NAME)
    told = problem_of(answer)["message"]
    assert (answer.status_code, told) == (504, "Step judge of workflow letter: The workflow took longer than it may")
    assert not upstream.seen(MODEL)
    assert all(row["cost_nano"] > 0 for row in traces(3)[:2])
    assert stats(client) == [1, 2, 0, 0, 1]


def test_every_step_is_held_to_the_budget(client: Client, workflow: Workflow, configure: Configure) -> None:
    """Of many at once no step is made that there is no money for, and whoever is refused is told at which."""
    cheap = [{"name": name, "model": "sandbox", "prompt": "{{input}}", "max_tokens": 20} for name in ("a", "b", "c")]
    workflow(*cheap)
    configure("costcap", daily_limit_usd=0.0013)
    body = chat(NAME)
    answers = at_once(*[lambda: client.user.post("/v1/chat/completions", json=body) for _ in range(12)])
    refused = [problem_of(answer) for answer in answers if answer.status_code == 429]
    assert any("of workflow letter: " in problem["message"] for problem in refused)
    assert {answer.status_code for answer in answers} <= {200, 429}
    money = Money(client.application)
    [(spent, held)] = money.settled().values()
    assert (0 < spent <= 1_300_000, held, spent) == (True, 0, money.traced())


def test_every_step_is_held_to_its_tenants_money(client: Client, workflow: Workflow, configure: Configure) -> None:
    """And what a step held that was refused elsewhere is let go of."""
    workflow(*({"name": name, "model": "sandbox", "prompt": "{{input}}", "max_tokens": 20} for name in ("a", "b")))

    def asked() -> tuple[int, str]:
        answer = client.admin.post("/v1/chat/completions", json=chat(NAME, max_tokens=20), headers={"x-tenant-id": "t"})
        return answer.status_code, "" if answer.status_code == 200 else problem_of(answer)["message"][:26]

    configure("tenantwall", tenants=[{"id": "t", "max_spend": 0.0001}])
    assert asked() == (429, "Step a of workflow letter:")
    configure("tenantwall", tenants=[{"id": "t", "max_spend": 0.0026}])  # room for two at a time
    configure("costcap", daily_limit_usd=0.0001)
    assert {asked() for _ in range(3)} == {(429, "Step a of workflow letter:")}
    configure("costcap", daily_limit_usd=0)
    assert asked() == (200, "")


def test_a_policy_holds_for_every_steps_model(
    client: Client, ask: Ask, workflow: Workflow, configure: Configure, upstream: Upstream
) -> None:
    """A workflow is no way to a model that nobody may ask."""
    said = {"name": "no-nano", "type": "block", "config": {"models": DRAFTER, "models_mode": "deny"}}
    assert client.admin.post("/api/trust/policies", json=said).status_code == 201
    workflow(DRAFT, POLISH | {"prompt": "{{steps.draft}}"})
    answer = ask(NAME)
    assert (answer.status_code, "Step draft" in problem_of(answer)["message"]) == (403, True), answer.text
    assert not upstream.seen(DRAFTER)


def test_what_is_masked_stays_masked_in_every_step(
    ask: Ask, workflow: Workflow, configure: Configure, upstream: Upstream
) -> None:
    """And the caller reads of the real ones in the last answer."""
    configure("maskmode")
    workflow(DRAFT, POLISH | {"prompt": "{{steps.draft}}"})
    upstream.script(DRAFTER, {"text": "unused"})
    ask(NAME, "Write to ada.lovelace@example.org")
    [mask] = [word for word in prompts(upstream, DRAFTER)[0].split() if "@" in word]
    assert mask != "ada.lovelace@example.org"
    upstream.script(MODEL, {"text": f"I wrote to {mask}."})
    assert text_of(ask(NAME, "Write to ada.lovelace@example.org")) == "I wrote to ada.lovelace@example.org."


def test_guardrails_hold_before_the_first_step_and_on_the_last_answer(
    ask: Ask, workflow: Workflow, guard: Callable[..., int], upstream: Upstream
) -> None:
    """A workflow is no way around them, even where its answer is that of an earlier step."""
    guard("birds", "bluebird", "block")
    guard("fish", "herring", "redact")
    workflow(DRAFT, POLISH | {"prompt": "x", "when": {"contains": "never"}})
    upstream.script(DRAFTER, {"text": "A herring."})
    assert ask(NAME, "a bluebird").status_code >= 400
    assert not upstream.seen(DRAFTER)
    assert "herring" not in text_of(ask(NAME, "a fish"))


def test_steps_go_by_aliases_and_a_workflow_by_one(
    ask: Ask, workflow: Workflow, configure: Configure, upstream: Upstream
) -> None:
    """Either may be renamed; an alias that leads back to a workflow is told of instead of going round."""
    aliases = [{"alias": "cheap", "model": DRAFTER, "provider": "groq"}, {"alias": "letters", "model": NAME}]
    configure("modelalias", aliases=aliases)
    workflow(DRAFT | {"model": "cheap"}, POLISH | {"prompt": "{{steps.draft}}", "model": "cheap"})
    assert ask("letters").status_code == 200
    assert [seen["provider"] for seen in upstream.seen(DRAFTER)] == ["groq", "groq"]
    for steps in ([DRAFT | {"model": "letters"}, DRAFT | {"name": "x"}], [DRAFT | {"model": "letters"}]):
        workflow(*steps)
        answer = ask("letters")
        assert (answer.status_code, "Step draft of workflow" in problem_of(answer)["message"]) == (503, True)


@pytest.mark.parametrize(
    ("model", "fields", "status"),
    [
        ("chain/other", {}, 404),
        (NAME, {"messages": [{"role": "assistant", "content": "I said"}]}, 400),
        (NAME, {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, PICTURE]}]}, 400),
        (NAME, {"headers": {"x-provider": "groq"}}, 400),
        (NAME, {"content": "x" * 200_000}, 413),
    ],
)
def test_what_no_workflow_can_do_is_refused_before_anybody_is_asked(
    ask: Ask, workflow: Workflow, upstream: Upstream, model: str, fields: Json, status: int
) -> None:
    """Clearly, and for nothing."""
    workflow(DRAFT | {"prompt": "{{input}}" * 25})
    answer = ask(model, **fields)
    assert answer.status_code == status, answer.text
    assert not upstream.seen(DRAFTER)


def test_a_workflow_is_for_keys_of_this_server_and_listed_to_them(
    client: Client, workflow: Workflow, ada: Person
) -> None:
    """Its models are the operator's choice: a provider's own key opens that provider's. A run is its caller's."""

    def listed(caller: Caller) -> bool:
        return NAME in [model["id"] for model in caller.get("/v1/models").json()["data"]]

    workflow(DRAFT, DRAFT | {"name": "again"})
    raw = client.bearing("sk-raw-0123456789")
    assert [listed(caller) for caller in (client.user, ada.caller, raw)] == [True, True, False]
    assert client.user.get("/v1/models/chain%2Fletter").json()["id"] == NAME
    assert raw.post("/v1/chat/completions", json=chat(NAME)).status_code == 403
    assert client.user.post("/v1/embeddings", json={"model": NAME, "input": "x"}).status_code == 400
    answer = ada.caller.post("/v1/chat/completions", json=chat(NAME))
    trace = f"/api/traces/{answer.headers['x-stockyard-trace-id']}"
    assert client.user.get(trace).status_code == 404


SETTINGS = "/api/proxy/modules/chainforge"


BAD: list[tuple[list[Json], str]] = [
    ([], "steps must have at least 1"),
    ([DRAFT, DRAFT], "steps[1].name must be a valid name that no step before has"),
    ([DRAFT | {"prompt": "{{steps.draft}}"}], "steps[0].prompt must be a valid template"),
    ([DRAFT | {"prompt": "{{steps.judge}}"}, JUDGE], "steps[0].prompt must be a valid template"),
    ([DRAFT | {"prompt": "{{inptu}}"}], "steps[0].prompt must be a valid template"),
    ([DRAFT | {"model": "chain/other"}], "steps[0].model must be a valid model"),
    ([DRAFT | {"when": {"step": "draft", "contains": "x"}}], "steps[0].when.step must be a valid name"),
    ([DRAFT, JUDGE | {"when": {"step": "draft"}}], "steps[1].when must be a valid condition"),
    ([DRAFT | {"when": {"matches": "("}}], "steps[0].when.matches must be a valid regex"),
    ([DRAFT | {"name": "a b"}], "steps[0].name must be a valid name of letters"),
]


def test_a_workflow_that_cannot_run_is_refused_when_it_is_stored(client: Client, workflow: Workflow) -> None:
    """Its settings stay as they were, and the operator reads where it is wrong."""
    workflow(DRAFT)
    before = client.admin.get(SETTINGS).json()["config"]
    for steps, told in BAD:
        bad = [{"name": "letter", "steps": [DRAFT]}, {"name": "bad", "steps": steps}]
        answer = client.admin.put(SETTINGS, json={"config": {"workflows": bad}})
        assert answer.status_code in {400, 422}, answer.text
        assert f"workflows[1].{told}" in answer.text
    assert client.admin.get(SETTINGS).json()["config"] == before


def test_a_name_is_one_workflows(client: Client) -> None:
    """Two of a name would leave one that is never run."""
    twice = [{"name": "letter", "steps": [DRAFT]}] * 2
    answer = client.admin.put(SETTINGS, json={"config": {"workflows": twice}})
    assert "workflows[1].name must be a valid name that no workflow before has" in answer.text
    assert client.admin.put(SETTINGS, json={"enabled": True, "config": {"workflows": twice[:1]}}).status_code == 200
    assert client.user.post("/v1/chat/completions", json=chat(NAME)).status_code == 200
