"""The file of the proxy log: shared by workers, and never larger than it may be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from app.gateway.modules.proxylog import append


def test_a_file_that_is_full_is_put_aside(tmp_path: Path) -> None:
    """One of them is kept: a log must not fill the disk."""
    file = tmp_path / "proxy.log"
    for number in range(5):
        append(file, f"line {number}\n", 14)
    assert (file.read_text(), (tmp_path / "proxy.log.1").read_text()) == ("line 4\n", "line 2\nline 3\n")


def test_many_may_write_at_once(tmp_path: Path) -> None:
    """No line is lost or torn while the file is put aside once, and only once."""
    file, lines = tmp_path / "proxy.log", [f"{number:03} {'x' * 95}\n" for number in range(150)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda line: append(file, line, 10_000), lines))
    aside = (tmp_path / "proxy.log.1").read_text()
    assert len(aside) == 10_000
    assert sorted((aside + file.read_text()).splitlines(keepends=True)) == lines
