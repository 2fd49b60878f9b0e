"""What every provider is held to: rows of behaviour, and the fixtures that show each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from app.gateway.wire import Kind

FIXTURES = Path(__file__).parent / "fixtures"

# Row: what its fixtures show.
ROWS = {
    "text": "plain text",
    "system_prompt": "system and developer messages",
    "multi_turn": "a conversation, two messages of one role in a row",
    "tools": "text and a tool call in one answer",
    "parallel_tools": "three calls at once, one without arguments, one whose arguments come whole",
    "tool_results": "the results of two calls sent back",
    "images": "an inline image and one by URL",
    "stop_sequence": "a stop sequence, sampling parameters, the end user's name",
    "max_tokens": "an answer cut by its token limit",
    "content_filter": "an answer the provider withheld",
    "blocked_prompt": "a prompt the provider refused to read",
    "cached_tokens": "tokens read from the prompt cache",
    "cache_write": "tokens written to the prompt cache",
    "reasoning": "reasoning, and its tokens",
    "unicode": "text of many bytes a character",
    "empty_blocks": "blocks and frames that say nothing",
    "structured_output": "an answer held to a JSON schema",
    "several_choices": "two choices",
    "logprobs": "token probabilities",
    "usage_alone": "usage in a frame of its own",
    "finish_with_usage": "usage in the frame that finishes",
    "html_page": "a proxy's HTML page with status 200",
    "error_as_answer": "an error with status 200",
    "refused": "a JSON error with status 400",
    "cut_stream": "a stream that stops before its end",
    "error_frame": "an error in the middle of a stream",
    "completions": "legacy completions",
    "embeddings": "embeddings",
}
ROW_KINDS = {"completions": Kind.COMPLETIONS, "embeddings": Kind.EMBEDDINGS}

_LIKE_OPENAI = """
ai21 azure cerebras cohere dashscope deepinfra deepseek featherless fireworks friendli github-models groq huggingface
hyperbolic jina lmstudio meta-llama mistral moonshot nebius novita nscale nvidia ollama openai openrouter perplexity
replicate sambanova sandbox scaleway siliconflow together vllm volcengine voyage xai zai
"""
# Provider: the folder of fixtures it is held to; a folder under its own name goes first, row by row.
FAMILIES = {"anthropic": "anthropic", "gemini": "gemini"} | dict.fromkeys(_LIKE_OPENAI.split(), "openai")

# What a family cannot show, and why.
UNABLE = {
    ("anthropic", "blocked_prompt"): "refuses in the answer itself: content_filter",
    ("anthropic", "several_choices"): "has one choice; more are refused before sending",
    ("anthropic", "logprobs"): "has no token probabilities; asking is refused before sending",
    ("anthropic", "embeddings"): "has none; asking is refused before sending",
    ("gemini", "cache_write"): "caches by itself and charges no write",
    ("openai", "blocked_prompt"): "refuses with a status: refused",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One folder of fixtures, for one provider."""

    provider: str
    row: str
    folder: Path

    @property
    def kind(self) -> Kind:
        """The model call the row is about."""
        return ROW_KINDS.get(self.row, Kind.CHAT)

    @property
    def asked(self) -> dict[str, Any]:
        """The caller's body, in OpenAI's shape."""
        return _json(self.folder / "asked.json")

    @property
    def expected(self) -> dict[str, Any]:
        """What must come out."""
        return _json(self.folder / "expected.json")

    @property
    def sent(self) -> dict[str, Any] | None:
        """The request the provider must get: path, headers and body; None where that follows from `asked`."""
        path = self.folder / "sent.json"
        return _json(path) if path.exists() else None

    @property
    def stream(self) -> bytes | None:
        """The provider's stream."""
        path = self.folder / "stream.sse"
        return path.read_bytes() if path.exists() else None

    @property
    def answer(self) -> tuple[bytes, str] | None:
        """The provider's plain body and its content type."""
        for name, mime in (("answer.json", "application/json"), ("answer.html", "text/html")):
            if (self.folder / name).exists():
                return (self.folder / name).read_bytes(), mime
        return None

    def __str__(self) -> str:
        return f"{self.provider}-{self.row}"


@cache
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _json(path: Path) -> Any:
    return json.loads(_read(path))


def case(provider: str, row: str) -> Case:
    """The fixtures that show a row for a provider: its own, or its family's."""
    own = FIXTURES / provider / row
    return Case(provider, row, own if own.is_dir() else FIXTURES / FAMILIES[provider] / row)


def rows_of(provider: str, kinds: frozenset[Kind]) -> list[str]:
    """The rows a provider of these kinds must show."""
    family = FAMILIES[provider]
    return [row for row in ROWS if ROW_KINDS.get(row, Kind.CHAT) in kinds and (family, row) not in UNABLE]
