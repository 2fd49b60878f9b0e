"""Tool shield: a model may call only the tools an operator allows, with arguments they allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from app.gateway.exchange import Exchange
from app.gateway.modules.detectors import BLOCK, Detection, Detector, Line
from app.gateway.patterns import linear
from app.gateway.steps import Module, Steps
from app.gateway.wire import Json


class Toolshield(Module):
    """A tool that is not allowed is not even offered; an argument that is not is refused as it is written."""

    COUNTS = ("withheld", "block")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Tools on the way in, arguments on the way out."""
        allowed, denied = settings["allowed_tools"], settings["denied_tools"]
        patterns = enumerate(settings["denied_arguments"], start=1)
        detectors = [
            Detector(f"toolshield.argument_{place}", "custom", linear(pattern), BLOCK, "toolshield")
            for place, pattern in patterns
        ]
        look = Detection(self.counted)

        def request(exchange: Exchange) -> None:
            offered = exchange.body.get("tools")
            if isinstance(offered, list):
                left = [tool for tool in offered if _may_be_called(tool, allowed, denied)]
                if len(left) < len(offered):
                    self.counted["withheld"] += len(offered) - len(left)
                    exchange.body = _offering(exchange.body, left)

        def arguments(exchange: Exchange) -> Line:
            return Line([look.flow(exchange, detector) for detector in detectors])

        return Steps(request=request, arguments=arguments if detectors else None)


def _may_be_called(tool: Any, allowed: Sequence[str], denied: Sequence[str]) -> bool:
    name = _name(tool)
    return any(fnmatchcase(name, glob) for glob in allowed) and not any(fnmatchcase(name, glob) for glob in denied)


def _name(tool: Any) -> str:
    held = tool.get("function") or tool.get("custom") if isinstance(tool, dict) else None
    return str(held.get("name", "")) if isinstance(held, dict) else ""


def _offering(body: Json, tools: list[Any]) -> Json:
    """The body with these tools only; a choice that names another one would be refused by the provider."""
    left = {name: value for name, value in body.items() if name not in {"tools", "tool_choice", "parallel_tool_calls"}}
    if not tools:
        return left
    choice = body.get("tool_choice")
    named = isinstance(choice, dict) and _name(choice) not in {_name(tool) for tool in tools}
    kept = {n: body[n] for n in ("tool_choice", "parallel_tool_calls") if n in body and not (named and n[5] == "c")}
    return left | {"tools": tools} | kept
