"""A Gemini response as an OpenAI chat completion or embeddings list."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from app.gateway.chat_response import Head, embedding_list, fresh_id, message, parsed, tool_call, understood
from app.gateway.providers.openai.errors import complaint
from app.gateway.usage import count
from app.gateway.wire import Answer, BadAnswerError, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.gateway.wire import Json

_FILTERED = (
    *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"),
    *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
)
FINISH = {"MAX_TOKENS": "length"} | dict.fromkeys(_FILTERED, "content_filter")
# The model broke down: there is no answer to give, and another attempt may succeed.
_BROKEN = frozenset({"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE"})


@dataclass(slots=True)
class Said:
    """What one candidate said, or one frame's share of it."""

    text: str = ""
    reasoning: str = ""
    calls: list[Json] = field(default_factory=list)


def completion(raw: bytes, model: str) -> Answer:
    """The whole answer; a blocked prompt is an answer too: one filtered choice that says why."""
    body = parsed(raw, "gemini")
    if "error" in body:
        raise BadAnswerError(complaint(body).message)
    with understood("gemini"):
        return _answer(body, model)


def _answer(body: Json, model: str) -> Answer:
    head = head_of(body, model)
    choices = [_choice(head.id, candidate) for candidate in body.get("candidates") or []]
    blocked = block_reason(body)
    if not choices and blocked:
        choices = [
            {
                "index": 0,
                "message": message("", [], refusal=blocked),
                "logprobs": None,
                "finish_reason": "content_filter",
            }
        ]
    if not choices:
        raise BadAnswerError("gemini answered with no candidates")
    return head.answer(choices, read_usage(body.get("usageMetadata")))


def head_of(body: Json, model: str) -> Head:
    """The id and model of a response or of a stream's first frame."""
    response_id = body.get("responseId")
    return Head(f"chatcmpl-{response_id}" if response_id else fresh_id(), body.get("modelVersion") or model)


def _choice(answer_id: str, candidate: Json) -> Json:
    index = candidate.get("index", 0)
    said = read_parts(candidate, answer_id, 0)
    return {
        "index": index,
        "message": message(said.text, said.calls, said.reasoning),
        "logprobs": read_logprobs(candidate),
        "finish_reason": finish(candidate.get("finishReason"), called=bool(said.calls)),
    }


def read_parts(candidate: Json, answer_id: str, first_call: int) -> Said:
    """The parts of a candidate sorted by what they are; `first_call` counts the calls of earlier frames."""
    said = Said()
    for part in (candidate.get("content") or {}).get("parts") or []:
        if "functionCall" in part:
            place = f"{answer_id}/{candidate.get('index', 0)}/{first_call + len(said.calls)}"
            said.calls.append(_call(part, place))
        elif part.get("thought"):
            said.reasoning += part.get("text", "")
        else:
            said.text += part.get("text", "")
    return said


def _call(part: Json, place: str) -> Json:
    """A function call; Gemini's own id when it gave one, else one that follows from its place in the answer."""
    function = part["functionCall"]
    call_id = function.get("id") or f"call_{blake2b(place.encode(), digest_size=12).hexdigest()}"
    signature = part.get("thoughtSignature")
    # Where Google's own OpenAI endpoint puts it; the caller must send it back with the call.
    extra: Json = {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}
    return tool_call(call_id, function["name"], function.get("args") or {}, **extra)


def finish(reason: str | None, *, called: bool) -> str:
    """OpenAI's finish reason; BadAnswerError when the model broke down instead of finishing."""
    if reason in _BROKEN:
        raise BadAnswerError(f"gemini broke off its answer: {reason}")
    return FINISH.get(reason or "STOP", "tool_calls" if called else "stop")


def block_reason(body: Json) -> str | None:
    """Why the prompt was blocked, as a sentence, or None."""
    reason = (body.get("promptFeedback") or {}).get("blockReason")
    return f"The prompt was blocked: {reason}." if reason else None


def read_usage(usage: Any) -> Usage | None:
    """Gemini's counts in disjoint parts: its prompt includes cached tokens, its candidates exclude thoughts."""
    if not isinstance(usage, dict) or not any(count(value) for value in usage.values()):
        return None
    prompt = count(usage.get("promptTokenCount")) + count(usage.get("toolUsePromptTokenCount"))
    cached = min(prompt, count(usage.get("cachedContentTokenCount")))
    return Usage(
        input=prompt - cached,
        cache_read=cached,
        output=count(usage.get("candidatesTokenCount")),
        reasoning=count(usage.get("thoughtsTokenCount")),
    )


def read_logprobs(candidate: Json) -> Json | None:
    """OpenAI's `logprobs` of a choice, or None when none were asked for."""
    result = candidate.get("logprobsResult")
    return {"content": list(_logprobs(result))} if result else None


def _logprobs(result: Json) -> Iterator[Json]:
    tops = result.get("topCandidates") or []
    for place, chosen in enumerate(result.get("chosenCandidates") or []):
        top = tops[place].get("candidates") or [] if place < len(tops) else []
        yield _logprob(chosen) | {"top_logprobs": [_logprob(other) for other in top]}


def _logprob(candidate: Json) -> Json:
    token = candidate.get("token", "")
    return {"token": token, "logprob": candidate.get("logProbability", 0.0), "bytes": list(token.encode())}


def embeddings(raw: bytes, model: str) -> Answer:
    """The vectors, in the order of the inputs; counts are ours to estimate when Gemini gives none."""
    body = parsed(raw, "gemini")
    if "error" in body:
        raise BadAnswerError(complaint(body).message)
    rows = body.get("embeddings")
    if not isinstance(rows, list) or not rows:
        raise BadAnswerError("gemini answered with no embeddings")
    with understood("gemini"):
        usage = read_usage(body.get("usageMetadata")) or Usage(reported=False)
        return Answer(embedding_list([row["values"] for row in rows], model, usage), usage)
