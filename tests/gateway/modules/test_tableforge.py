"""Tables of answers, repaired on their way to the caller."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.lane.conftest import Ask
from gateway.modules.conftest import MODEL, text_of
from gateway.upstream import Upstream
from support.callers import Client

# What it does does not depend on the database.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
Configure = Callable[..., None]
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
RAGGED = "Here it is:\n\n| city | trains |\n|---|---|\n| Bern | 12 |\n| Chur |\n\nGood luck."
WHOLE = "Here it is:\n\n| city | trains |\n| --- | ---: |\n| Bern | 12 |\n| Chur |  |\n\nGood luck."


@BOTH
def test_a_ragged_table_arrives_whole(
    ask: Ask, configure: Configure, upstream: Upstream, client: Client, stream: bool
) -> None:
    """Whichever way the answer comes; without the module as the model wrote it."""
    upstream.script(MODEL, {"text": RAGGED})
    assert text_of(ask(MODEL, stream=stream)) == RAGGED
    configure("tableforge")
    assert text_of(ask(MODEL, stream=stream)) == WHOLE
    configure("tableforge", output="csv")
    assert "```csv\ncity,trains\nBern,12\nChur,\n```" in text_of(ask(MODEL, stream=stream))
    upstream.script(MODEL, {"text": WHOLE})
    configure("tableforge")
    assert text_of(ask(MODEL, stream=stream)) == WHOLE
    told = client.admin.get("/api/proxy/modules/tableforge").json()["stats"]
    assert told == {"tables": 3, "repaired": 2, "left": 0}
