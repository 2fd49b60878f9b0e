"""One thing said after the other: the deltas of a chat answer as blocks that begin, grow and end in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import uuid4

import orjson

from app.gateway.wire import BadAnswerError, Json

THINKING, TEXT, REFUSAL, CALL = "thinking", "text", "refusal", "call"
Key = tuple[str, int]


@dataclass(slots=True)
class Block:
    """One thing the model said. `extra` is what its provider told of a tool call besides."""

    kind: str
    id: str = ""
    name: str = ""
    extra: Json = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of it, as far as it has come."""
        return "".join(self.pieces)


class Sink(Protocol):
    """Hears the blocks, never two at once."""

    def begin(self, block: Block) -> None:
        """A block began; it holds nothing yet."""

    def piece(self, block: Block, text: str) -> None:
        """It grew by this text."""

    def finish(self, block: Block) -> None:
        """It is whole."""


class Collected:
    """The finished blocks, in their order."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []

    def begin(self, block: Block) -> None:
        """Nothing to do before it is whole."""

    def piece(self, block: Block, text: str) -> None:
        """The block keeps its pieces itself."""

    def finish(self, block: Block) -> None:
        """Keep it."""
        self.blocks.append(block)


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    id: str = ""
    name: str = ""
    extra: Json = field(default_factory=dict)


class Sequencer:
    """Puts deltas in sequence.

    Pieces of another block wait while a tool call's arguments are incomplete: some providers send parallel calls in
    turns, and no client of these wires expects two blocks to be open at once.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._key: Key | None = None
        self._waiting: list[tuple[Key, _Piece]] = []
        self._called: set[Key] = set()
        self.open: Block | None = None

    def take(self, said: Json) -> None:
        """A delta, or a whole message."""
        for kind, text in spoken(said):
            self._add((kind, 0), _Piece(text))
        for place, call in enumerate(said.get("tool_calls") or ()):
            function = call.get("function") or {}
            piece = _Piece(
                function.get("arguments") or "",
                call.get("id") or "",
                function.get("name") or "",
                call.get("anthropic") or {},
            )
            self._add((CALL, call.get("index", place)), piece)

    def close(self) -> None:
        """End the open block."""
        if self.open is not None:
            block, self.open, self._key = self.open, None, None
            self._sink.finish(block)

    def end(self) -> None:
        """End everything, what waited included."""
        self.close()
        waiting, self._waiting = self._waiting, []
        order = {key: place for place, key in reversed(list(enumerate(key for key, _ in waiting)))}
        for key, piece in sorted(waiting, key=lambda one: order[one[0]]):
            if key != self._key:
                self.close()
            self._put(key, piece)
        self.close()

    def _add(self, key: Key, piece: _Piece) -> None:
        if self.open is not None and key != self._key:
            if self._incomplete(self.open):
                self._waiting.append((key, piece))
                return
            self.close()
            waiting, self._waiting = self._waiting, []
            for held in waiting:
                self._add(*held)
            if waiting:
                self._add(key, piece)
                return
        self._put(key, piece)

    def _put(self, key: Key, piece: _Piece) -> None:
        if self.open is None and key in self._called:
            if piece.text.strip():
                raise BadAnswerError("a tool call went on after its arguments were complete")
            return
        if self.open is None:
            call_id = piece.id or (f"call_{uuid4().hex}" if key[0] == CALL else "")
            self.open, self._key = Block(key[0], call_id, piece.name, piece.extra), key
            self._sink.begin(self.open)
            if key[0] == CALL:
                self._called.add(key)
        if piece.text:
            self.open.pieces.append(piece.text)
            self._sink.piece(self.open, piece.text)

    @staticmethod
    def _incomplete(block: Block) -> bool:
        if block.kind != CALL:
            return False
        try:
            orjson.loads(block.text)
        except orjson.JSONDecodeError:
            return True
        return False


def blocks_of(message: Json) -> list[Block]:
    """The blocks of a whole message: thinking, text, calls."""
    collected = Collected()
    sequence = Sequencer(collected)
    sequence.take(message)
    sequence.end()
    return collected.blocks


def spoken(said: Json) -> Iterator[tuple[str, str]]:
    """What a message or delta says in words, each as (kind, text)."""
    yield from _texts(THINKING, said.get("reasoning_content") or said.get("reasoning"))
    content = said.get("content")
    for part in content if isinstance(content, list) else [content]:
        yield from _texts(TEXT, part) if isinstance(part, str) else _part(part)
    yield from _texts(REFUSAL, said.get("refusal"))


# Mistral's parts: thinking holds parts again.
_NAMES: Final = {"text": TEXT, "thinking": THINKING, "refusal": REFUSAL}


def _part(part: Any) -> Iterator[tuple[str, str]]:
    if isinstance(part, dict) and (kind := _NAMES.get(str(part.get("type")))):
        held = part.get(str(part["type"]))
        for inner in held if isinstance(held, list) else [held]:
            yield from _texts(kind, inner.get("text") if isinstance(inner, dict) else inner)


def _texts(kind: str, text: Any) -> Iterator[tuple[str, str]]:
    if isinstance(text, str) and text:
        yield kind, text
