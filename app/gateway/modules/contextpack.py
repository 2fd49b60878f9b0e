"""Context pack: the passages of an operator's documents that are about the question go with it to the model."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.bodies import last_text, role_of
from app.gateway.modules.passages import MOST_CHARACTERS, MOST_ENTRIES, Passages, files_in
from app.gateway.steps import Module, Place, Steps
from app.gateway.wire import Json, Kind

log = logging.getLogger("yardmaster.contextpack")
# Below the data directory, which holds secrets: nothing else of it can become a source.
FOLDER: Final = "context"
MARK: Final = "{{chunks}}"
BEFORE_USER, APPENDED = "before_user", "system_append"
OPERATORS: Final = frozenset({"system", "developer"})


class Contextpack(Module):
    """Documents are read when settings change, and not while a call waits."""

    COUNTS = ("asked", "matched", "passages")

    def settle_in(self, place: Place) -> None:
        """It reads directories below the data directory."""
        self._root = place.data / FOLDER
        self._read: tuple[object, Passages] | None = None

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Nothing while there is nothing to read."""
        known, how = self._known(settings["sources"]), settings["injection"]
        if not known.passages:
            return Steps()

        def request(exchange: Exchange) -> None:
            if exchange.kind is Kind.EMBEDDINGS:
                return
            found = known.about(last_text(exchange.body), how["max_tokens"])
            self.counted["asked"] += 1
            if found:
                self.counted["matched"] += 1
                self.counted["passages"] += len(found)
                exchange.details["passages"] = [passage.source for passage in found[:20]]
                text = _around(how["template"], "\n\n---\n\n".join(passage.text for passage in found))
                exchange.body = _with(exchange.body, text, how["position"])

        return Steps(request=request)

    def stats(self) -> Json:
        """With the passages it knows now."""
        return super().stats() | {"known": len(self._read[1].passages) if self._read else 0}

    def _known(self, sources: list[Mapping[str, Any]]) -> Passages:
        """The index of the sources, made again only when one of them changed."""
        stamp = [dict(source) for source in sources], _stamp(self._root) if _directories(sources) else None
        if self._read is None or self._read[0] != stamp:
            self._read = stamp, Passages(self._documents(sources))
        return self._read[1]

    def _documents(self, sources: list[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
        left = MOST_CHARACTERS
        for source in sources:
            inline = [(source["name"], source["text"])]
            for name, text in inline if source["type"] == "inline" else files_in(self._root, source["path"]):
                if left <= 0:
                    log.warning("sources hold more than %d characters; the rest is left out", MOST_CHARACTERS)
                    return
                yield f"{source['name']}/{name}" if source["type"] == "directory" else name, text[:left]
                left -= len(text)


def _directories(sources: list[Mapping[str, Any]]) -> bool:
    return any(source["type"] == "directory" for source in sources)


def _stamp(root: Path) -> list[tuple[str, int, int]]:
    """What tells that a file was changed, added or removed."""
    try:
        return list(filter(None, map(_seen, sorted(islice(root.rglob("*"), MOST_ENTRIES)))))
    except OSError:  # a folder that may not be read
        return []


def _seen(file: Path) -> tuple[str, int, int] | None:
    try:
        held = file.stat()
    except OSError:  # it went while we looked
        return None
    return str(file), held.st_mtime_ns, held.st_size


def _around(template: str, chunks: str) -> str:
    return template.replace(MARK, chunks) if MARK in template else f"{template}\n{chunks}"


def _with(body: Json, text: str, position: str) -> Json:
    """The body with the passages: in the last question, in the instructions, or as instructions of their own."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        prompt = body.get("prompt")
        return {**body, "prompt": f"{text}\n\n{prompt}"} if isinstance(prompt, str) else body
    if position == APPENDED:
        return {**body, "messages": _appended(messages, text)}
    at = max((n for n, message in enumerate(messages) if role_of(message) == "user"), default=len(messages))
    if position == BEFORE_USER and at < len(messages):
        return {**body, "messages": [*messages[:at], _preceded(messages[at], text), *messages[at + 1 :]]}
    return {**body, "messages": [*messages[:at], {"role": "system", "content": text}, *messages[at:]]}


def _preceded(message: Json, text: str) -> Json:
    said = message.get("content")
    if isinstance(said, list):
        return {**message, "content": [{"type": "text", "text": text}, *said]}
    return {**message, "content": f"{text}\n\n{said or ''}"}


def _appended(messages: list[Any], text: str) -> list[Any]:
    """The first instructions with the text at their end; where there are none, it is the instructions."""
    first = messages[0] if messages else {}
    if role_of(first) not in OPERATORS or not isinstance(first.get("content"), str):
        return [{"role": "system", "content": text}, *messages]
    return [{**first, "content": f"{first['content']}\n\n{text}"}, *messages[1:]]
