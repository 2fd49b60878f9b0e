"""Workflows as their operator writes them: steps, the answers their prompts ask for, and when a step is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.gateway.patterns import linear
from app.problems import Issue

Json = dict[str, Any]
Path = tuple[str | int, ...]
PREFIX: Final = "chain/"
INPUT: Final = "input"
EARLIER: Final = "steps."
VARIABLE: Final = re.compile(r"\{\{([^{}]*)\}\}")
CONDITIONS: Final = ("contains", "matches", "equals")


@dataclass(frozen=True, slots=True)
class Condition:
    """When a step is made: all that is set must hold of an earlier step's answer, or of the input."""

    of: str
    contains: str
    matches: Any
    equals: str

    def holds(self, said: Mapping[str, str]) -> bool:
        """Whether it does; of a step that was left out the answer is empty."""
        text = said[self.of]
        return (
            self.contains.casefold() in text.casefold()
            and (self.matches is None or self.matches.search(text) is not None)
            and (not self.equals or text.strip().casefold() == self.equals.strip().casefold())
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One question to one model."""

    name: str
    model: str
    prompt: str = field(repr=False)
    max_tokens: int
    history: bool
    when: Condition

    def size(self, said: Mapping[str, str]) -> int:
        """How long its prompt would be, without making it."""
        return len(self.prompt) + sum(len(said[name]) for name in variables(self.prompt))

    def rendered(self, said: Mapping[str, str]) -> str:
        """Its prompt; what stands in an answer is never read as a variable."""
        return VARIABLE.sub(lambda found: said[found[1].strip()], self.prompt)


@dataclass(frozen=True, slots=True)
class Workflow:
    """Steps in their order; the last is the call itself."""

    name: str
    steps: tuple[Step, ...]


def read(given: Mapping[str, Any]) -> Workflow:
    """The workflow of valid settings."""
    return Workflow(given["name"], tuple(_step(step) for step in given["steps"]))


def variables(prompt: str) -> list[str]:
    """The variables of a prompt, as often as they stand in it."""
    return [name.strip() for name in VARIABLE.findall(prompt)]


def issues(config: Json, at: Path) -> Iterator[Issue]:
    """What no schema can say of workflows: that each has a step, and what a step can know by its turn."""
    for number, workflow in enumerate(config["workflows"]):
        place = (*at, "workflows", number)
        if not workflow["steps"]:
            yield Issue((*place, "steps"), "minItems", 1)
        yield from _steps(workflow["steps"], (*place, "steps"))


def _steps(steps: Sequence[Json], at: Path) -> Iterator[Issue]:
    known = {INPUT}
    for number, step in enumerate(steps):
        place = (*at, number)
        if (own := EARLIER + step["name"]) in known:
            yield Issue((*place, "name"), "format", "name that no step before has")
        if step["model"].startswith(PREFIX):
            yield Issue((*place, "model"), "format", "model, which a workflow is not")
        if not known.issuperset(variables(step["prompt"])):
            yield Issue((*place, "prompt"), "format", "template of {{input}} and of {{steps.NAME}} of steps before")
        yield from _condition(step["when"], known, (*place, "when"))
        known.add(own)


def _condition(when: Json, known: set[str], at: Path) -> Iterator[Issue]:
    if _looked_at(when) not in known:
        yield Issue((*at, "step"), "format", "name of a step before")
    elif when["step"] and not any(when[name] for name in CONDITIONS):
        yield Issue(at, "format", f"condition: {', '.join(CONDITIONS)}")


def _looked_at(when: Mapping[str, Any]) -> str:
    return EARLIER + when["step"] if when["step"] else INPUT


def _step(given: Mapping[str, Any]) -> Step:
    when = given["when"]
    pattern = linear(when["matches"]).match if when["matches"] else None
    condition = Condition(_looked_at(when), when["contains"], pattern, when["equals"])
    return Step(given["name"], given["model"], given["prompt"], given["max_tokens"], given["history"], condition)
