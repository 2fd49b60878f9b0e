"""`webhookforge`: the body of an event after the operator's template, made once, where the event is announced.

A template that is a JSON object or array, each field taken for a value, stays one: within a string a field is its text,
escaped, elsewhere its value in JSON, null when there is none. In any other template a field is its text as it is. What
a value holds is never read as a template.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.services.observing.switched import enabled
from models.webhooks import WebhookMessage

Json = dict[str, Any]
NAME: Final = "webhookforge"
FIELD: Final = re.compile(r"\{\{\s{0,3}([A-Za-z0-9_.-]{1,200})\s{0,3}\}\}")
SHAPED, TOO_LARGE, NOT_JSON = "shaped", "too_large", "not_json"
OUTCOMES: Final = (SHAPED, TOO_LARGE, NOT_JSON)
# How a field is written: its text, its text within a string of JSON, or its value in JSON.
PLAIN, QUOTED, BARE = "plain", "quoted", "bare"
JSON_TYPE, TEXT_TYPE = "application/json", "text/plain; charset=utf-8"
STAND_IN: Final = "0"
MOST_DIGITS: Final = 4


class Template(NamedTuple):
    """Text and fields by turns, text first and last; each field with how it is written."""

    texts: tuple[str, ...]
    fields: tuple[tuple[tuple[str, ...], str], ...]
    is_json: bool


class Shaped(NamedTuple):
    """A body, and what came of its template: None where there is none for it."""

    body: str
    outcome: str | None


def shaped(session: Session, type_: str, payload: Json) -> Shaped:
    """The body of an event, after its template while the module is on; what does not fit goes as it always did."""
    usual = orjson.dumps(payload)
    settings = enabled(session, NAME)
    text = settings["templates"].get(type_, "") if settings else ""
    if settings is None or not text:
        return Shaped(usual.decode(), None)
    template, most = parsed(text), settings["max_bytes"]
    body = rendered(template, orjson.loads(usual), most)
    if body is None:
        return Shaped(usual.decode(), TOO_LARGE)
    return Shaped(body, SHAPED) if not template.is_json or _is_json(body) else Shaped(usual.decode(), NOT_JSON)


@lru_cache(maxsize=256)
def parsed(text: str) -> Template:
    """The template, read once in each process, without what no database would keep."""
    text = text.encode("utf-8", "replace").decode().replace("\0", "")
    texts = tuple(FIELD.split(text)[::2])
    is_json, quoted, fields = _is_json(FIELD.sub(STAND_IN, text)), False, []
    for before, path in zip(texts, FIELD.findall(text), strict=False):
        quoted ^= _quotes(before) % 2 == 1
        how = (QUOTED if quoted else BARE) if is_json else PLAIN
        fields.append((tuple(path.split(".")), how))
    return Template(texts, tuple(fields), is_json)


def rendered(template: Template, payload: Json, most: int) -> str | None:
    """The body; None when it is larger than that many bytes."""
    parts, room = [template.texts[0]], most - len(template.texts[0])
    for (path, how), after in zip(template.fields, template.texts[1:], strict=True):
        parts += [_written(_at(payload, path), how), after]
        room -= len(parts[-2]) + len(after)
        if room < 0:
            return None
    body = "".join(parts)
    return body if len(body.encode()) <= most else None


def content_type(body: bytes) -> str:
    """What a body is sent as."""
    return JSON_TYPE if _is_json(body) else TEXT_TYPE


def stats(session: Session) -> Json:
    """What came of the templates of the messages that are kept: thirty days of them, over all workers."""
    counted = select(WebhookMessage.shape, func.count()).where(WebhookMessage.shape.is_not(None))
    rows = session.execute(counted.group_by(WebhookMessage.shape))
    found = {str(outcome): number for outcome, number in rows}
    return {outcome: found.get(outcome, 0) for outcome in OUTCOMES}


def _at(payload: Any, path: tuple[str, ...]) -> Any:
    """What is there, items of lists by their number from 0; None when nothing is."""
    held = payload
    for name in path:
        if isinstance(held, dict):
            held = held.get(name)
        elif isinstance(held, list) and name.isdecimal() and len(name) <= MOST_DIGITS:
            held = held[int(name)] if int(name) < len(held) else None
        else:
            return None
    return held


def _written(value: Any, how: str) -> str:
    if how == BARE:
        return orjson.dumps(value).decode()
    text = value if isinstance(value, str) else "" if value is None else orjson.dumps(value).decode()
    return orjson.dumps(text).decode()[1:-1] if how == QUOTED else text.replace("\0", "")


def _quotes(text: str) -> int:
    """How many strings of JSON begin or end in it."""
    return re.sub(r"\\.", "", text).count('"')


def _is_json(text: str | bytes) -> bool:
    """Whether it is an object or an array."""
    try:
        return isinstance(orjson.loads(text), dict | list)
    except orjson.JSONDecodeError:
        return False
