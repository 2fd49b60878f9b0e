"""Tool mock: a model's calls for tools are answered from fixtures, and nothing happens in the world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.patterns import Linear, linear
from app.gateway.steps import Judgement, Module, Steps
from app.gateway.wire import Answer, Json, Kind

# Calls of one answer; one that makes more is its caller's.
MOST_CALLS: Final = 16
# Tokens around each result: its call's number, its role.
FRAME: Final = 256


@dataclass(frozen=True, slots=True)
class Fixture:
    """One tool's result for the arguments that match."""

    tool: str
    arguments: Linear | None = field(repr=False)
    result: str = field(repr=False)

    def fits(self, call: Json) -> bool:
        """Whether it answers a call."""
        function = call.get("function") or {}
        said = str(function.get("arguments") or "")
        matched = self.arguments is None or self.arguments.match.search(said) is not None
        return bool(function.get("name") == self.tool and matched)


class Toolmock(Module):
    """An answer goes on only when each of its calls has a fixture: else they are all its caller's to carry out."""

    COUNTS = ("answered", "passed", "exhausted")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing while there are no fixtures."""
        fixtures = [
            Fixture(known["tool"], linear(known["arguments"]) if known["arguments"] else None, known["result"])
            for known in settings["fixtures"]
        ]
        if not fixtures:
            return Steps()

        def judge(exchange: Exchange, answer: Answer) -> list[Json]:
            return [] if exchange.kind is not Kind.CHAT else self._results(answer, fixtures)

        def failed(_exchange: Exchange, _hint: str) -> None:
            self.counted["exhausted"] += 1

        longest = max(len(fixture.result.encode()) for fixture in fixtures)
        room = MOST_CALLS * (longest + FRAME)
        judgement = Judgement(judge, settings["max_rounds"], failed, room)
        return Steps(judgement=judgement, waits=lambda exchange: bool(exchange.body.get("tools")))

    def _results(self, answer: Answer, fixtures: Sequence[Fixture]) -> list[Json]:
        """The answer's calls with their results, as the conversation goes on; nothing when it does not."""
        choices = answer.body["choices"]
        said = (choices[0].get("message") or {}) if len(choices) == 1 else {}
        calls = said.get("tool_calls") or []
        if not calls:
            return []
        found = [next((known for known in fixtures if known.fits(call)), None) for call in calls]
        if None in found or len(calls) > MOST_CALLS:
            self.counted["passed"] += len(calls)
            return []
        self.counted["answered"] += len(calls)
        results = [
            {"role": "tool", "tool_call_id": call.get("id"), "content": known.result}
            for call, known in zip(calls, found, strict=True)
            if known
        ]
        return [{"role": "assistant", "content": said.get("content"), "tool_calls": calls}, *results]
