"""What is kept of a finished call: its answer, or the refusal its payload deserves, packed and sealed."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

import orjson

from app.problems import Problem
from app.security.sealing import Keyring, seal_bytes, unseal_bytes
from app.wire.replies import Reply

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange

# Refusals that the same payload meets again. One of 403 is kept only when an answer was paid for: rules change.
FINAL: Final = frozenset({400, 404, 413, 415, 422})
FORBIDDEN: Final = 403
SUCCESS: Final = 200
# Answers larger than this, packed or as they are, are not kept: their calls run again.
MOST_PACKED: Final = 8 << 20
LARGEST: Final = 32 << 20
QUICK: Final = 1
REPLAYED: Final = (b"idempotency-replayed", b"true")
# A repetition costs nothing, and is told how much is left of its own limits.
COSTS: Final = {"x-stockyard-cost": "0.000000", "x-stockyard-cost-cents": "0.0000"}
LIMITS: Final = "x-ratelimit-"


def of_reply(reply: Reply, body: bytes) -> bytes | None:
    """A whole answer, packed; None when it is none or too large."""
    if reply.status != SUCCESS:
        return None
    headers = [[name.decode(), value.decode("latin-1")] for name, value in reply.headers]
    return _packed({"status": reply.status, "headers": headers}, body)


def of_problem(problem: Problem, exchange: Exchange) -> bytes | None:
    """A final refusal, packed; None when another try may fare better."""
    paid = problem.status == FORBIDDEN and exchange.usage is not None
    own = problem.details.get("provider_status", problem.status)  # a module may show another than the provider's
    if not FINAL.issuperset((problem.status, own)) and not paid:
        return None
    said = {"message": problem.message, "code": problem.code, "details": problem.details, "headers": problem.headers}
    return _packed({"status": problem.status, "problem": said}, b"")


def replayed(packed: bytes, own: list[tuple[bytes, bytes]]) -> Reply:
    """The answer again, with the headers the repetition has of its own; Problem when it was a refusal."""
    told, _, body = zlib.decompress(packed).partition(b"\n")
    kept: dict[str, Any] = orjson.loads(told)
    if said := kept.get("problem"):
        headers = {name: COSTS.get(name, value) for name, value in said["headers"].items()}
        headers |= {name.decode(): value.decode("latin-1") for name, value in (*own, REPLAYED)}
        raise Problem(kept["status"], said["message"], code=said["code"], details=said["details"], headers=headers)
    first = [(n.encode(), COSTS.get(n, v).encode("latin-1")) for n, v in kept["headers"] if not n.startswith(LIMITS)]
    return Reply(kept["status"], [*first, *own, REPLAYED], body)


def _packed(told: dict[str, Any], body: bytes) -> bytes | None:
    if len(body) > LARGEST:
        return None
    packed = zlib.compress(orjson.dumps(told) + b"\n" + body, QUICK)
    return packed if len(packed) <= MOST_PACKED else None


def sealed(packed: bytes, id_: str, secrets: Keyring) -> bytes:
    """As it is stored, for this key alone."""
    return seal_bytes(packed, _owner(id_), secrets)


def opened(stored: bytes, id_: str, secrets: Keyring) -> bytes:
    """What was stored; UnsealError."""
    return unseal_bytes(stored, _owner(id_), secrets)


def _owner(id_: str) -> str:
    return f"idempotency:{id_}"
