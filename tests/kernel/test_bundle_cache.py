"""The bundle's copy in a data directory: it may save time, and must never be a different document."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.spec import cache, join
from app.spec.cache import cached_bundle


def copies(folder: Path) -> list[Path]:
    """What is in the folder."""
    return sorted(folder.iterdir())


def test_the_copy_is_the_bundle(tmp_path: Path) -> None:
    """The first start writes it, the second reads it; both serve the same document."""
    first = cached_bundle(tmp_path)
    [copy] = copies(tmp_path)
    written = copy.stat().st_mtime_ns
    assert cached_bundle(tmp_path) == first == join.bundle()
    assert copies(tmp_path) == [copy]
    assert copy.stat().st_mtime_ns == written


def test_a_new_version_is_never_answered_from_an_old_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an upgrade the server must keep what the new document says."""
    parts, data = tmp_path / "openapi", tmp_path / "data"
    data.mkdir()
    parts.mkdir()
    monkeypatch.setattr(join, "parts", lambda: parts)
    monkeypatch.setattr(cache, "parts", lambda: parts)
    for version in ("1", "2"):
        (parts / join.BUNDLE).write_text(f"info: {{version: '{version}'}}")
        assert cached_bundle(data) == {"info": {"version": version}}
    assert len(copies(data)) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_a_broken_copy_is_replaced(tmp_path: Path, content: bytes) -> None:
    """A disk that was full, a machine that lost power."""
    whole = cached_bundle(tmp_path)
    [copy] = copies(tmp_path)
    copy.write_bytes(content)
    assert cached_bundle(tmp_path) == whole
    assert cached_bundle(tmp_path) == whole
    assert len(copy.read_bytes()) > 1000


def test_without_room_for_a_copy_the_bundle_is_read_itself(tmp_path: Path) -> None:
    """The copy saves time; a start must not depend on it."""
    assert cached_bundle(tmp_path / "nowhere") == join.bundle()
