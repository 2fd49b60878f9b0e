"""Stored answers: whole when opened, and for nobody who has the file alone."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway.cache.memory import Kept
from app.gateway.cache.packing import pack, unpack
from app.gateway.wire import Usage
from app.security.sealing import UnsealError
from app.security.secrets import Secrets, load_or_create

COUNTS = st.integers(0, 2**40)
BODIES = st.dictionaries(st.text(), st.none() | st.booleans() | COUNTS | st.text() | st.lists(st.text(), max_size=3))
USAGES = st.builds(Usage, input=COUNTS, cache_read=COUNTS, output=COUNTS, reasoning=COUNTS, reported=st.booleans())


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    """A server's secrets."""
    return load_or_create(tmp_path_factory.mktemp("secrets"))


@settings(max_examples=25, deadline=None)
@given(body=BODIES, usage=USAGES, cost=st.none() | COUNTS, provider=st.text())
def test_what_is_opened_is_what_was_packed(
    secrets: Secrets, body: dict[str, object], usage: Usage, cost: int | None, provider: str
) -> None:
    """Whatever it says, byte by byte; the time it is kept for is the store's to say."""
    said = orjson.dumps(body)
    sealed = pack("k", said, Kept(body, usage, cost, provider, 1.0), secrets)
    assert unpack("k", sealed, 7.5, secrets) == (said, Kept(body, usage, cost, provider, 7.5))


def test_an_answer_is_opened_only_by_its_key_and_its_server(secrets: Secrets, tmp_path: Path) -> None:
    """A row moved to another question, or carried to another server, says nothing."""
    sealed = pack("k", b'{"said": "bluebird"}', Kept({}, Usage(), 1, "openai", 1.0), secrets)
    assert "bluebird" not in sealed
    for key, other in (("l", secrets), ("k", load_or_create(tmp_path / "other"))):
        with pytest.raises(UnsealError):
            unpack(key, sealed, 1.0, other)
