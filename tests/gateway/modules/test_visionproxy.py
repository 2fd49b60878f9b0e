"""Vision proxy: which images pass, told by their own bytes and by where they are, and models that see none."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.lane.conftest import Ask, chat
from gateway.modules.conftest import MODEL, problem_of, text_of
from gateway.parts.test_images import inline, png
from gateway.upstream import Upstream
from support.callers import Caller, Client
from support.envelopes import Refusals
from support.resolving import resolving

# What it does does not depend on the database.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Json = dict[str, Any]
Configure = Callable[..., None]
Traces = Callable[..., list[Json]]
NAME = "visionproxy"
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
BLIND, SEEING, CLAUDE = "llama-3.1-8b-instant", "gpt-4o", "claude-sonnet-4-5"
PUBLIC = "https://93.184.216.34/cat.png"


def image(url: str, **more: Any) -> Json:
    """An image as a content part."""
    return {"type": "image_url", "image_url": {"url": url, **more}}


def turn(*urls: str) -> list[Json]:
    """A question about images, as the messages of a call."""
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, *map(image, urls)]}]


@pytest.fixture
def show(ask: Ask) -> Callable[..., Any]:
    """Asks about images: `show(PUBLIC, stream=True)`."""

    def asked(*urls: str, model: str = MODEL, **fields: Any) -> Any:
        return ask(model, messages=turn(*urls), **fields)

    return asked


def told(admin: Caller) -> Json:
    """What it counted."""
    stats: Json = admin.get(f"/api/proxy/modules/{NAME}").json()["stats"]
    return stats


def content_sent(upstream: Upstream, model: str = MODEL) -> Any:
    """What the provider was shown last."""
    return upstream.seen(model)[-1]["body"]["messages"][-1]["content"]


@BOTH
def test_images_within_bounds_pass_as_they_came(
    show: Callable[..., Any], configure: Configure, upstream: Upstream, admin: Caller, stream: bool
) -> None:
    """Inline and by address; nothing of them is changed, and they are counted."""
    configure(NAME)
    answer = show(inline(png()), PUBLIC, stream=stream)
    assert answer.status_code == 200, answer.text
    assert content_sent(upstream) == turn(inline(png()), PUBLIC)[0]["content"]
    assert told(admin) == {"images": 2, "bytes": len(png()), "refused": 0, "dropped": 0, "moved": 0}


OUT_OF_BOUNDS: list[tuple[Json, list[str], str]] = [
    ({"max_images": 1}, [PUBLIC, PUBLIC], "The call holds 2 images, and 1 are the most"),
    ({"max_images": 0}, [PUBLIC], "The call holds 1 images, and 0 are the most"),
    ({"max_bytes": 99}, [inline(png(more=71))], "Image 1 has 100 bytes, and 99 are the most: send a smaller one"),
    ({"types": ["jpeg", "webp"]}, [inline(png(), "image/jpeg")], "Image 1 is png; send jpeg, webp"),
    ({}, [inline(b"<svg onload=x>" * 9)], "Image 1 is no image that is known; send jpeg, png, gif, webp"),
    ({"max_side": 99}, [PUBLIC, inline(png(100, 9))], "Image 2 is 100 × 9 pixels, and a side has at most 99"),
    ({"max_side": 99}, [inline(b"\xff\xd8\xff")], "Image 1 does not tell its size at its beginning"),
    ({}, ["data:image/png,%89PNG"], "Image 1 is in no form that can be looked at: send it as an https or a base64"),
    ({}, [inline(png()).replace("base64,", "base64,\n")], "Image 1 is not in plain base64"),
    ({}, ["file:///etc/passwd"], "Image 1 is at no plain https address"),
    ({}, ["https://me:pass@93.184.216.34/"], "Image 1 is at no plain https address"),
    ({}, ["https://93.184.216.34\\@10.0.0.1/"], "Image 1 is at no plain https address"),
    ({}, [" " + inline(png())], "Image 1 is at no plain https address"),
]


@BOTH
def test_what_is_out_of_bounds_is_refused(
    show: Callable[..., Any], configure: Configure, upstream: Upstream, admin: Caller, stream: bool
) -> None:
    """With the reason and what to do; no provider is asked, and a repetition would be told the same."""
    for bounds, urls, said in OUT_OF_BOUNDS:
        configure(NAME, **bounds)
        answer = show(*urls, stream=stream)
        assert answer.status_code == 400, answer.text
        assert problem_of(answer)["message"].startswith(said)
        assert answer.headers["x-should-retry"] == "false"
    assert upstream.seen(MODEL) == []
    assert told(admin)["refused"] == len(OUT_OF_BOUNDS)


PLACES = {
    "https://pictures.example/cat.png?signature=a%2Fb": True,
    "https://PICTURES.example./cat.png": True,
    "https://other.example/cat.png": False,
    "https://pictures.example.evil.example/": False,
    "https://evil.example/#pictures.example": False,
    "https://private.pictures.example/cat.png": False,
}
PRIVATE = (
    "http://169.254.169.254/latest/meta-data",
    "https://127.0.0.1/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://[::ffff:10.0.0.1]/",
    "https://inside.example/cat.png",
    "https://inside.example:8443/cat.png",
    "https://nowhere.invalid/",
)


def test_images_are_taken_from_the_hosts_an_operator_allows(
    show: Callable[..., Any], configure: Configure, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the host an address leads to, and nothing else in it; what is denied is, whatever is allowed."""
    resolving(monkeypatch, {"pictures.example": ["93.184.216.34"], "private.pictures.example": ["93.184.216.34"]})
    configure(NAME, allowed_hosts=["pictures.example", "*.pictures.example"], denied_hosts=["private.*"])
    answers = {url: show(url) for url in PLACES}
    assert {url: answer.status_code == 200 for url, answer in answers.items()} == PLACES
    refused = {problem_of(answer)["message"] for answer in answers.values() if answer.status_code == 403}
    assert refused == {"Image 1 is at a host from which images are not taken here"}
    assert len(upstream.seen(MODEL)) == sum(PLACES.values())


def test_private_addresses_are_never_passed_on(
    show: Callable[..., Any], configure: Configure, upstream: Upstream, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model server on the operator's own network would fetch them: what this server would not call is refused."""
    resolving(monkeypatch, {"inside.example": ["10.1.2.3"]})
    configure(NAME)
    for url in PRIVATE:
        answer = show(PUBLIC, url)
        assert answer.status_code == 403, url
        assert problem_of(answer)["message"].startswith("Image 2 is not taken from its address: its host must resolve")
    assert (upstream.seen(MODEL), told(admin)["refused"]) == ([], len(PRIVATE))


@pytest.mark.settings(outbound_allow="10.1.2.3")
def test_an_address_the_operator_allows_is_passed_on(
    show: Callable[..., Any], configure: Configure, upstream: Upstream
) -> None:
    """As everywhere."""
    configure(NAME)
    assert show("http://10.1.2.3:9000/cat.png").status_code == 200


def test_a_name_that_nobody_answers_for_holds_no_call(
    show: Callable[..., Any], configure: Configure, monkeypatch: pytest.MonkeyPatch, upstream: Upstream
) -> None:
    """It is told to come again, for another time the name may be found."""
    monkeypatch.setattr("app.gateway.modules.visionproxy.LOOKUP_S", 0.02)
    monkeypatch.setattr("app.gateway.transport.resolver.refuse_private", lambda *_: time.sleep(0.2))
    configure(NAME)
    answer = show(PUBLIC)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert upstream.seen(MODEL) == []


NATIVE: Json = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"GI").decode()},
}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": [NATIVE]}
DOCUMENT = {"type": "document", "source": {"type": "content", "content": [NATIVE]}}
TWICE = image(PUBLIC) | {"source": NATIVE["source"]}


FORMS: list[Json] = [
    NATIVE,
    RESULT,
    DOCUMENT,
    TWICE,
    {"type": "image", "source": {"type": "file", "file_id": "f"}},
    {"type": "image", "image": inline(b"GI")},
    {"type": "input_image", "image_url": inline(b"GI")},
    {"image_url": {"url": inline(b"GI")}},
    {"type": "image_url", "image_url": 1},
    {"type": ["image_url"], "image_url": inline(b"GI")},
]


def test_no_form_of_an_image_is_a_way_around(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """Blocks of Anthropic's, tools' results, documents made of parts; what shows two images, or none that is known."""
    configure(NAME)
    for part in FORMS:
        for role in ("user", "assistant", "system"):
            assert ask(MODEL, messages=[{"role": role, "content": [part]}]).status_code == 400, part
    assert upstream.seen(MODEL) == []


def test_a_file_that_is_an_image_is_one(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """Whatever it is called; another file is none of its business."""
    configure(NAME, types=["jpeg"])
    for content, status in ((png(), 400), (b"%PDF-1.7 and more of it", 200)):
        part = {"type": "file", "file": {"filename": "a.pdf", "file_data": inline(content, "application/pdf")}}
        assert ask(MODEL, messages=[{"role": "user", "content": [part]}]).status_code == status


WIRES: Json = {
    "/v1/messages": {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": [NATIVE | {"source": {"type": "url", "url": "https://10.0.0.1/"}}]}],
    },
    "/v1/responses": {
        "input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://10.0.0.1/"}]}],
    },
}


@BOTH
def test_the_bounds_hold_on_every_wire(client: Client, configure: Configure, upstream: Upstream, stream: bool) -> None:
    """Whoever speaks it, and whoever is asked."""
    configure(NAME)
    for path, body in WIRES.items():
        for model in (MODEL, CLAUDE):
            answer = client.user.post(path, json={"model": model, "stream": stream, **body})
            assert answer.status_code == 403, answer.text
            assert upstream.seen(model) == []


@BOTH
def test_a_call_with_images_moves_to_a_model_that_sees(
    show: Callable[..., Any], ask: Ask, configure: Configure, upstream: Upstream, admin: Caller, stream: bool
) -> None:
    """Only one with images, and only from a model that sees none; its trace says from where."""
    configure(NAME, blind_models=["*-instant"], vision_model=SEEING)
    answer = show(PUBLIC, model=BLIND, stream=stream)
    assert answer.headers["x-stockyard-provider"] == "openai"
    assert text_of(answer)
    assert len(upstream.seen(SEEING)) == 1
    assert ask(BLIND, stream=stream).headers["x-stockyard-provider"] == "groq"
    assert show(PUBLIC, stream=stream).status_code == 200
    assert len(upstream.seen(SEEING)) == 1
    assert told(admin)["moved"] == 1


def test_a_moved_call_is_judged_as_the_call_it_becomes(
    show: Callable[..., Any], configure: Configure, upstream: Upstream, traces: Traces
) -> None:
    """Where a policy denies the model that sees, the move is no way to it; what is made is priced as it was made."""
    configure(NAME, blind_models=[BLIND], vision_model=SEEING)
    assert show(PUBLIC, model=BLIND).status_code == 200
    [trace] = traces(1)
    assert (trace["model"], trace["provider"]) == (SEEING, "openai")
    assert trace["cost_nano"] > 0
    deny = {"name": "no", "models": [SEEING], "effect": "deny"}
    configure("policyengine", rules=[deny])
    assert show(PUBLIC, model=BLIND).status_code == 403
    assert len(upstream.seen(SEEING)) == 1


@BOTH
def test_a_call_for_a_model_that_sees_none_is_refused(
    show: Callable[..., Any], configure: Configure, upstream: Upstream, stream: bool
) -> None:
    """With what to do; by the name of a provider's models too."""
    for pattern in ("*-instant", "GROQ/*", BLIND):
        configure(NAME, blind_models=[pattern])
        answer = show(PUBLIC, model=BLIND, stream=stream)
        assert answer.status_code == 400
        said = f"{BLIND} sees no images: ask a model that does, or send the call without them"
        assert problem_of(answer)["message"] == said
    assert upstream.seen(BLIND) == []


@BOTH
def test_images_are_left_out_and_the_text_says_so(
    show: Callable[..., Any], configure: Configure, upstream: Upstream, admin: Caller, stream: bool
) -> None:
    """Where each was; the rest is a plain text, which every model takes, and the caller is warned."""
    configure(NAME, blind_models=[BLIND], without_vision="drop")
    answer = show(PUBLIC, inline(png()), model=BLIND, stream=stream)
    assert answer.status_code == 200
    assert answer.headers["x-stockyard-warning"] == "visionproxy.dropped"
    note = f"[An image was left out here: {BLIND} sees no images.]"
    assert content_sent(upstream, BLIND) == f"What is it?\n\n{note}\n\n{note}"
    assert told(admin)["dropped"] == 2


def test_an_image_is_left_out_of_a_tools_result(client: Client, configure: Configure, upstream: Upstream) -> None:
    """On Anthropic's wire too, where results hold images."""
    configure(NAME, blind_models=[CLAUDE], without_vision="drop")
    picture = {"type": "image", "source": {"type": "url", "url": PUBLIC}}
    said = [
        {"role": "user", "content": "Look"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [picture]}]},
    ]
    client.user.post("/v1/messages", json={"model": CLAUDE, "max_tokens": 9, "messages": said})
    assert PUBLIC not in str(upstream.seen(CLAUDE)[-1]["body"])
    assert f"{CLAUDE} sees no images" in str(upstream.seen(CLAUDE)[-1]["body"])


def test_a_stand_in_that_sees_nothing_is_passed_over(
    show: Callable[..., Any], configure: Configure, upstream: Upstream
) -> None:
    """A provider that fails does not turn a question about an image into one about nothing."""
    configure("failover", models={SEEING: {"groq": BLIND, "mistral": "pixtral"}})
    configure("retrypilot", max_retries=0)
    configure(NAME, blind_models=[BLIND], without_vision="drop")
    upstream.script(SEEING, {"status": 500})
    assert show(PUBLIC, model=SEEING).headers["x-stockyard-provider"] == "mistral"
    assert (upstream.seen(BLIND), content_sent(upstream, "pixtral")[1]) == ([], image(PUBLIC))


def test_a_model_is_judged_wherever_the_call_goes_in_the_end(
    show: Callable[..., Any], configure: Configure, route: Callable[..., None], upstream: Upstream
) -> None:
    """A route may name another model than was asked for, long after the module had its first look."""
    route("house-*", "groq", BLIND)
    configure("failover", enabled=False)
    for otherwise, status in (("refuse", 400), ("drop", 200)):
        configure(NAME, blind_models=[BLIND], vision_model=SEEING, without_vision=otherwise)
        assert show(PUBLIC, model="house-1").status_code == status
    assert PUBLIC not in str(upstream.seen(BLIND))
    assert upstream.seen(SEEING) == []


def test_a_providers_own_key_opens_no_other_model(client: Client, configure: Configure, upstream: Upstream) -> None:
    """Its call stays where it was and is treated as if there were none to move to."""
    configure(NAME, blind_models=[MODEL], vision_model=CLAUDE)
    own = client.bearing("sk-raw-0123456789")
    assert own.post("/v1/chat/completions", json=chat(MODEL, messages=turn(PUBLIC))).status_code == 400
    assert upstream.seen(CLAUDE) == []


@BOTH
def test_of_several_models_those_that_see_answer(
    show: Callable[..., Any], configure: Configure, upstream: Upstream, stream: bool
) -> None:
    """One that sees nothing would agree with nobody."""
    models = {"name": "two", "models": [BLIND, SEEING], "strategy": "longest", "timeout": "2s"}
    configure("multicall", routes=[models])
    configure(NAME, blind_models=[BLIND])
    answer = show(PUBLIC, stream=stream, headers={"X-MultiCall-Route": "two"})
    assert (answer.status_code, answer.headers["x-stockyard-model"]) == (200, SEEING)
    assert upstream.seen(BLIND) == []


@BOTH
def test_detail_is_the_operators_when_they_say_so(
    ask: Ask, configure: Configure, upstream: Upstream, stream: bool
) -> None:
    """Whatever the caller asked for; a bare address becomes one with detail."""
    parts = [image(PUBLIC, detail="high"), {"type": "image_url", "image_url": PUBLIC}]
    for detail in ("low", "high", "auto"):
        configure(NAME, detail=detail)
        assert ask(MODEL, messages=[{"role": "user", "content": parts}], stream=stream).status_code == 200
        assert content_sent(upstream) == [image(PUBLIC, detail=detail)] * 2


def test_what_claude_is_sent_by_its_own_clients_stays_theirs(
    client: Client, configure: Configure, upstream: Upstream
) -> None:
    """Anthropic has no word for detail; what its clients write, such as citations, reaches it as it came."""
    configure(NAME, detail="low")
    picture = {"type": "image", "source": {"type": "url", "url": PUBLIC}, "cache_control": {"type": "ephemeral"}}
    quoted = {"type": "text", "text": "Look", "citations": [{"type": "page_location"}]}
    body = {"model": CLAUDE, "max_tokens": 9, "messages": [{"role": "user", "content": [picture, quoted]}]}
    client.user.post("/v1/messages", json=body)
    assert upstream.seen(CLAUDE)[-1]["body"]["messages"] == body["messages"]


def test_settings_that_cannot_be_are_refused(admin: Caller, refused: Refusals) -> None:
    """And change nothing."""
    before = admin.get(f"/api/proxy/modules/{NAME}").json()
    for wrong in ({"types": ["svg"]}, {"max_images": -1}, {"detail": "best"}, {"max_bytes": 0}, {"max_pixels": 9}):
        refused(admin.put(f"/api/proxy/modules/{NAME}", json={"config": wrong}), 400)
    assert admin.get(f"/api/proxy/modules/{NAME}").json() == before


def test_switched_off_it_looks_at_nothing(show: Callable[..., Any], configure: Configure, upstream: Upstream) -> None:
    """A call is as it was."""
    configure(NAME, enabled=False, max_images=0)
    assert show("https://10.0.0.1/").status_code == 200
