"""Chain forge: an operator's workflow behind a model name, its steps made aside and its last one the call itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.answers import make
from app.gateway.modules.bodies import role_of
from app.gateway.modules.catalogue import parse_duration
from app.gateway.modules.workflows import EARLIER, INPUT, PREFIX, Step, Workflow, read
from app.gateway.steps import Module, Steps
from app.gateway.streams import gone
from app.gateway.wire import Answer, Json, Kind
from app.problems import Problem
from app.runtime import runtime

if TYPE_CHECKING:
    from app.gateway.failures import FailureError
    from app.gateway.wire import Target

NAME: Final = "chainforge"
LONGEST_PROMPT: Final = 4_000_000
LIMITS: Final = frozenset({"max_tokens", "max_completion_tokens"})


@dataclass(slots=True)
class Run:
    """A workflow under way: what was said so far, by variable, and the names of steps that were made or left out."""

    workflow: Workflow
    said: dict[str, str] = field(repr=False)
    ends_at: float
    made: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def told(self) -> Json:
        """What the trace of the call says of it."""
        return {"name": self.workflow.name, "steps": self.made, "skipped": self.skipped}

    def trouble(self, step: Step, problem: Problem) -> Problem:
        """A problem that names the step it came of."""
        message = f"Step {step.name} of workflow {self.workflow.name}: {problem.message}"
        details = {**problem.details, "workflow": self.workflow.name, "step": step.name}
        return Problem(problem.status, message, code=problem.code, details=details, headers=problem.headers)


class Chainforge(Module):
    """Other models are none of its business; one that begins with `chain/` is a workflow or a 404."""

    COUNTS = ("runs", "steps", "skipped", "refused", "failed")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Workflows by name."""
        known = {given["name"]: read(given) for given in settings["workflows"]}
        seconds = parse_duration(settings["timeout"])

        def request(exchange: Exchange) -> Awaitable[None] | None:
            if not exchange.model.startswith(PREFIX):
                return None
            workflow = known.get(exchange.model.removeprefix(PREFIX))
            try:
                run = Run(_asked(exchange, workflow), {INPUT: _input(exchange)}, _now() + seconds)
            except Problem:
                self.counted["refused"] += 1
                raise
            return self._watched(exchange, run)

        return Steps(request=request, failed=self._last_failed)

    async def _watched(self, exchange: Exchange, run: Run) -> None:
        """Go through the steps, unless the caller hangs up."""
        self.counted["runs"] += 1
        exchange.details["workflow"] = run.told  # its lists grow with the run
        with runtime().gateway.lookout.watch(exchange.call) as hang_up:
            try:
                await self._go(exchange, run)
            except Problem:
                self.counted["failed"] += 1
                raise
            except asyncio.CancelledError:
                if hang_up.caught():
                    raise gone() from None
                raise

    async def _go(self, exchange: Exchange, run: Run) -> None:
        *before, last = run.workflow.steps
        for step in before:
            if self._is_due(step, run):
                run.said[EARLIER + step.name] = await self._answer(exchange, step, run)
        if self._is_due(last, run):
            self._become(exchange, last, run)
        elif not run.made:
            raise Problem(422, f"No step of workflow {run.workflow.name} has anything to do with this input")
        else:
            make(exchange, run.said[EARLIER + run.made[-1]], NAME)

    def _is_due(self, step: Step, run: Run) -> bool:
        """Whether its condition holds; its answer is empty when it does not."""
        due = step.when.holds(run.said)
        run.said[EARLIER + step.name] = ""
        (run.made if due else run.skipped).append(step.name)
        self.counted["steps" if due else "skipped"] += 1
        return due

    async def _answer(self, exchange: Exchange, step: Step, run: Run) -> str:
        """What the step's model says; a Problem that names the step when it says nothing in time."""
        gateway = runtime().gateway
        _require_model(step, run)
        told = {"purpose": "workflow", "workflow": run.workflow.name, "step": step.name}
        body: Json = {"model": step.model, "messages": _messages(exchange, step, run)} | _limit(exchange, step)
        try:
            answer = await gateway.aside.ask(exchange, body, gateway.config, max(0.0, run.ends_at - _now()), told)
            return _said(answer)
        except TimeoutError:
            raise run.trouble(step, Problem(504, "The workflow took longer than it may")) from None
        except Problem as problem:
            raise run.trouble(step, problem) from problem

    def _become(self, exchange: Exchange, step: Step, run: Run) -> None:
        """The call is the last step from here on: it goes where that goes, and streams if it was to."""
        _require_model(step, run)
        config = runtime().gateway.config
        exchange.model, exchange.wanted_provider = config.meant(step.model)
        exchange.keep(NAME, (run, step))
        limit = _limit(exchange, step)
        kept = {name: value for name, value in exchange.body.items() if not limit or name not in LIMITS}
        if exchange.kind is Kind.COMPLETIONS:
            exchange.body = {**kept, **limit, "prompt": _rendered(step, run)}
        else:
            exchange.body = {**kept, **limit, "messages": _messages(exchange, step, run)}

    def _last_failed(self, exchange: Exchange, _target: Target, failure: FailureError) -> None:
        """Name the step where it was the last that failed."""
        if exchange.kept and (held := exchange.kept.get(NAME)):
            run, step = held
            failure.problem = run.trouble(step, failure.problem)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _asked(exchange: Exchange, workflow: Workflow | None) -> Workflow:
    """The workflow a call may go through; Problem when there is none."""
    if workflow is None:
        message = f"There is no workflow {exchange.model.removeprefix(PREFIX)[:100]}; GET /v1/models lists them"
        raise Problem(404, message, details={"param": "model"})
    if exchange.kind is Kind.EMBEDDINGS:
        raise Problem(400, "A workflow answers with text, and embeddings are none", details={"param": "model"})
    if exchange.call.principal.secret:
        raise Problem(403, "A workflow is run with a key of this server, not with a provider's")
    if exchange.wanted_provider:
        message = "A workflow's models go where their own routes lead; leave the provider out"
        raise Problem(400, message, details={"param": "X-Provider"})
    return workflow


def _input(exchange: Exchange) -> str:
    """The caller's last word; Problem 400 when it is not theirs, or more than text."""
    parts = [part.get("text") if isinstance(part, dict) else part for part in _parts(exchange)]
    texts = [part for part in parts if isinstance(part, str)]
    if not texts or len(texts) < len(parts):
        raise Problem(400, "A workflow goes by the last message, which must be a user's, and of text alone")
    return "\n".join(texts)


def _parts(exchange: Exchange) -> list[Any]:
    if exchange.kind is Kind.COMPLETIONS:
        return [exchange.body.get("prompt")]
    last = exchange.body["messages"][-1:]
    content = last[0].get("content") if last and role_of(last[0]) == "user" else None
    return content if isinstance(content, list) else [content]


def _require_model(step: Step, run: Run) -> None:
    """Problem where an alias leads back to a workflow."""
    if runtime().gateway.config.meant(step.model)[0].startswith(PREFIX):
        raise run.trouble(step, Problem(503, "Its model stands for a workflow; the operator may give it another"))


def _messages(exchange: Exchange, step: Step, run: Run) -> list[Json]:
    """The step's prompt, after what was said before the caller's last word where it wants that."""
    before = (exchange.body.get("messages") or [])[:-1] if step.history else []
    return [*before, {"role": "user", "content": _rendered(step, run)}]


def _rendered(step: Step, run: Run) -> str:
    if step.size(run.said) > LONGEST_PROMPT:
        raise run.trouble(step, Problem(413, f"Its prompt would be longer than {LONGEST_PROMPT} characters"))
    return step.rendered(run.said)


def _limit(exchange: Exchange, step: Step) -> Json:
    """The step's own limit, under the name the call uses."""
    name = "max_completion_tokens" if "max_completion_tokens" in exchange.body else "max_tokens"
    return {name: step.max_tokens} if step.max_tokens else {}


def _said(answer: Answer) -> str:
    text = (answer.body["choices"][0].get("message") or {}).get("content")
    if not isinstance(text, str) or not text:
        raise Problem(502, "Its model answered without any text")
    return text
