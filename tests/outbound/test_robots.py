"""robots.txt as RFC 9309 has it: whose group, which rule, and what a pattern means."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.outbound.robots import EVERYTHING, NOTHING, parse
from support.timing import cpu_seconds


def allowed(text: str, target: str) -> bool:
    """Whether this server may read a target."""
    return parse(text, "Yardmaster").allow(target)


@pytest.mark.parametrize(
    ("rules", "target", "may"),
    [
        ("Disallow: /", "/x", False),
        ("Disallow:", "/x", True),
        ("Disallow: /fish", "/fish.html", False),
        ("Disallow: /fish", "/catfish", True),
        ("Disallow: /fish/", "/fish", True),
        ("Disallow: /*.php", "/a/index.php?x=1", False),
        ("Disallow: /*.php$", "/index.php?x=1", True),
        ("Disallow: /*.php$", "/index.php", False),
        ("Disallow: /fish*.php", "/fish/heads.php", False),
        ("Disallow: /$", "/", False),
        ("Disallow: /$", "/x", True),
        ("Disallow: /a$", "/a", False),
        ("Disallow: /a*a$", "/a", True),
        ("Disallow: /\nAllow: /p", "/page", True),
        ("Allow: /p\nDisallow: /", "/page", True),
        ("Allow: /folder\nDisallow: /folder", "/folder/page", True),
        ("Allow: /page\nDisallow: /*.htm", "/page.htm", False),
        ("Disallow: /été", "/%C3%A9t%C3%A9", False),
        ("Disallow: /%c3%a9", "/%C3%A9", False),
        ("disallow : /x # not this", "/x", False),
        ("Noindex: /x", "/x", True),
    ],
)
def test_the_longest_pattern_decides(rules: str, target: str, may: bool) -> None:
    """The examples of RFC 9309 §2.2.2 and of what search engines publish; allowing wins a tie."""
    assert allowed(f"User-agent: *\n{rules}", target) is may


def test_the_group_that_names_the_client_is_the_one() -> None:
    """Others' rules, and those for anyone, do not count then; its groups are one."""
    anyone, named = "User-agent: *\nDisallow: /", "User-Agent: other\nUser-agent: YARDMASTER/1.0\nDisallow: /a"
    text = f"{anyone}\n\n{named}\n\nuser-agent: yardmaster\nDisallow: /b"
    assert [allowed(text, target) for target in ("/a", "/b", "/c")] == [False, False, True]
    assert not parse(text, "third").allow("/c")


def test_rules_before_any_client_are_nobodys() -> None:
    """They belong to no group."""
    assert allowed("Disallow: /\nUser-agent: *\nDisallow: /x", "/y")


def test_a_name_that_begins_alike_is_another() -> None:
    """`yard` is not `yardmaster`."""
    assert allowed("User-agent: yard\nDisallow: /", "/x")
    assert allowed("User-agent: yardmaster-pro\nDisallow: /", "/x")


def test_everything_and_nothing() -> None:
    """What a missing file and a broken server mean."""
    assert EVERYTHING.allow("/x")
    assert not NOTHING.allow("/x")


@settings(deadline=None)
@given(st.text(), st.text(max_size=30))
def test_any_text_can_be_read(text: str, target: str) -> None:
    """A page of an error, or noise, is no failure."""
    assert isinstance(allowed(text, f"/{target}"), bool)


def test_a_hostile_pattern_is_matched_in_no_time() -> None:
    """A regular expression would try every way to place forty stars."""
    pattern, path = "User-agent: *\nDisallow: /" + "*a" * 40 + "$", "/" + "a" * 2_000 + "b"
    assert cpu_seconds(lambda: allowed(pattern, path)) < 1
