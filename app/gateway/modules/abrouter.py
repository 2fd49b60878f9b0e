"""A/B router: splits traffic between models by weight, so that two of them can be compared on real calls."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Mapping
from hashlib import blake2s
from itertools import accumulate
from typing import Any

from app.gateway.exchange import Exchange
from app.gateway.steps import Module, Steps


class Abrouter(Module):
    """A user stays with a variant, in every worker, as long as the variants and their weights stay."""

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing while no variant has any weight."""
        variants = [variant for variant in settings["variants"] if variant["weight"]]
        if not variants:
            return Steps()
        ends = list(accumulate(variant["weight"] for variant in variants))

        def request(exchange: Exchange) -> None:
            drawn = _fixed(exchange) if settings["sticky"] else random.random()  # noqa: S311 (a share of traffic)
            variant = variants[bisect_right(ends, drawn * ends[-1])]
            self.counted[variant["name"]] += 1
            exchange.model = variant["model"]
            exchange.details["abrouter"] = variant["name"]

        return Steps(request=request)


def _fixed(exchange: Exchange) -> float:
    """A number from 0 up to 1 that is always the same for one caller."""
    digest = blake2s(exchange.call.principal.subject.encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48
