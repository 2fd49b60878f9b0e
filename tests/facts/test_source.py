"""Facts about the source that no linter checks: tests run, modules say what they are, settings are told."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from app.problems import CODES
from app.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
ROOMS = ("app", "handlers", "models", "tests")


def _modules(*rooms: str) -> Iterator[tuple[str, ast.Module]]:
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def _functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(node) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_module_says_what_it_is() -> None:
    """Its first line is the map of the code."""
    assert [name for name, module in _modules(*ROOMS) if not ast.get_docstring(module)] == []


def test_no_test_hides_in_a_function() -> None:
    """Pytest never collects it: it looks like a promise and is none."""
    hidden = [
        f"{name}: {inner.name}"
        for name, module in _modules("tests")
        for outer in _functions(module)
        for inner in _functions(outer)
        if inner is not outer and inner.name.startswith("test")
    ]
    assert hidden == []


def test_every_test_says_why_it_matters() -> None:
    """In its docstring: the name says what, and both are read when it fails."""
    silent = [
        f"{name}: {function.name}"
        for name, module in _modules("tests")
        for function in _functions(module)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert silent == []


@pytest.mark.parametrize("setting", [field.name for field in fields(Settings)])
def test_every_setting_is_in_the_readme(setting: str) -> None:
    """A setting nobody is told of is a trap."""
    table = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert any(f"`{PREFIX}{setting.upper()}`" in line.split("|")[1] for line in table)


def test_every_error_code_is_documented(document: dict[str, object]) -> None:
    """Programs branch on them: a code that is not in the document is a surprise."""
    known = set(CODES.values()) | {
        str(keyword.value.value)
        for _, module in _modules("app", "handlers")
        for call in ast.walk(module)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }
    told = document["components"]["schemas"]["ErrorCode"]["description"]  # type: ignore[index]
    assert sorted(code for code in known - {"malformed_json", "validation_failed"} if f"`{code}`" not in told) == []
