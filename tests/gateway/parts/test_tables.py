"""Tables in Markdown: read as they were meant, and the same however a stream was cut."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.modules.tableforge import LONGEST_LINE, Lines
from app.gateway.modules.tables import number

SOUND = "Look:\n| a | b |\n| --- | --- |\n| 1 | x |\n\nThat is all: a | b."


def passed(text: str, form: str = "markdown", most: int = 100, pieces: int = 1) -> str:
    """The text as it leaves, fed in pieces of that length; at once when it is 0."""
    lines = Lines(form, most, Counter())
    step = pieces or len(text) or 1
    return "".join(lines.feed(text[at : at + step]) for at in range(0, len(text), step)) + lines.end()


REPAIRS = {
    "| a | b |\n| --- | --- |\n| 1 |\n| 2 | 3 | 4 |": (
        "| a | b | Column 3 |\n| ---: | ---: | ---: |\n| 1 |  |  |\n| 2 | 3 | 4 |"
    ),
    "| a | b |\n| 1 | x |\n| 2 | y |\n": "| a | b |\n| ---: | --- |\n| 1 | x |\n| 2 | y |\n",
    "|---|---|\n| x | y |": "| Column 1 | Column 2 |\n| --- | --- |\n| x | y |",
    '| a | b |\n|:--|:-:|\n| "1,200" | `7` |\n| x |': ("| a | b |\n| :--- | :---: |\n| 1,200 | 7 |\n| x |  |"),
    "now a | b:\n  a | b\n --|--\n x \\| y\n": "now a | b:\n  | a | b |\n  | --- | --- |\n  | x \\| y |  |\n",
}


@pytest.mark.parametrize("pieces", [0, 1, 7])
@pytest.mark.parametrize(("written", "meant"), REPAIRS.items())
def test_a_table_is_repaired(written: str, meant: str, pieces: int) -> None:
    """Nothing of it is lost, and nothing around it is touched."""
    assert passed(written, pieces=pieces) == meant
    assert passed(f"Before.\n{written.rstrip()}\nAfter.", pieces=pieces) == f"Before.\n{meant.rstrip()}\nAfter."


@pytest.mark.parametrize(
    "text",
    [
        SOUND,
        "a | b\nc | d\n",
        "|x| is the size.\n|y| too.\n",
        "```\n| a | b |\n|---|\n| 1 |\n```\n",
        "~~~ md\n| a | b |\n```\n|---|\n| 1 |\n~~~",
        "> | a | b |\n> |---|\n> | 1 |\n",
        "|---|---|\n",
        "|   | b |\n|---|---|\n| x | y |",
        "",
        "\n\n",
    ],
)
def test_what_is_sound_or_no_table_is_left_alone(text: str) -> None:
    """To the letter."""
    for pieces in (0, 1, 1000):
        assert passed(text, pieces=pieces) == text


def test_a_line_that_is_too_long_is_no_row() -> None:
    """It leaves before its end has come."""
    line = "| a |" + "x" * LONGEST_LINE
    text = f"{line}|\n|---|\n"
    assert all(passed(text, pieces=pieces) == text for pieces in (0, 1, 1000))
    assert Lines("markdown", 10, Counter()).feed(line) == line


def test_a_table_that_is_too_long_is_left_alone() -> None:
    """And does not wait to be sent."""
    text = "| a | b |\n|---|---|\n" + "| 1 |\n" * 11 + "end | or not\n\n"
    assert passed(text, most=10) == text
    assert passed(text, most=12) != text
    lines = Lines("markdown", 10, Counter())
    assert lines.feed(text[: text.index("end")]) == text[: text.index("end")]


def test_a_table_may_leave_in_another_form() -> None:
    """Sound or not: fenced, with numbers as numbers in JSON, and every name once."""
    text = '| a | a |  |\n|---|---|---|\n| 1,000 | 007 | x, "y" |\n| -2.5 |\n'
    assert passed(text, "csv") == '```csv\na,a,\n"1,000",007,"x, ""y"""\n-2.5,,\n```\n'
    rows = '[\n  {\n    "a": 1000,\n    "a 2": "007",\n    "Column 3": "x, \\"y\\""\n  },\n'
    rows += '  {\n    "a": -2.5,\n    "a 2": null,\n    "Column 3": null\n  }\n]'
    assert passed(text, "json") == f"```json\n{rows}\n```\n"


@given(
    st.text(alphabet=st.sampled_from("|-ab\n`>~ \\"), max_size=200),
    st.integers(1, 5),
    st.sampled_from(["markdown", "csv", "json"]),
)
def test_a_stream_says_the_same_however_it_was_cut(text: str, pieces: int, form: str) -> None:
    """Character by character or at once; and what was repaired once is sound."""
    whole = passed(text, form, 3, pieces=0)
    assert passed(text, form, 3, pieces=pieces) == whole


@pytest.mark.parametrize(
    ("cell", "found"),
    [("1", 1), ("-2.50", -2.5), ("1,234,567.8", 1_234_567.8), ("007", None), ("1,23", None), ("5 %", None), ("", None)],
)
def test_a_number_is_told_from_what_looks_like_one(cell: str, found: float | None) -> None:
    """Codes with zeros before them stay what they are."""
    assert number(cell) == found
