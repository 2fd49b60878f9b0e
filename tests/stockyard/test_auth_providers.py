"""Provider keys that users bring: sealed, never shown, and never a way into this server's network."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from app.factory import Application
from app.gateway.personal import owner
from app.security.sealing import UnsealError, unseal
from app.services import provider_keys
from models.base import transaction
from models.identity import ProviderKey
from support.callers import Caller, Client
from support.envelopes import Refusals
from support.people import Person, Promised

PROVIDERS = "/api/auth/me/providers"
SECRET = "sk-ant-very-secret-0123456789"
LOOPBACK = pytest.mark.settings(outbound_allow="127.0.0.0/8")


def test_a_provider_key_is_saved_listed_and_forgotten(ada: Person, promised: Promised, refused: Refusals) -> None:
    """The name in any case is one name; what comes back never holds the key."""
    saved = promised(ada.caller.put(f"{PROVIDERS}/Anthropic", json={"api_key": SECRET}))
    assert saved == {"status": "saved", "provider": "anthropic"}
    [listed] = promised(ada.caller.get(PROVIDERS))["providers"]
    assert listed.keys() == {"id", "user_id", "provider", "created_at"}
    assert promised(ada.caller.delete(f"{PROVIDERS}/ANTHROPIC")) == {"status": "deleted"}
    assert promised(ada.caller.get(PROVIDERS))["total"] == 0
    refused(ada.caller.delete(f"{PROVIDERS}/anthropic"), 404, "not_found")


def test_an_operator_keeps_and_forgets_a_users_key(admin: Caller, ada: Person, promised: Promised) -> None:
    """Operators set people up; what they save is the user's from then on, and theirs to forget too."""
    saved = promised(admin.put(f"/api/auth/users/{ada.id}/providers/openai", json={"api_key": SECRET}))
    assert saved == {"status": "saved", "provider": "openai"}
    assert promised(ada.caller.get(PROVIDERS))["total"] == 1
    assert promised(admin.delete(f"/api/auth/users/{ada.id}/providers/openai")) == {"status": "deleted"}
    assert promised(ada.caller.get(PROVIDERS))["total"] == 0


def test_a_key_is_sealed_for_its_owner(application: Application, ada: Person) -> None:
    """Copied to another user's or provider's row, it does not open."""
    ada.caller.put(f"{PROVIDERS}/openai", json={"api_key": SECRET})
    with transaction(application.runtime.engine, write=False) as session:
        row = session.scalars(select(ProviderKey)).one()
    secrets = application.runtime.secrets
    assert unseal(row.sealed_key, owner(ada.id, "openai"), secrets) == SECRET
    for other in (owner(ada.id + 1, "openai"), owner(ada.id, "anthropic")):
        with pytest.raises(UnsealError):
            unseal(row.sealed_key, other, secrets)


@LOOPBACK
def test_saving_again_replaces_key_and_place(application: Application, ada: Person, promised: Promised) -> None:
    """PUT says what is to hold afterwards, so that a place left out is gone."""
    ada.caller.put(f"{PROVIDERS}/openai", json={"api_key": "old", "base_url": "http://127.0.0.1:9/v1"})
    [before] = promised(ada.caller.get(PROVIDERS))["providers"]
    ada.caller.put(f"{PROVIDERS}/openai", json={"api_key": SECRET})
    [after] = promised(ada.caller.get(PROVIDERS))["providers"]
    assert before.pop("base_url") == "http://127.0.0.1:9/v1"
    assert before == after
    with transaction(application.runtime.engine, write=False) as session:
        sealed = session.scalars(select(ProviderKey.sealed_key)).one()
    assert unseal(sealed, owner(ada.id, "openai"), application.runtime.secrets) == SECRET


@LOOPBACK
def test_an_unknown_provider_needs_a_place(ada: Person, promised: Promised, refused: Refusals) -> None:
    """Without one there is nowhere to send the calls."""
    body = refused(ada.caller.put(f"{PROVIDERS}/mine", json={"api_key": "k"}), 422, "unprocessable")
    assert "base_url" in body["error"]["message"]
    there = {"api_key": "k", "base_url": "http://127.0.0.1:8000/v1"}
    assert promised(ada.caller.put(f"{PROVIDERS}/Mine", json=there))["provider"] == "mine"


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1/v1",
        "http://169.254.169.254/latest",
        "http://0x7f.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://localhost:5432/",
        "https://user:pass@8.8.8.8/",
        "https://8.8.8.8/?a=b",
        "https://8.8.8.8/#f",
        "https://8.8.8.8:0/",
        "https://no-such-host.invalid/",
    ],
)
def test_a_place_inside_the_network_is_refused(ada: Person, admin: Any, refused: Refusals, base_url: str) -> None:
    """Otherwise any user could make the server call its own neighbours; operators allow places by a setting."""
    body = {"api_key": "k", "base_url": base_url}
    for caller, path in ((ada.caller, PROVIDERS), (admin, f"/api/auth/users/{ada.id}/providers")):
        assert "base_url" in str(refused(caller.put(f"{path}/openai", json=body), 422, "unprocessable"))
        assert caller.get(path).json()["total"] == 0


def test_a_public_place_is_taken(ada: Person, promised: Promised) -> None:
    """An address needs no resolver, so this asks nobody."""
    promised(ada.caller.put(f"{PROVIDERS}/openai", json={"api_key": "k", "base_url": "HTTPS://8.8.8.8/v1"}))
    assert promised(ada.caller.get(PROVIDERS))["providers"][0]["base_url"] == "HTTPS://8.8.8.8/v1"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"api_key": ""},
        {"api_key": "two words"},
        {"api_key": "line\n"},
        {"api_key": "kéy"},
        {"api_key": "k" * 2049},
        {"api_key": 1},
        {"api_key": "k", "base_url": None},
        {"api_key": "k", "base_url": ""},
        {"api_key": "k", "base_url": "8.8.8.8"},
        {"api_key": "k", "base_url": "ftp://8.8.8.8/"},
        {"api_key": "k", "base_url": "http://8.8.8.8/a b"},
        {"api_key": "k", "key": "k"},
        None,
    ],
)
def test_a_key_that_no_header_could_carry_is_refused(user: Any, refused: Refusals, body: Any) -> None:
    """And the refusal does not repeat it: it may have been nearly right."""
    text = str(refused(user.put(f"{PROVIDERS}/openai", json=body), 400, "bad_request"))
    assert "two words" not in text


@pytest.mark.parametrize("name", ["-x", "a b", "x" * 65, "%00", "ä"])
def test_a_provider_has_a_plain_name(user: Any, refused: Refusals, name: str) -> None:
    """It becomes part of headers and records."""
    refused(user.put(f"{PROVIDERS}/{name}", json={"api_key": "k"}), 400, "bad_request")


def test_the_longest_key_fits(ada: Person, promised: Promised) -> None:
    """What the document allows the column must hold, sealed."""
    promised(ada.caller.put(f"{PROVIDERS}/{'x' * 64}", json={"api_key": "k" * 2048, "base_url": "https://8.8.8.8/"}))


def test_an_operator_manages_a_users_providers(client: Client, ada: Person, promised: Promised) -> None:
    """The same three operations; the user sees what was done, another user does not."""
    base = f"/api/auth/users/{ada.id}/providers"
    assert promised(client.admin.put(f"{base}/Groq", json={"api_key": "gsk_x"}))["provider"] == "groq"
    assert promised(client.admin.get(base)) == promised(ada.caller.get(PROVIDERS))
    assert promised(client.user.get(PROVIDERS))["total"] == 0
    assert promised(client.admin.delete(f"{base}/groq")) == {"status": "deleted"}


def test_a_user_cannot_hoard_providers(ada: Person, refused: Refusals, monkeypatch: pytest.MonkeyPatch) -> None:
    """New names meet an end; a known one can still be replaced."""
    monkeypatch.setattr(provider_keys, "MAX_PROVIDERS", 1)
    assert ada.caller.put(f"{PROVIDERS}/openai", json={"api_key": "a"}).status_code == 200
    refused(ada.caller.put(f"{PROVIDERS}/groq", json={"api_key": "b"}), 409, "conflict")
    assert ada.caller.put(f"{PROVIDERS}/openai", json={"api_key": "c"}).status_code == 200


@pytest.mark.settings(rate_limits="on")
def test_a_user_cannot_keep_the_resolver_busy(ada: Person, refused: Refusals) -> None:
    """Each look-up of a slow name holds a thread."""
    answers = [ada.caller.put(f"{PROVIDERS}/openai", json={"api_key": "a"}) for _ in range(31)]
    assert {a.status_code for a in answers[:30]} == {200}
    refused(answers[30], 429, "rate_limited")
