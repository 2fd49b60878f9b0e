"""The reason in a refusal, whatever shape an OpenAI-like server gives it, made safe to show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from app.gateway.wire import Refusal
from app.security.redact import redact

if TYPE_CHECKING:
    from app.gateway.wire import Json

MESSAGE_LIMIT: Final = 500
FIELD_LIMIT: Final = 200
_READ_LIMIT: Final = 8_000
_HTML: Final = re.compile(r"\s*(?:<!doctype html|<html|<head|<body)", re.IGNORECASE)
_TITLE: Final = re.compile(r"<title[^>]*>([^<]{1,200})", re.IGNORECASE)


def refusal(status: int, raw: bytes) -> Refusal:
    """The reason in a non-2xx body: OpenAI's envelope, `detail`, `message`, plain text or an HTML page."""
    try:
        found = parse(orjson.loads(raw))
    except orjson.JSONDecodeError:
        found = Refusal(_plain(raw))
    return _safe(found, f"HTTP {status} without a reason")


def complaint(body: Any, default: str = "the provider reported an error") -> Refusal:
    """The reason in an error object that came where an answer was due."""
    return _safe(parse(body), default)


def parse(body: Any) -> Refusal:
    """The reason in parsed JSON, as the provider wrote it; an empty message when it holds none.

    Shapes seen: `{"error": {…}}` (OpenAI), `[{"error": {…}}]` (Google), `{"error": "…"}` (xAI, Ollama), the fields at
    the top (Mistral, Cohere, vLLM), `{"detail": "…" | [{"loc", "msg"}]}` (FastAPI), `{"errors": […]}`.
    """
    if isinstance(body, list):
        return parse(body[0]) if body else Refusal("")
    if not isinstance(body, dict):
        return Refusal(body if isinstance(body, str) else "")
    error = body.get("error")
    if isinstance(error, dict):
        return _from(error)
    return _from(body | {"message": error} if isinstance(error, str) else body)


def _from(error: Json) -> Refusal:
    said = (error.get(name) for name in ("message", "detail", "error_description", "msg", "errors", "error"))
    message = next((text for value in said if (text := _text(value))), "")
    return Refusal(message, type=_field(error, "type"), code=_field(error, "code"), param=_field(error, "param"))


def _text(value: Any) -> str:
    """A message given as text, as an object around one, or as a list of findings."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        place = ".".join(str(step) for step in value["loc"]) if isinstance(value.get("loc"), list) else ""
        said = _text(value.get("msg") or value.get("message") or value.get("detail"))
        return f"{place}: {said}" if place and said else said
    if isinstance(value, list):
        return "; ".join(filter(None, map(_text, value[:5])))
    return ""


def _field(error: Json, name: str) -> str | None:
    value = error.get(name)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def _plain(raw: bytes) -> str:
    text = raw[:_READ_LIMIT].decode("utf-8", "replace")
    return html_page(text) or text


def html_page(text: str) -> str:
    """What to call an HTML page that came instead of JSON, by its title; empty when it is none."""
    if not _HTML.match(text):
        return ""
    title = _TITLE.search(text)
    return f"HTML error page: {title[1].strip()}" if title and title[1].strip() else "HTML error page"


def _safe(found: Refusal, default: str) -> Refusal:
    """Redacted first and cut after, so that no cut leaves half a key unrecognised."""
    return Refusal(
        shown(found.message, MESSAGE_LIMIT) or default,
        type=shown(found.type or "", FIELD_LIMIT) or None,
        code=shown(found.code or "", FIELD_LIMIT) or None,
        param=shown(found.param or "", FIELD_LIMIT) or None,
    )


def shown(text: str, limit: int) -> str:
    """Text on one line, without credentials or control characters, of at most `limit` characters."""
    line = " ".join(redact(text[:_READ_LIMIT]).split())
    line = "".join(filter(str.isprintable, line))
    return line if len(line) <= limit else line[: limit - 1] + "…"
