"""Context pack: the documents that are about a question go with it, and nothing else of the data directory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.settings import Settings
from gateway.lane.conftest import Ask, chat
from gateway.modules.conftest import MODEL
from gateway.upstream import Upstream
from support.callers import Caller

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
BOOK = "The yard opens at six.\n\nTurntables are greased on Mondays."
SOURCES = [{"name": "book", "text": BOOK}, {"name": "menu", "text": "The canteen serves soup."}]


def sent(upstream: Upstream) -> list[tuple[str, str]]:
    """The messages the provider was sent last."""
    return [(m["role"], m["content"]) for m in upstream.seen(MODEL)[-1]["body"]["messages"]]


ASKED = ("user", "When are turntables greased?")
PLACES = {
    "before_user": [("system", "Be kind."), ("user", "Read: {}\n\nWhen are turntables greased?")],
    "system_append": [("system", "Be kind.\n\nRead: {}"), ASKED],
    "separate_message": [("system", "Be kind."), ("system", "Read: {}"), ASKED],
}


@BOTH
def test_passages_stand_where_they_are_wanted(ask: Ask, configure: Configure, upstream: Upstream, stream: bool) -> None:
    """Those that share words with the last question; the rest of the documents stays away."""
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": ASKED[1]}]
    for position, expected in PLACES.items():
        configure("contextpack", sources=SOURCES, injection={"position": position, "template": "Read: {{chunks}}"})
        assert ask(MODEL, messages=messages, stream=stream).status_code == 200
        assert sent(upstream) == [(role, text.replace("{}", BOOK)) for role, text in expected]


def test_a_question_about_nothing_known_goes_out_as_it_came(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """Passages that only share common words are none."""
    configure("contextpack", sources=SOURCES)
    ask(MODEL, "What is the capital of the moon?")
    assert sent(upstream) == [("user", "What is the capital of the moon?")]


def test_passages_take_no_more_room_than_they_may(ask: Ask, configure: Configure, upstream: Upstream) -> None:
    """The best first."""
    texts = [{"name": f"n{n}", "text": f"turntable {'x ' * 100}"} for n in range(5)]
    best = {"name": "best", "text": "turntable turntable grease"}
    configure("contextpack", sources=[*texts, best], injection={"max_tokens": 70})
    ask(MODEL, "turntable grease?")
    told = sent(upstream)[-1][1]
    assert told.count("turntable") == 4  # the question, the best twice, one of the others
    assert "turntable turntable grease" in told


def test_a_directory_is_read_when_settings_change(
    ask: Ask, configure: Configure, upstream: Upstream, settings: Settings, admin: Caller
) -> None:
    """Only below its own folder: no path and no link leads to the server's secrets."""
    folder = settings.data / "context" / "docs"
    folder.mkdir(parents=True)
    (folder / "yard.md").write_text("The signalbox has forty levers.")
    (folder / "picture.png").write_bytes(b"signalbox")
    secret = settings.data / "hidden.txt"
    secret.write_text("signalbox secret")
    (folder / "link.txt").symlink_to(secret)
    for path in ("docs", "../", "../../", str(settings.data), "x" * 300, "a\0b", "nowhere"):
        configure("contextpack", sources=[{"name": "d", "type": "directory", "path": path}])
        ask(MODEL, "What of the signalbox?")
        told = sent(upstream)[-1][1]
        assert ("forty levers" in told) is (path == "docs"), path
        assert "secret" not in told
    assert admin.get("/api/proxy/modules/contextpack").json()["stats"] == {
        "asked": 1,
        "matched": 1,
        "passages": 1,
        "known": 0,
    }


def test_a_changed_file_is_read_again(ask: Ask, configure: Configure, upstream: Upstream, settings: Settings) -> None:
    """With the next change of any setting, and not before: a call never waits for a disk."""
    file = settings.data / "context" / "yard.md"
    file.parent.mkdir()
    file.write_text("Levers: forty.")
    source = [{"name": "d", "type": "directory", "path": "."}]
    for text in ("Levers: forty.", "Levers: fifty-one."):
        file.write_text(text)
        configure("contextpack", sources=source)
        ask(MODEL, "How many levers?")
        assert text in sent(upstream)[-1][1]


def test_a_prompt_without_messages_has_passages_too(configure: Configure, upstream: Upstream, user: Caller) -> None:
    """Before its text; embeddings never."""
    configure("contextpack", sources=SOURCES)
    user.post("/v1/completions", json={"model": MODEL, "prompt": "Turntables?"})
    assert upstream.seen(MODEL)[-1]["body"]["prompt"].endswith("\n\nTurntables?")
    user.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": "Turntables?"})
    assert upstream.seen("text-embedding-3-small")[-1]["body"]["input"] == "Turntables?"
    assert chat(MODEL)["messages"][0]["content"] == "hello"
