"""Vision proxy: which images may be in a call, and what becomes of them at a model that sees none."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from app.gateway.deadline import Deadline
from app.gateway.exchange import Exchange
from app.gateway.failures import NEVER_RETRY
from app.gateway.modules import signatures
from app.gateway.modules.conditions import Among, among, bare
from app.gateway.modules.detectors import warn
from app.gateway.modules.images import Image, images, replaced
from app.gateway.providers.anthropic.wire import AnthropicWire
from app.gateway.steps import Module, Offer, Steps
from app.gateway.transport.origins import Origin, locate
from app.gateway.transport.resolver import Resolver
from app.gateway.wire import ForbiddenAddressError, Json, Kind, NotConnectedError, Target
from app.problems import Problem
from app.runtime import runtime

NAME: Final = "visionproxy"
KEEP: Final = "keep"
LOOKUP_S: Final = 5.0
# The origin by itself: where many images are, one place is remembered.
ADDRESS: Final = re.compile(r"(https?://[^/?#]{1,300})([/?#][!-\[\]-~]{0,8000})?", re.IGNORECASE)
# Enough of an image to tell its kind.
FIRST: Final = 48


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an image must be to pass."""

    count: int
    bytes: int
    side: int
    kinds: Sequence[str]
    allowed: Among | None
    denied: Among

    def judge(self, image: Image) -> None:
        """ValueError, with the reason, for an image sent inline that must not pass; PermissionError for its host."""
        if image.text:
            self._inline(image)
        elif not image.address:
            raise ValueError("is in no form that can be looked at: send it as an https or a base64 data: URL")
        elif not self._hosted(_origin(image).host):
            raise PermissionError("is at a host from which images are not taken here")

    def _inline(self, image: Image) -> None:
        if image.size > self.bytes:
            raise ValueError(f"has {image.size} bytes, and {self.bytes} are the most: send a smaller one")
        kind = signatures.kind_of(_head(image, FIRST))
        if kind not in self.kinds:
            raise ValueError(f"is {kind or 'no image that is known'}; send {', '.join(self.kinds) or 'none'}")
        if self.side:
            size = signatures.size_of(kind, _head(image, signatures.HEAD))
            if size is None:
                raise ValueError("does not tell its size at its beginning")
            if max(size) > self.side:
                raise ValueError(f"is {size[0]} × {size[1]} pixels, and a side has at most {self.side}")

    def _hosted(self, host: str) -> bool:
        return not self.denied([host]) and (self.allowed is None or self.allowed([host]))


class Visionproxy(Module):
    """Bounds are looked at before anything else is done with a call; whether a model sees, wherever it goes in the end.

    A stand-in that sees nothing is passed over while another target sees.
    """

    COUNTS = ("images", "bytes", "refused", "dropped", "moved")

    def __init__(self) -> None:
        super().__init__()
        self._resolver: Resolver | None = None

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Bounds for all images, and the way around models without vision where there are any."""
        bounds, blind = _bounds(settings), among(settings["blind_models"])
        vision, drops = settings["vision_model"], settings["without_vision"] == "drop"
        without = partial(self._without, drops=drops)

        async def request(exchange: Exchange) -> None:
            found = list(images(exchange.body)) if exchange.kind is Kind.CHAT else []
            if not found:
                return
            exchange.keep(NAME, len(found))
            await self._judge(found, bounds)
            if exchange.fan is None and blind(_names(exchange.wanted_provider, exchange.model)):
                self._move(exchange, vision) if _movable(exchange, vision) else without(exchange, exchange.model)

        async def hold(exchange: Exchange, offer: Offer) -> Offer:
            if not exchange.kept or NAME not in exchange.kept:
                return offer
            left = [one for one in offer if not blind(_names(one[0].provider.name, one[0].model))]
            if not left:
                without(exchange, offer[0][0].model)
            return left or offer

        fit = _fit(settings["detail"]) if settings["detail"] != KEEP else None
        return Steps(request=request, hold=hold if settings["blind_models"] else None, fit=fit)

    async def stop(self) -> None:
        """Nobody asks for addresses any more."""
        if self._resolver:
            self._resolver.close()

    async def _judge(self, found: Sequence[Image], bounds: Bounds) -> None:
        """Problem 400 for too many images or one that must not pass, 403 for where one is."""
        self.counted["images"] += len(found)
        self.counted["bytes"] += sum(image.size for image in found)
        if len(found) > bounds.count:
            raise self._refused(400, f"The call holds {len(found)} images, and {bounds.count} are the most")
        for number, image in enumerate(found, start=1):
            try:
                bounds.judge(image)
            except ValueError as error:
                raise self._refused(400, f"Image {number} {error}") from None
            except PermissionError as error:
                raise self._refused(403, f"Image {number} {error}") from None
        await self._look_up(found)

    async def _look_up(self, found: Sequence[Image]) -> None:
        """Problem 403 when an address leads where this server would not go itself, 503 when nobody can say in time."""
        places = {_origin(image): number for number, image in enumerate(found, start=1) if image.address}
        if not places:
            return
        try:
            with Deadline(LOOKUP_S):
                await asyncio.gather(*(self._checked(origin, number) for origin, number in places.items()))
        except PermissionError as error:
            raise self._refused(403, str(error)) from None
        except TimeoutError:
            message = f"Where its images are could not be found out within {LOOKUP_S:g} s; the call was not made"
            raise self._refused(503, message, {"retry-after": "1"}) from None

    async def _checked(self, origin: Origin, number: int) -> None:
        self._resolver = self._resolver or Resolver(runtime().settings.outbound_allowed)
        try:
            await self._resolver.addresses(origin)
        except ForbiddenAddressError as error:
            raise PermissionError(f"Image {number} is not taken from its address: {error}") from None

    def _refused(self, status: int, message: str, headers: Mapping[str, str] = NEVER_RETRY) -> Problem:
        self.counted["refused"] += 1
        return Problem(status, message, details={"reason": NAME}, headers=headers)

    def _move(self, exchange: Exchange, vision: str) -> None:
        self.counted["moved"] += 1
        exchange.details[NAME] = {"moved": exchange.model}
        exchange.model, exchange.wanted_provider = vision, ""

    def _without(self, exchange: Exchange, model: str, *, drops: bool) -> None:
        """Take the images out and say so in their places; Problem 400 where that is not wanted."""
        if not drops:
            message = f"{model[:100]} sees no images: ask a model that does, or send the call without them"
            raise self._refused(400, message)
        count = exchange.taken(NAME)
        self.counted["dropped"] += count
        note = {"type": "text", "text": f"[An image was left out here: {model[:100]} sees no images.]"}
        exchange.body = replaced(exchange.body, lambda _: note)
        exchange.details[NAME] = {"dropped": count}
        warn(exchange, f"{NAME}.dropped")


def _bounds(settings: Mapping[str, Any]) -> Bounds:
    return Bounds(
        count=settings["max_images"],
        bytes=settings["max_bytes"],
        side=settings["max_side"],
        kinds=settings["types"],
        allowed=among(settings["allowed_hosts"]) if settings["allowed_hosts"] else None,
        denied=among(settings["denied_hosts"]),
    )


def _head(image: Image, most: int) -> bytes:
    try:
        return image.head(most)
    except ValueError:
        raise ValueError("is not in plain base64: without line breaks, in the standard alphabet") from None


def _origin(image: Image) -> Origin:
    """Where an image is; ValueError when that is nowhere on the web."""
    try:
        written = ADDRESS.fullmatch(image.address)
        return locate(written[1] if written else "", guarded=True)[0]
    except NotConnectedError:
        raise ValueError("is at no plain https address: send it so, or as a base64 data: URL") from None


def _names(provider: str, model: str) -> list[str]:
    """What a pattern may name a model by."""
    return [*bare([model]), *([f"{provider}/{model}"] if provider else [])]


def _movable(exchange: Exchange, vision: str) -> bool:
    """Whether there is a model to move to; a provider's own key opens no other."""
    return bool(vision) and not exchange.call.principal.secret


def _fit(detail: str) -> Callable[[Exchange, Json, Target], Json]:
    """How much detail images are looked at in; Anthropic has no word for it, and is sent them as they came."""

    def fit(exchange: Exchange, body: Json, target: Target) -> Json:
        if not exchange.kept or NAME not in exchange.kept or isinstance(target.provider.wire, AnthropicWire):
            return body
        return replaced(body, partial(_detailed, detail))

    return fit


def _detailed(detail: str, part: Json) -> Json:
    held = part.get("image_url")
    if held is None:
        return part
    return {**part, "image_url": {**(held if isinstance(held, dict) else {"url": held}), "detail": detail}}
