"""A provider in a process of its own: OpenAI's wire over real sockets, doing for each model what a test told it to.

`with provider() as upstream:` starts it. `upstream.script("gpt-x", {"status": 500}, {})` fails the first call for that
model and answers every later one; `upstream.seen("gpt-x")` tells what arrived and how each exchange ended. A step may
say (all optional; a request without a body is one for the model `GET /models`):

- `status`, `error`, `headers`: a refusal, its error object, extra response headers (of answers and streams, too)
- `@KEY@` in any text: the key it was called with
- `delay`: seconds before the head; `hang`: no answer at all; `close`: the connection ends instead of an answer
- `raw`, `type`: these bytes instead of an answer; `truncate`, `reset`: only half a body, then FIN or RST
- `text`, `tools`, `usage`, `model`, `body`: the content, how many tool calls, the usage (None: unreported), the rest
- `pieces`: a stream of exactly these texts, one write each
- streams: `first`: seconds between head and first frame; `pause`: between frames; `frames`: how many are sent before
  the stream is cut (`then` = "close" or "reset"), stalls ("hang") or sends an error object ("error")
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from gateway.upstream_shapes import answer, frames, sse

Json = dict[str, Any]
ROOM = Path(__file__).resolve().parents[1]
BREAKS = {"close", "reset"}


class GoneError(Exception):
    """The client closed its connection."""


class Behaviour:
    """What each model does, and what was seen of it."""

    def __init__(self) -> None:
        self.scripts: dict[str, list[Json]] = {}
        self.seen: dict[str, list[Json]] = {}
        self.open = 0

    def begin(self, provider: str, path: str, headers: Json, body: Json) -> tuple[Json, Json]:
        """The next step of the model's script, and the record of this request."""
        model = body.get("model", "")
        steps = self.scripts.get(model, [{}])
        record = {
            "provider": provider,
            "path": path,
            "headers": headers,
            "body": body,
            "at": time.time(),
            "end": "open",
        }
        self.seen.setdefault(model, []).append(record)
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        sent = headers.get("authorization", "").removeprefix("Bearer ")
        return json.loads(json.dumps(step).replace("@KEY@", sent)), record


class Connection:
    """One client connection, serving a request after another."""

    def __init__(self, behaviour: Behaviour, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.behaviour, self.reader, self.writer = behaviour, reader, writer
        self.ahead = b""

    async def serve(self) -> None:
        """Until either side closes."""
        self.behaviour.open += 1
        try:
            while (request := await self._request()) and await self._answer(*request):
                pass
        except (GoneError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.behaviour.open -= 1
            with suppress(Exception):
                self.writer.close()

    async def _request(self) -> tuple[str, str, Json, bytes] | None:
        head = self.ahead + await self.reader.readuntil(b"\r\n\r\n") if b"\r\n\r\n" not in self.ahead else self.ahead
        self.ahead = b""
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
        return method, target, headers, await self._body(headers)

    async def _body(self, headers: Json) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(headers.get("content-length", 0)))
        parts = []
        while size := int((await self.reader.readline()).split(b";")[0], 16):
            parts.append((await self.reader.readexactly(size + 2))[:-2])
        await self.reader.readline()
        return b"".join(parts)

    async def _answer(self, method: str, target: str, headers: Json, raw: bytes) -> bool:
        url = urlsplit(target)
        if url.path.startswith("/control/"):
            await self._control(method, url.path, parse_qs(url.query), raw)
            return True
        provider, _, path = url.path.strip("/").partition("/")
        asked = json.loads(raw) if raw else {"model": f"{method} /{path}"}
        step, record = self.behaviour.begin(provider, "/" + path, headers, asked)
        try:
            return await self._act(step, record["path"], record["body"])
        except (GoneError, ConnectionError):
            record["end"] = "cut"
            raise
        finally:
            record["end"] = "done" if record["end"] == "open" else record["end"]
            record["ended"] = time.time()

    async def _control(self, method: str, path: str, query: Json, raw: bytes) -> None:
        said: Any = {"open": self.behaviour.open}
        if method == "PUT":
            self.behaviour.scripts |= json.loads(raw)
        elif method == "DELETE":
            self.behaviour.scripts.clear()
            self.behaviour.seen.clear()
        elif path == "/control/seen":
            said = self.behaviour.seen.get(query["model"][0], [])
        await self._whole(json.dumps(said).encode(), {})

    async def _act(self, step: Json, path: str, body: Json) -> bool:
        if step.get("hang"):
            await self._wait(3600)
        await self._wait(step.get("delay", 0))
        if step.get("close"):
            self.writer.close()
            return False
        if step.get("status", 200) >= 300 and "raw" not in step:
            error = {"message": "it failed", "type": "server_error", "param": None, "code": None} | step.get(
                "error", {}
            )
            return await self._whole(json.dumps({"error": error}).encode(), step)
        if body.get("stream") and "raw" not in step:
            parts = [piece.encode() for piece in step["pieces"]] if "pieces" in step else frames(step, path, body)
            return await self._stream(step, parts)
        return await self._whole(step["raw"].encode() if "raw" in step else answer(step, path, body), step)

    async def _whole(self, body: bytes, step: Json) -> bool:
        kind = step.get("type", "application/json")
        extra = "".join(f"{k}: {v}\r\n" for k, v in step.get("headers", {}).items())
        status = f"HTTP/1.1 {step.get('status', 200)} X"
        head = f"{status}\r\ncontent-type: {kind}\r\n{extra}content-length: {len(body)}\r\n\r\n"
        if step.get("truncate") or step.get("reset"):
            self.writer.write(head.encode() + body[: len(body) // 2])
            await self._wait(0.05)
            return self._break("reset" if step.get("reset") else "close")
        self.writer.write(head.encode() + body)
        await self.writer.drain()
        return True

    async def _stream(self, step: Json, parts: list[bytes]) -> bool:
        extra = "".join(f"{k}: {v}\r\n" for k, v in step.get("headers", {}).items())
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{extra}transfer-encoding: chunked\r\n\r\n"
        self.writer.write(head.encode())
        await self._wait(step.get("first", 0))
        for part in parts[: step.get("frames")]:
            self.writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await self._wait(step.get("pause", 0.1 if "pieces" in step else 0))
        if "frames" in step:
            return await self._interrupt(step, step.get("then", "close"))
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()
        return True

    async def _interrupt(self, step: Json, how: str) -> bool:
        if how in BREAKS:
            return self._break(how)
        if how == "hang":
            await self._wait(3600)
        error = {"message": "overloaded in the middle", "type": "server_error", "code": "overloaded"}
        part = sse({"error": error | step.get("error", {})})
        self.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(part), part))
        await self.writer.drain()
        return True

    def _break(self, how: str) -> bool:
        if how == "reset":
            linger = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.close()
        return False

    async def _wait(self, seconds: float) -> None:
        """Pass the time, and notice when the client goes away meanwhile."""
        await self.writer.drain()
        if not seconds:
            return
        try:
            data = await asyncio.wait_for(self.reader.read(65536), seconds)
        except TimeoutError:
            return
        if not data:
            raise GoneError
        self.ahead += data


class Upstream:
    """The test's side: tells the process what to do, asks it what it saw."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._http = requests.Session()

    def url(self, name: str = "openai") -> str:
        """The base URL under which it is this provider."""
        return f"http://127.0.0.1:{self.port}/{name}/v1"

    def environment(self, *names: str, timeout: float = 0) -> dict[str, str]:
        """The variables that make a server call it as these providers, with the key `sk-<name>-canary`."""
        made = {}
        for name in names:
            made |= {f"{name.upper()}_API_KEY": f"sk-{name}-canary", f"{name.upper()}_BASE_URL": self.url(name)}
            made |= {f"{name.upper()}_TIMEOUT": str(timeout)} if timeout else {}
        return made

    def script(self, model: str, *steps: Json) -> str:
        """What the model does, call by call; the last step repeats. Returns the model's name."""
        self._http.put(f"http://127.0.0.1:{self.port}/control/script", json={model: list(steps)}, timeout=10)
        return model

    def forget(self) -> None:
        """Every model answers again, and nothing was seen."""
        self._http.delete(f"http://127.0.0.1:{self.port}/control/script", timeout=10)

    def seen(self, model: str) -> list[Json]:
        """Every request for the model, in the order they came; `end` is `open`, `done` or `cut` (the client left)."""
        url = f"http://127.0.0.1:{self.port}/control/seen"
        return list(self._http.get(url, params={"model": model}, timeout=10).json())

    def open(self) -> int:
        """Open client connections, this one excluded."""
        return int(self._http.get(f"http://127.0.0.1:{self.port}/control/open", timeout=10).json()["open"]) - 1

    def ended(self, model: str, within: float = 3.0) -> Json:
        """The model's last request once it has ended; AssertionError when it does not in time."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if (seen := self.seen(model)) and seen[-1]["end"] != "open":
                return seen[-1]
            time.sleep(0.02)
        raise AssertionError(f"the request for {model} is still open")


@contextmanager
def provider() -> Iterator[Upstream]:
    """The process, for as long as the context lasts."""
    command = [sys.executable, "-m", "gateway.upstream"]
    process = subprocess.Popen(command, cwd=ROOM, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield Upstream(int(process.stdout.readline()))
    finally:
        process.stdout.close()
        process.kill()
        process.wait()


async def main() -> None:
    """Serve on a free port, and say which."""
    behaviour = Behaviour()
    server = await asyncio.start_server(lambda r, w: Connection(behaviour, r, w).serve(), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 (how the test learns the port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
