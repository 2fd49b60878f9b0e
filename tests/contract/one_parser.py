"""Lets one thread at a time parse Python: 3.11 counts the depth of what is parsed for all threads together.

The fuzzer reads the sources of its own strategies while it runs, in two threads, and CPython then now and then raises
"AST constructor recursion depth mismatch" (its issue 106905).
"""

from __future__ import annotations

import ast
from threading import Lock
from typing import Any

_parse, _one = ast.parse, Lock()


def _alone(*words: Any, **options: Any) -> Any:
    with _one:
        return _parse(*words, **options)


ast.parse = _alone
