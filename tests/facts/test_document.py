"""Facts about the document and the server: every promise has somebody who keeps it, and somebody who checks."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from time import thread_time
from types import FunctionType
from typing import Any

import pytest

import handlers
from app.gaps import refuse_gaps
from app.spec import join
from app.spec.bridge import check
from app.spec.operations import Index, Operation

TESTS = Path(__file__).parents[1]
# The contract test runs every operation without naming any.
ANYTHING = r"(?:\{[^}]*\}|[^/\"'\s])+"  # a value, or an expression of an f-string
# What tests of the service desk write once; its aliases lead to the same operations.
PREFIXES = ("/prod/api/v1", "/prod/api")
NAMELESS = {"contract", "facts"}


@pytest.fixture(scope="module")
def index(document: dict[str, Any]) -> Index:
    """The committed document's operations."""
    return Index(document)


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    """OpenAPI 3.1, as generators and other readers of it will find out."""
    assert check(document) == []
    assert document["openapi"].startswith("3.1.")


def test_the_bundle_is_fresh() -> None:
    """What is served is what the parts say; otherwise run: yardmaster spec bundle."""
    assert (join.parts() / join.BUNDLE).read_text(encoding="utf-8") == join.dump(join.join())


def test_the_server_keeps_every_promise_it_checks_at_the_start(index: Index) -> None:
    """A handler for each operation, a verifier for each scheme, a renderer for each dialect."""
    refuse_gaps(index)


def test_every_handler_is_an_operation(index: Index) -> None:
    """A public function that no path leads to is dead, or was misspelt in the document."""
    known = {(o.module, o.raw.get("x-alias-of", o.id)) for o in index.by_id.values()}
    assert sorted(set(_handlers()) - known) == []


def _handlers() -> Iterator[tuple[str, str]]:
    for found in walk_packages(handlers.__path__, "handlers."):
        module = import_module(found.name)
        for name, member in vars(module).items():
            if isinstance(member, FunctionType) and inspect.getmodule(member) is module and name[0] != "_":
                yield found.name, name


def test_every_operation_is_tested(index: Index) -> None:
    """By its id or by its path in some test of its own: the fuzzer proves the form of answers, not their meaning."""
    rooms = (p for p in TESTS.rglob("*.py") if not NAMELESS & set(p.relative_to(TESTS).parts))
    told = "\n".join(path.read_text(encoding="utf-8") for path in rooms)
    assert [o.id for o in index.by_id.values() if not _is_told(o, told)] == []


def _is_told(operation: Operation, text: str) -> bool:
    spoken = operation.raw.get("x-alias-of", operation.id)
    path = "/".join(ANYTHING if s.startswith("{") else re.escape(s) for s in operation.path.split("/"))
    below = re.sub(rf"\A(?:{'|'.join(map(re.escape, PREFIXES))})", "[\"']", path)
    return bool(re.search(rf"\b{spoken}\b|{path}[\"'?\s]|{below}[\"'?\s]", text))


def test_twins_are_woven_for_every_aliased_path(document: dict[str, Any]) -> None:
    """A client of the unversioned address finds all of it there."""
    for prefix, alias in document["x-aliases"].items():
        versioned = {path for path in document["paths"] if path.startswith(prefix)}
        assert versioned
        assert {alias + path.removeprefix(prefix) for path in versioned} <= document["paths"].keys()


def _patterns(node: Any) -> Iterator[tuple[str, int]]:
    if isinstance(node, dict):
        if isinstance(node.get("pattern"), str) and "maxLength" in node:
            yield node["pattern"], node["maxLength"]
        for value in node.values():
            yield from _patterns(value)
    elif isinstance(node, list):
        for value in node:
            yield from _patterns(value)


def test_no_pattern_takes_a_backtracking_reader_long(document: dict[str, Any]) -> None:
    """Clients and fuzzers match with engines that try every split: one that has thousands of them stops its caller.

    The server's own engine is linear. A fuzzer's was not: it held its other threads up for ten seconds and more, and
    took that for ours.
    """
    slow = []
    for pattern, most in set(_patterns(document)):
        for text in (letter * (min(most, 16_000) - 1) + end for letter in "0a -/" for end in ("", "\0", "!")):
            began = thread_time()
            re.search(pattern, text)
            if thread_time() - began > 0.5:
                slow.append(pattern)
    assert slow == []
