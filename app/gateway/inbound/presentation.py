"""What the lane asks of a client's wire: its request said in chat, and ways to say the answer back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.gateway.wire import Json, Usage, Wire
    from app.problems import Problem


class Frames(Protocol):
    """Turns the chunks of one answer into the events of a client's wire: to its end, or to an error it raises on."""

    def chunks(self, chunks: Iterable[Json], usage: Usage | None) -> bytes:
        """The events of these chunks; `usage` is what the provider has reported so far."""

    def end(self, usage: Usage) -> bytes:
        """The events that end a whole answer, its counts among them."""

    def error(self, problem: Problem) -> bytes:
        """The events that end a broken one."""

    def quiet(self) -> bytes:
        """What is sent while the provider says nothing."""


class Inbound(Protocol):
    """One call on a client's wire. `name` keeps answers of different wires apart in the cache."""

    @property
    def name(self) -> str:
        """The wire's name."""

    @property
    def body(self) -> Json:
        """The request, said in chat."""

    def wire(self, wire: Wire) -> Wire:
        """The provider's wire as this call uses it."""

    def plain(self, whole: Json, usage: Usage) -> bytes:
        """A whole chat completion as the body this client reads."""

    def frames(self) -> Frames:
        """A fresh encoder of one stream."""
