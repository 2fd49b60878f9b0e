"""What jobs that read the web are tested with: a site on the loopback, and tools that may go there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.outbound.fetch import Fetcher, Limits
from app.services.row_jobs.types import TYPES, Tools
from support.site import Web, serving

Json = dict[str, Any]


@dataclass(slots=True)
class Runner:
    """Runs the units of a job as the server does, and remembers what its log was told."""

    told: list[str] = field(default_factory=list)
    limits: Limits = field(default_factory=lambda: Limits(seconds=2))

    def __call__(self, slug: str, params: Json, items: list[Json]) -> list[Json]:
        """The output rows of all units."""
        kind = TYPES[slug]
        prepared = kind.prepare(params, items)
        assert kind.each is not None
        tools = self.tools()
        return [row for item in prepared.items for row in kind.each(prepared.params, item, tools)]

    def tools(self) -> Tools:
        """What units may use: pages of the loopback, and the log."""
        return Tools(fetcher=Fetcher(("127.0.0.1",), limits=self.limits), note=self.told.append)


@pytest.fixture
def web() -> Iterator[Web]:
    """A site without pages."""
    with serving() as site:
        yield site


@pytest.fixture
def run() -> Runner:
    """Runs jobs over pages of loopback sites."""
    return Runner()
