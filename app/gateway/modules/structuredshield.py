"""Structured shield: holds answers to an operator's JSON Schema, and asks the model again until they fit."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

import jsonschema_rs
import orjson

from app.gateway.exchange import Exchange
from app.gateway.modules.evalgate import said_in
from app.gateway.steps import Judgement, Module, Steps
from app.gateway.wire import Answer, Json, Kind
from app.problems import Problem

log = logging.getLogger("yardmaster.structuredshield")
FENCE: Final = re.compile(r"\s*```[A-Za-z0-9_-]{0,20}[ \t]*\n(.*?)\n?[ \t]*```\s*", re.DOTALL)
LONGEST_HINT: Final = 300


class Structuredshield(Module):
    """A call names its schema by a header; without one it passes."""

    COUNTS = ("fitted", "again", "refused")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Schemas compiled once; one that is none refuses the calls that name it."""
        header, strip = settings["header"].strip().lower(), settings["strip_fences"]
        known = {schema["name"]: _compiled(schema["name"], schema["schema"]) for schema in settings["schemas"]}

        def request(exchange: Exchange) -> None:
            name = exchange.call.headers.get(header)
            if name and known.get(name) is None:
                raise Problem(404, "There is no usable schema of that name", details={"param": settings["header"]})
            exchange.variant += f"structuredshield={name or ''};"

        def judge(exchange: Exchange, answer: Answer) -> str:
            validator = known.get(exchange.call.headers.get(header, ""))
            if validator is None or exchange.kind is Kind.EMBEDDINGS:
                return ""
            wrong = next(filter(None, (_misfit(validator, bare(text, strip=strip)) for text in said_in(answer))), "")
            self.counted["again" if wrong else "fitted"] += 1
            return f"That answer does not fit the schema: {wrong}. Answer with JSON only." if wrong else ""

        def failed(_exchange: Exchange, hint: str) -> None:
            self.counted["refused"] += 1
            raise Problem(502, "The model gave no answer that fits the schema", details={"reason": _reason(hint)})

        def answer(exchange: Exchange, given: Answer) -> Answer:
            named = exchange.call.headers.get(header)
            return _bared(given) if named and strip and exchange.kind is not Kind.EMBEDDINGS else given

        judgement = Judgement(judge, settings["max_retries"], failed)
        return Steps(
            request=request, judgement=judgement, answer=answer, waits=lambda exchange: header in exchange.call.headers
        )


def _reason(hint: str) -> str:
    return hint.removeprefix("That answer does not fit the schema: ")[:LONGEST_HINT]


def _compiled(name: str, text: str) -> Any:
    try:
        return jsonschema_rs.validator_for(orjson.loads(text), pattern_options=jsonschema_rs.RegexOptions())
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        log.error("the schema %s cannot be used: %s", name, type(error).__name__)  # noqa: TRY400
        return None


def _misfit(validator: Any, text: str) -> str:
    """What is wrong, by place and rule, without the value; empty when it fits."""
    try:
        value = orjson.loads(text)
    except ValueError:
        return "it is no JSON"
    error = next(validator.iter_errors(value), None)
    return "" if error is None else f"/{'/'.join(map(str, error.instance_path))} {_rule(error)}"[:LONGEST_HINT]


def _rule(error: Any) -> str:
    return f"breaks the rule at /{'/'.join(map(str, error.schema_path))}"


def bare(text: str, *, strip: bool) -> str:
    """The text without the code fence around it."""
    found = FENCE.fullmatch(text) if strip else None
    return found[1] if found else text


def _bared(given: Answer) -> Answer:
    """The answer with its texts taken out of their fences."""
    choices: list[Json] = []
    for choice in given.body["choices"]:
        message, text = choice.get("message"), choice.get("text")
        if isinstance(message, dict) and isinstance(message.get("content"), str):
            choices.append({**choice, "message": {**message, "content": bare(message["content"], strip=True)}})
        else:
            choices.append({**choice, "text": bare(text, strip=True)} if isinstance(text, str) else choice)
    return given if choices == given.body["choices"] else Answer({**given.body, "choices": choices}, given.usage)
