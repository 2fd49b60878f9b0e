"""Canary deploy: a share of a model's calls goes to a new one, until an operator or too many failures end the trial.

The failures are counted where calls are stored (`app.services.observing.canary`), over all workers.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from hashlib import blake2s
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.steps import Module, Steps

FULL: Final = 100
NAME: Final = "canarydeploy"


class Canarydeploy(Module):
    """Where it is sticky a caller stays with its model, in every worker, and a greater share only adds callers."""

    COUNTS = ("canary", "stable")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing while one of the two models is not named."""
        stable, canary, share = settings["model"], settings["canary"], settings["percent"]
        if not stable or not canary:
            return Steps()

        def request(exchange: Exchange) -> None:
            if exchange.model != stable or exchange.fan:  # whoever asks several models names them
                return
            drawn = _fixed(exchange, canary) if settings["sticky"] else random.random() * FULL  # noqa: S311 (a share)
            told = "canary" if drawn < share else "stable"
            self.counted[told] += 1
            exchange.details[NAME] = told
            if told == "canary":
                exchange.model = canary

        return Steps(request=request)


def _fixed(exchange: Exchange, canary: str) -> float:
    """A number from 0 up to 100, the same for one caller as long as the canary is the same."""
    told = f"{canary}\n{exchange.call.principal.subject}".encode()
    return int.from_bytes(blake2s(told, digest_size=6).digest()) * FULL / 2**48
