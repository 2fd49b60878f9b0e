"""The sandbox as an upstream: takes the bytes of a request, gives back the bytes of a response, on no network."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson

from app.gateway import sse
from app.gateway.providers.openai.wire import PATHS
from app.gateway.providers.sandbox import script as scripts
from app.gateway.providers.sandbox.answers import answer, chunks
from app.gateway.providers.sandbox.replies import RefusedError
from app.gateway.providers.sandbox.script import Fault
from app.gateway.wire import Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from app.gateway.providers.sandbox.script import Script
    from app.gateway.wire import Json, Outgoing

_HTML: Final = b"<!DOCTYPE html>\n<html><head><title>%b</title></head><body><h1>%b</h1></body></html>\n"
_FAILURE: Final = "The sandbox failed as the model's name asks."
_EXTRA: Final[dict[int, dict[str, str]]] = {429: {"retry-after": "1"}}
_ROWS: Final = ("choices", "data")


class SandboxResponse:
    """A response whose body comes out of this process, at the script's pace."""

    __slots__ = ("_closed", "_frames", "_script", "headers", "status")

    def __init__(self, status: int, kind: str, frames: Iterable[bytes], script: Script) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {"content-type": kind} | _EXTRA.get(status, {})
        self._frames = frames
        self._script = script
        self._closed = False

    async def read(self) -> bytes:
        """The whole body; ConnectionResetError where the script asks for it."""
        return b"".join([frame async for frame in self.chunks()])

    async def chunks(self, tick: float = 0.0) -> AsyncIterator[bytes]:
        """The body frame by frame, until it ends or is closed; an empty piece after every `tick` of a longer wait."""
        for frame in self._frames:
            if self._closed:
                return
            wait = self._script.drip
            while 0 < tick < wait:
                await asyncio.sleep(tick)
                yield b""
                wait -= tick
            if wait:
                await asyncio.sleep(wait)
            yield frame
        if Fault.RESET in self._script.faults:
            raise ConnectionResetError("the sandbox reset the connection as the model's name asks")

    async def close(self) -> None:
        """Give nothing more."""
        self._closed = True


async def post(outgoing: Outgoing) -> SandboxResponse:
    """The response to one request, after the delay its model's name asks for."""
    body: Json = orjson.loads(outgoing.body)
    script = scripts.parse(str(body.get("model", "")))
    if script.first_byte:
        await asyncio.sleep(script.first_byte)
    kind = next(kind for kind, path in PATHS.items() if outgoing.url.endswith(path))
    return respond(kind, body, script)


def respond(kind: Kind, body: Json, script: Script) -> SandboxResponse:
    """The response a script makes of a request."""
    if Fault.HTML in script.faults:
        title = f"{script.status} Sandbox".encode()
        return SandboxResponse(script.status, "text/html", _cut([_HTML % (title, title)], script), script)
    if script.status != HTTPStatus.OK:
        return _refused(script.status, _FAILURE, "sandbox_fault", script)
    stream = bool(body.get("stream")) and kind is not Kind.EMBEDDINGS
    try:
        frames = _stream(kind, body, script) if stream else iter([_whole(kind, body, script)])
        return SandboxResponse(200, "text/event-stream" if stream else "application/json", _cut(frames, script), script)
    except RefusedError as error:
        return _refused(400, str(error), "invalid_value", script, error.param)


def _refused(status: int, message: str, code: str, script: Script, param: str | None = None) -> SandboxResponse:
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return SandboxResponse(status, "application/json", _cut([orjson.dumps({"error": error})], script), script)


def _whole(kind: Kind, body: Json, script: Script) -> bytes:
    if Fault.ERROR_FRAME in script.faults:
        return orjson.dumps({"error": {"message": _FAILURE, "type": "server_error", "param": None, "code": None}})
    made = answer(kind, body)
    if Fault.EMPTY in script.faults:
        made |= {name: [] for name in _ROWS if name in made}
    if Fault.NO_USAGE in script.faults:
        del made["usage"]
    return orjson.dumps(made)


def _stream(kind: Kind, body: Json, script: Script) -> Iterator[bytes]:
    """The frames of a stream; an error frame comes half way and ends it."""
    made = list(chunks(kind, body))
    if Fault.EMPTY in script.faults:
        made = [chunk for chunk in made if not chunk["choices"]]
    if Fault.NO_USAGE in script.faults:
        made = [chunk | {"usage": None} for chunk in made if chunk["choices"]]
    if Fault.ERROR_FRAME in script.faults:
        return iter([*map(sse.data, made[: len(made) // 2]), sse.error(_FAILURE, kind="server_error")])
    return iter([*map(sse.data, made), sse.DONE])


def _cut(frames: Iterable[bytes], script: Script) -> Iterable[bytes]:
    """The frames, or the first half of them and half of the next where the body is to break off."""
    if script.faults.isdisjoint({Fault.TRUNCATE, Fault.RESET}):
        return frames
    whole = list(frames)
    middle = len(whole) // 2
    return [*whole[:middle], whole[middle][: len(whole[middle]) // 2]]
