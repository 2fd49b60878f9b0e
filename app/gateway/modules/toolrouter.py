"""Tool router: of many tools a model is offered those that fit the question, and chooses better among fewer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.bodies import last_text
from app.gateway.modules.words import words
from app.gateway.steps import Module, Steps
from app.gateway.wire import Json

# As much of a word as tells it from others, in the plural too.
STEM: Final = 5


class Toolrouter(Module):
    """By the words of names and descriptions. Tools stay in their order, so that a provider's cache still helps."""

    COUNTS = ("routed", "withheld")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """A call that offers few enough keeps them all."""
        most, always = settings["max_tools"], settings["always"]

        def request(exchange: Exchange) -> None:
            tools = exchange.body.get("tools")
            if not isinstance(tools, list) or len(tools) <= most:
                return
            kept = _fitting(exchange.body, tools, most, always)
            self.counted["routed"] += 1
            self.counted["withheld"] += len(tools) - len(kept)
            exchange.body = {**exchange.body, "tools": kept}
            exchange.details["tools_withheld"] = len(tools) - len(kept)

        return Steps(request=request)


def _fitting(body: Json, tools: Sequence[Any], most: int, always: Sequence[str]) -> list[Any]:
    """The tools that must stay, and the best of the others up to so many."""
    asked, needed = _stems([last_text(body)]), _needed(body)
    names = [_name(tool) for tool in tools]
    stay = [n for n, name in enumerate(names) if name in needed or any(fnmatchcase(name, glob) for glob in always)]
    others = sorted(set(range(len(tools))) - {*stay}, key=lambda n: (-len(asked & _stems(_about(tools[n]))), n))
    chosen = {*stay, *others[: max(0, most - len(stay))]}
    return [tool for n, tool in enumerate(tools) if n in chosen]


def _needed(body: Json) -> frozenset[str]:
    """Tools that were called before, whose results the conversation holds, and the one that must be called."""
    called = [call for message in body.get("messages") or () if isinstance(message, dict) for call in _calls(message)]
    return frozenset(_name(call) for call in (*called, body.get("tool_choice")))


def _calls(message: Json) -> Sequence[Any]:
    calls = message.get("tool_calls")
    return calls if isinstance(calls, list) else ()


def _function(tool: Any) -> Json:
    """The function of a tool, of a call or of a choice; what has none is a tool of the provider's own."""
    function = tool.get("function") if isinstance(tool, dict) else None
    return function if isinstance(function, dict) else tool if isinstance(tool, dict) else {}


def _name(tool: Any) -> str:
    return str(_function(tool).get("name") or "")


def _about(tool: Any) -> list[str]:
    function = _function(tool)
    parameters = function.get("parameters")
    fields = parameters.get("properties") if isinstance(parameters, dict) else None
    return [_name(tool), str(function.get("description") or ""), *(fields if isinstance(fields, dict) else ())]


def _stems(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(word[:STEM] for text in texts for word in words(text.replace("_", " ").replace("-", " ")))
