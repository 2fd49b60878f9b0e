"""The forms of training data: a conversation as one line of JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from app.services.training.conversations import ASSISTANT, SYSTEM, USER, Said

Json = dict[str, Any]
SPEAKERS: Final = {SYSTEM: "system", USER: "human", ASSISTANT: "gpt"}


def line(said: Sequence[Said], form: str) -> bytes | None:
    """The line with its end; None where the form has no place for a conversation like this."""
    told = FORMS[form](said)
    return None if told is None else orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)


def _openai(said: Sequence[Said]) -> Json:
    return {"messages": [{"role": one.role, "content": one.text} for one in said]}


def _sharegpt(said: Sequence[Said]) -> Json:
    return {"conversations": [{"from": SPEAKERS[one.role], "value": one.text} for one in said]}


def _alpaca(said: Sequence[Said]) -> Json | None:
    """The last question and its answer; what came before is the history, in pairs."""
    system = [one.text for one in said if one.role == SYSTEM]
    spoken = [one for one in said if one.role != SYSTEM]
    if [one.role for one in spoken] != [USER, ASSISTANT] * (len(spoken) // 2):
        return None
    pairs = [[asked.text, answer.text] for asked, answer in zip(spoken[::2], spoken[1::2], strict=True)]
    told: Json = {"instruction": pairs[-1][0], "input": "", "output": pairs[-1][1]}
    told |= {"system": "\n\n".join(system)} if system else {}
    return told | ({"history": pairs[:-1]} if pairs[1:] else {})


FORMS: Final[Mapping[str, Callable[[Sequence[Said]], Json | None]]] = {
    "openai": _openai,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
}
