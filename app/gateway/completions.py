"""Legacy completions said through chat, for providers that only converse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.gateway.chat_request import refuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from app.gateway.wire import Decoder, Json, Usage

_UNABLE = {
    "suffix": "a chat model does not fill in the middle",
    "echo": "the prompt is not part of a chat answer",
    "logprobs": "a chat answer has no text offsets",
}
_LEGACY_ONLY = frozenset({"prompt", "suffix", "echo", "logprobs", "best_of"})
_FINISH = {"tool_calls": "stop", "function_call": "stop"}


def chat_body(body: Json) -> Json:
    """The chat body for a legacy one; ValueError when chat cannot say it.

    One prompt becomes one user message. A body that already holds `messages` keeps them.
    """
    refuse(body, _UNABLE, "a chat provider")
    if (body.get("best_of") or 1) > (body.get("n") or 1):
        raise ValueError("a chat provider cannot honour best_of: every choice it makes is returned")
    rest = {name: value for name, value in body.items() if name not in _LEGACY_ONLY}
    if "messages" in rest:
        return rest
    return {**rest, "messages": [{"role": "user", "content": _prompt(body.get("prompt"))}]}


def _prompt(prompt: Any) -> str:
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list) or not prompts or not all(isinstance(one, str) for one in prompts):
        raise ValueError("prompt must be text for this provider, not tokens")
    if len(prompts) > 1:
        raise ValueError("this provider takes one prompt at a time")
    return str(prompts[0])


def text_answer(chat: Json) -> Json:
    """A `chat.completion` as a `text_completion`; reasoning has no place in it."""
    choices = [_choice(choice, choice["message"]) for choice in chat["choices"]]
    return {**chat, "object": "text_completion", "choices": choices}


def text_chunk(chunk: Json) -> Json | None:
    """A chat chunk as a legacy one, or None when it holds neither text nor an end."""
    choices = [_choice(choice, choice["delta"]) for choice in chunk["choices"]]
    if not any(choice["text"] or choice["finish_reason"] for choice in choices):
        return None
    return {**chunk, "object": "text_completion", "choices": choices}


def _choice(choice: Json, said: Json) -> Json:
    finish: str | None = choice.get("finish_reason")
    return {
        "index": choice["index"],
        "text": said.get("content") or said.get("refusal") or "",
        "logprobs": None,
        "finish_reason": _FINISH.get(finish or "", finish),
    }


class TextDecoder:
    """A decoder of legacy completions around one of chat."""

    __slots__ = ("_chat",)

    def __init__(self, chat: Decoder) -> None:
        self._chat = chat

    def feed(self, data: bytes) -> Iterator[Json]:
        """The legacy chunks completed by these bytes."""
        return _texts(self._chat.feed(data))

    def end(self) -> Iterator[Json]:
        """The legacy chunks still held at the end of input."""
        return _texts(self._chat.end())

    @property
    def usage(self) -> Usage | None:
        """What the provider reported so far, if anything."""
        return self._chat.usage


def _texts(chunks: Iterable[Json]) -> Iterator[Json]:
    return (text for text in map(text_chunk, chunks) if text is not None)
