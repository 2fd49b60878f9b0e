"""Facts of the locks that PostgreSQL knows by a number alone."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NUMBERED = re.compile(r"^LOCK(?:: Final)? = ([\d_]+)$", re.MULTILINE)


def test_no_two_kinds_of_work_have_one_lock() -> None:
    """Two that share a number wait for each other, and nothing tells why."""
    sources = [path for folder in ("app", "models") for path in (ROOT / folder).rglob("*.py")]
    locking = [text for path in sources if "pg_advisory" in (text := path.read_text()) or "pg_try_advisory" in text]
    numbers = Counter(int(found.replace("_", "")) for text in locking for found in NUMBERED.findall(text))
    assert len(numbers) == len(locking) > 3
    assert set(numbers.values()) == {1}
