"""No credential gets through the redactor, and prose does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.security.redact import REDACTED, is_secret, redact, redact_json, redact_mapping

BODY = "A1b2C3d4E5f6G7h8J9k0"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.dozjgNryP4J3jVmNHl0w5N"
KEYS = [
    f"sk-{BODY}",
    f"sk-proj-{BODY}",
    f"sk-ant-api03-{BODY}",
    f"sy_{BODY}",
    f"sy_admin_{BODY}",
    f"gsk_{BODY}",
    f"xai-{BODY}",
    f"pplx-{BODY}",
    f"fw_{BODY}",
    f"csk-{BODY}",
    f"nvapi-{BODY}",
    f"hf_{BODY}",
    f"r8_{BODY}",
    f"AIza{BODY}",
    f"ghp_{BODY}",
    f"github_pat_{BODY}",
    f"glpat-{BODY}",
    "AKIAIOSFODNN7EXAMPLE",
    f"xoxb-{BODY}",
    f"sk_live_{BODY}",
    f"whsec_{BODY}",
    "stout_" + "0a" * 32,
    JWT,
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("frame", ["{}", "key {} is wrong.", '{{"k":"{}"}}', "https://h/p?x={}&y=1", "({})", "k={}"])
def test_a_key_is_taken_out_wherever_it_stands(key: str, frame: str) -> None:
    """Providers echo keys in sentences, JSON and URLs."""
    shown = redact(frame.format(key))
    assert key not in shown
    assert BODY not in shown
    assert REDACTED in shown


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abc123def456",
        "authorization: bearer ABCDEFGH",
        "Authorization: Basic dXNlcjpwYXNzd29yZA==",
        "Incorrect API key provided: 0123456789abcdef.",
        'api_key="0123456789abcdef"',
        "https://host/v1beta/models?key=0123456789abcdef",
        "postgresql://app:0123456789abcdef@db/app",
        "-----BEGIN RSA PRIVATE KEY-----\n0123456789abcdef\n-----END RSA PRIVATE KEY-----",
        "sk-proj-********************cdef",
    ],
)
def test_a_secret_is_told_by_what_stands_before_it(text: str) -> None:
    """Many keys have no prefix of their own."""
    shown = redact(text)
    assert REDACTED in shown
    assert not any(secret in shown for secret in ("0123456789", "abc123", "ABCDEFGH", "dXNlc", "cdef"))


@pytest.mark.parametrize(
    "text",
    [
        "Missing bearer or basic authentication in header",
        "The risk-assessment-framework task-force met at eight-thirty",
        "easy_going_people and fly_fw_12",
        "max_tokens must be at most 4096",
        "https://example.com/a?page=2",
        "Your API key: missing",
        "req_0123456789abcdef0123456789abcdef",
        "at 12:30@noon",
    ],
)
def test_prose_is_left_alone(text: str) -> None:
    """A reason redacted away helps nobody on call."""
    assert redact(text) == text


@settings(deadline=None)
@given(st.text(), st.sampled_from(KEYS), st.text())
def test_no_surrounding_saves_a_key(before: str, key: str, after: str) -> None:
    """Only a letter or digit right before a key could make it part of a word."""
    assert BODY not in redact(f"{before} {key} {after}")


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("abk-_ =:sky1/@?\n") | st.characters(codec="utf-8")))
def test_redacting_twice_changes_nothing(text: str) -> None:
    """Text passes several sinks; each must leave the last one's work alone."""
    assert redact(redact(text)) == redact(text)


def test_the_key_of_the_call_is_taken_out_by_value() -> None:
    """Azure's and Mistral's keys look like any other word."""
    assert redact("no such key: plainword", "plainword", "") == f"no such key: {REDACTED}"


def test_headers_lose_what_secret_names_hold() -> None:
    """The name alone decides, in any case and spelling."""
    headers = {"Authorization": "x", "X-Api-Key": "y", "api-key": "z", "x-request-id": "r", "Set-Cookie": "c"}
    shown = redact_mapping(headers)
    assert shown == dict.fromkeys(headers, REDACTED) | {"x-request-id": "r"}


def test_json_is_redacted_at_any_depth() -> None:
    """Traces are deep; numbers and flags stay what they are."""
    body = {"a": [{"b": f"use {KEYS[0]}"}], "password": {"old": "x"}, "has_api_key": True, "max_tokens": 5, "n": None}
    assert redact_json(body) == {
        "a": [{"b": f"use {REDACTED}"}],
        "password": REDACTED,
        "has_api_key": True,
        "max_tokens": 5,
        "n": None,
    }


@pytest.mark.parametrize("name", ["max_tokens", "prompt_tokens", "key_id", "tokenizer", "secretary"])
def test_harmless_names_are_no_secrets(name: str) -> None:
    """Counts and ids must stay readable."""
    assert not is_secret(name)
