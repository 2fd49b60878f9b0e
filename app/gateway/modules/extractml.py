"""Extraction: the JSON, the code or the table of an answer, without what was said around it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import orjson

from app.gateway.exchange import Exchange
from app.gateway.modules.detectors import warn
from app.gateway.modules.evalgate import said_in
from app.gateway.steps import Judgement, Module, Steps
from app.gateway.wire import Answer, Json, Kind
from app.problems import Problem

WANTED: Final = "x-extract"
FENCE: Final = re.compile(r"[ \t]*```([A-Za-z0-9_+.#-]{0,30})")
RULED: Final = re.compile(r"^[ \t]*\|?(?:[ \t]*:?-{3,}:?[ \t]*\|)*[ \t]*:?-{3,}:?[ \t]*\|?[ \t]*$")
CELL: Final = re.compile(r"(?<!\\)\|")
NOTHING: Final = object()
DECODER: Final = json.JSONDecoder()
# Places in a text where JSON may begin that are looked at.
MOST_PLACES: Final = 200


class Extractml(Module):
    """Looks at whole answers: a stream waits for its end."""

    COUNTS = ("found", "again", "missing")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """By the call's header, else by the settings."""
        default, budget = settings["extract"], settings["max_retries"] if settings["required"] else 0
        alone = settings["into"] == "content"

        def request(exchange: Exchange) -> None:
            if (name := _wanted(exchange, default)) not in {"none", *FINDERS}:
                told = {"param": "X-Extract"}
                raise Problem(400, f"X-Extract must be none, {', '.join(FINDERS)}, and not {name[:50]}", details=told)
            exchange.variant += f"extractml={name};"

        def judge(exchange: Exchange, answer: Answer) -> str:
            find = _finder(exchange, default)
            if find is None or all(find(text) is not NOTHING for text in said_in(answer)):
                return ""
            self.counted["again"] += 1
            return f"That answer holds no {_wanted(exchange, default)}. Answer again, with it."

        def answer(exchange: Exchange, given: Answer) -> Answer:
            find = _finder(exchange, default)
            return given if find is None else self._extracted(exchange, given, find, alone=alone)

        def failed(_exchange: Exchange, _hint: str) -> None:
            self.counted["again"] -= 1  # it was not asked for once more

        judgement = Judgement(judge, budget, failed) if budget else None

        def waits(exchange: Exchange) -> bool:
            return _finder(exchange, default) is not None

        return Steps(request=request, judgement=judgement, answer=answer, waits=waits)

    def _extracted(self, exchange: Exchange, given: Answer, find: Callable[[str], Any], *, alone: bool) -> Answer:
        choices = [self._choice(exchange, choice, find, alone=alone) for choice in given.body["choices"]]
        return Answer({**given.body, "choices": choices}, given.usage)

    def _choice(self, exchange: Exchange, choice: Json, find: Callable[[str], Any], *, alone: bool) -> Json:
        said = (choice.get("message") or {}).get("content", choice.get("text"))
        found = find(said) if isinstance(said, str) else NOTHING
        self.counted["missing" if found is NOTHING else "found"] += 1
        if found is NOTHING:
            warn(exchange, "extractml.missing")
            return choice if alone else {**choice, "extracted": None}
        return _saying(choice, _text(found)) if alone else {**choice, "extracted": found}


def _wanted(exchange: Exchange, default: str) -> str:
    return exchange.call.headers.get(WANTED, default).strip().lower()


def _finder(exchange: Exchange, default: str) -> Callable[[str], Any] | None:
    return None if exchange.kind is Kind.EMBEDDINGS else FINDERS.get(_wanted(exchange, default))


def _saying(choice: Json, text: str) -> Json:
    """The choice with only this said; a provider's own form of it would say the rest."""
    if "message" not in choice:
        return {**choice, "text": text}
    kept = {name: value for name, value in choice["message"].items() if name != "anthropic_blocks"}
    return {**choice, "logprobs": None, "message": {**kept, "content": text}}


def _text(found: Any) -> str:
    if isinstance(found, dict) and found.keys() == {"language", "code"}:
        return str(found["code"])
    return orjson.dumps(found).decode()


def json_in(text: str) -> Any:
    """The first JSON object or array, fenced ones before others; NOTHING when there is none."""
    for _, code in fenced(text):
        try:
            return orjson.loads(code)
        except ValueError:
            continue
    at = -1
    for _ in range(MOST_PLACES):
        at = min((place for mark in "{[" if (place := text.find(mark, at + 1)) >= 0), default=-1)
        if at < 0:
            break
        try:
            return DECODER.raw_decode(text, at)[0]
        except (ValueError, RecursionError):
            continue
    return NOTHING


def code_in(text: str) -> Any:
    """The first fenced block: its language, as far as it says one, and its code."""
    found = next(fenced(text), None)
    return NOTHING if found is None else {"language": found[0], "code": found[1]}


def fenced(text: str) -> Iterator[tuple[str, str]]:
    """The fenced blocks: language and code. One that is never closed is none."""
    language, lines = None, list[str]()
    for line in text.splitlines():
        fence = FENCE.match(line)
        if language is None:
            language, lines = (fence[1].lower() if fence else None), []
        elif fence and not fence[1] and line.strip() == "```":
            yield language, "\n".join(lines)
            language = None
        else:
            lines.append(line)


def table_in(text: str) -> Any:
    """The rows of the first table in Markdown, by the names of its columns; an empty cell is an empty text."""
    lines = text.splitlines()
    for at, line in enumerate(lines[1:], start=1):
        if "|" in lines[at - 1] and "|" in line and RULED.match(line):
            names = cells(lines[at - 1])
            rows = [cells(row) for row in _until(lines[at + 1 :])]
            return [dict(zip(names, [*row, *[""] * len(names)], strict=False)) for row in rows]
    return NOTHING


def _until(lines: list[str]) -> list[str]:
    """The lines that still belong to a table."""
    end = next((n for n, line in enumerate(lines) if "|" not in line), len(lines))
    return lines[:end]


def cells(line: str) -> list[str]:
    """The cells of a row, without the pipes around them."""
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [cell.strip().replace("\\|", "|") for cell in CELL.split(inner)]


FINDERS: Final[Mapping[str, Callable[[str], Any]]] = {"json": json_in, "code": code_in, "table": table_in}
