"""One attempt at a whole answer: the request on the target's wire, and what came back of it."""

from __future__ import annotations

from app.gateway.deadline import Deadline
from app.gateway.delivery import as_asked
from app.gateway.exchange import Exchange
from app.gateway.failures import accepted, impossible, nonsense, refused, timed_out, unanswered
from app.gateway.tracing import linked
from app.gateway.wire import Answer, BadAnswerError, Target, Transport


async def post(exchange: Exchange, target: Target, transport: Transport) -> Answer:
    """Ask the target once; FailureError says what may be done next."""
    wire = exchange.wire(target)
    try:
        outgoing = linked(exchange, wire.outgoing(exchange.kind, exchange.sent(target), target))
    except ValueError as error:
        raise impossible(error) from error
    try:
        with Deadline(target.provider.timeout):
            response = await transport(outgoing)
            exchange.heard(target, response)
            try:
                raw = await response.read()
            finally:
                await response.close()
    except TimeoutError as error:
        raise timed_out(target) from error
    except OSError as error:
        raise unanswered(target, error) from error
    if not accepted(response):
        raise refused(exchange, target, response, raw)
    try:
        return as_asked(exchange, wire.answer(exchange.kind, raw, target.model))
    except BadAnswerError as error:
        raise nonsense(target, error) from error
