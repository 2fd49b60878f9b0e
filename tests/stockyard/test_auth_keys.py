"""API keys: made, narrowed, rotated and revoked; shown once, and dead when they should be."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app.factory import Application, create
from app.security.keys import fingerprint, legacy_fingerprint
from app.services import accounts
from app.services.bootstrap import FirstKeys
from app.settings import Settings
from models.base import now, transaction
from models.identity import ApiKey
from support.callers import Client
from support.envelopes import Refusals
from support.people import Person, Promised

KEYS = "/api/auth/me/keys"
YEAR = "2999-01-01T00:00:00Z"


def test_a_key_is_shown_once(client: Client, ada: Person, promised: Promised) -> None:
    """In the answer that makes it; afterwards only its ends, and it works."""
    response = ada.caller.post(KEYS, json={"name": "ci", "expires_at": YEAR})
    made = promised(response, 201)
    assert response.headers["location"] == f"{KEYS}/{made['id']}"
    listed = promised(ada.caller.get(KEYS))["keys"]
    assert [k["name"] for k in listed] == ["default", "ci"]
    assert made["key"] not in str(listed)
    assert listed[1]["key_prefix"] == f"{made['key'][:12]}...{made['key'][-4:]}"
    assert listed[1]["expires_at"] == "2999-01-01T00:00:00.000Z"
    assert client.bearing(made["key"]).get(KEYS).status_code == 200


def test_a_key_needs_no_body(ada: Person, admin: Any, promised: Promised, refused: Refusals) -> None:
    """It is then called `default`, which the first key is already."""
    refused(ada.caller.post(KEYS), 409, "conflict")
    admin.delete(f"/api/auth/users/{ada.id}/keys/{ada.key_id}")
    assert promised(admin.post(f"/api/auth/users/{ada.id}/keys"), 201)["name"] == "default"


def test_no_two_keys_in_use_share_a_name(ada: Person, promised: Promised, refused: Refusals) -> None:
    """A name tells keys apart; a revoked key gives its name free."""
    first = promised(ada.caller.post(KEYS, json={"name": "ci"}), 201)
    body = refused(ada.caller.post(KEYS, json={"name": "ci"}), 409, "conflict")
    assert body["error"]["details"]["field"] == "name"
    assert promised(ada.caller.delete(f"{KEYS}/{first['id']}")) == {"status": "revoked"}
    assert promised(ada.caller.post(KEYS, json={"name": "ci"}), 201)["id"] != first["id"]


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "a\x00b"},
        {"name": "x" * 101},
        {"name": 1},
        {"scopes": "root"},
        {"scopes": ""},
        {"scopes": "gateway,"},
        {"expires_at": "tomorrow"},
        {"admin": True},
        [],
    ],
)
def test_a_key_that_makes_no_sense_is_refused(user: Any, refused: Refusals, body: Any) -> None:
    """A setting that would silently not hold is worse than a refusal."""
    refused(user.post(KEYS, json=body), 400, "bad_request")


@pytest.mark.parametrize("moment", ["2020-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"])
def test_a_key_is_not_made_to_be_dead(ada: Person, refused: Refusals, moment: str) -> None:
    """A moment in the past is a mistake, when making a key as when rotating one, which then lives on."""
    refused(ada.caller.post(KEYS, json={"name": "x", "expires_at": moment}), 422, "unprocessable")
    refused(ada.caller.post(f"{KEYS}/{ada.key_id}/rotate", json={"expires_at": moment}), 422, "unprocessable")
    assert ada.caller.get(KEYS).json()["total"] == 1


def test_a_revoked_key_is_dead_at_once(client: Client, ada: Person, refused: Refusals) -> None:
    """On the very next request, though it was in use a moment ago; and there is nothing to revoke again."""
    made = ada.caller.post(KEYS, json={"name": "ci"}).json()
    doomed = client.bearing(made["key"])
    assert doomed.get(KEYS).status_code == 200
    assert ada.caller.delete(f"{KEYS}/{made['id']}").status_code == 200
    refused(doomed.get(KEYS), 401, "unauthorized")
    refused(ada.caller.delete(f"{KEYS}/{made['id']}"), 404, "not_found")
    refused(ada.caller.post(f"{KEYS}/{made['id']}/rotate"), 404, "not_found")


def test_revocation_reaches_other_workers_within_a_second(
    client: Client, ada: Person, settings: Settings, document: dict[str, Any]
) -> None:
    """A leaked key must stop everywhere; other workers hold it in a cache for a minute otherwise."""
    with Client(create(settings, document), FirstKeys()) as other:
        doomed = other.bearing(ada.key)
        assert doomed.get(KEYS).status_code == 200
        ada.caller.delete(f"{KEYS}/{ada.key_id}")
        revoked = time.monotonic()
        while doomed.get(KEYS).status_code == 200:
            assert time.monotonic() - revoked < 1.0
            time.sleep(0.02)
        assert doomed.get(KEYS).status_code == 401


def test_nobody_reaches_another_users_key(ada: Person, user: Any, admin: Any, refused: Refusals) -> None:
    """Not by its number, and an operator not through the wrong user."""
    refused(user.delete(f"{KEYS}/{ada.key_id}"), 404, "not_found")
    refused(user.post(f"{KEYS}/{ada.key_id}/rotate"), 404, "not_found")
    refused(admin.delete(f"/api/auth/users/1/keys/{ada.key_id}"), 404, "not_found")
    refused(admin.post(f"/api/auth/users/1/keys/{ada.key_id}/rotate"), 404, "not_found")
    assert ada.caller.get(KEYS).status_code == 200


def test_an_operator_manages_a_users_keys(client: Client, ada: Person, promised: Promised) -> None:
    """The same four operations, for whoever lost their key."""
    base = f"/api/auth/users/{ada.id}/keys"
    response = client.admin.post(base, json={"name": "ops", "scopes": "gateway:read,auth"})
    made = promised(response, 201)
    assert response.headers["location"] == f"{base}/{made['id']}"
    assert (made["user_id"], made["scopes"]) == (ada.id, "auth,gateway:read")
    rotated = promised(client.admin.post(f"{base}/{made['id']}/rotate"))
    assert rotated["old_key"] == made["id"]
    assert [k["name"] for k in promised(client.admin.get(base))["keys"]] == ["default", "ops"]
    assert promised(client.admin.delete(f"{base}/{rotated['new_key']['id']}")) == {"status": "revoked"}


def test_rotation_ends_the_old_key_and_keeps_what_it_was(client: Client, ada: Person, refused: Refusals) -> None:
    """Name, scopes and expiry pass on; two keys never work at once unless asked."""
    old = ada.caller.post(KEYS, json={"name": "ci", "scopes": "auth", "expires_at": YEAR}).json()
    rotated = ada.caller.post(f"{KEYS}/{old['id']}/rotate").json()
    new = rotated["new_key"]
    assert (rotated["status"], rotated["old_key"]) == ("rotated", old["id"])
    assert {n: new[n] for n in ("name", "scopes", "expires_at")} == {
        n: old[n] for n in ("name", "scopes", "expires_at")
    }
    refused(client.bearing(old["key"]).get(KEYS), 401, "unauthorized")
    assert client.bearing(new["key"]).get(KEYS).status_code == 200


def test_a_key_may_rotate_itself(client: Client, ada: Person, promised: Promised) -> None:
    """That is how a service renews its own; the answer is the last thing the old key gets."""
    new = promised(ada.caller.post(f"{KEYS}/{ada.key_id}/rotate", json={"expires_at": YEAR}))["new_key"]
    assert (new["name"], new["expires_at"]) == ("default", "2999-01-01T00:00:00.000Z")
    assert ada.caller.get(KEYS).status_code == 401
    assert client.bearing(new["key"]).get(KEYS).status_code == 200


def test_an_overlap_lets_the_old_key_work_a_little_longer(client: Client, ada: Person, refused: Refusals) -> None:
    """Long enough to hand the new one out, and no longer; a second rotation of the old one is refused."""
    new = ada.caller.post(f"{KEYS}/{ada.key_id}/rotate", json={"overlap_seconds": 1}).json()["new_key"]
    assert "expires_at" not in new
    listed = {k["id"]: k for k in ada.caller.get(KEYS).json()["keys"]}
    assert listed[ada.key_id]["name"] == f"default (rotated {ada.key_id})"
    assert listed[ada.key_id]["expires_at"] < (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    refused(ada.caller.post(f"{KEYS}/{ada.key_id}/rotate"), 404, "not_found")
    time.sleep(1.05)
    refused(ada.caller.get(KEYS), 401, "unauthorized")
    fresh = client.bearing(new["key"])
    assert [k["id"] for k in fresh.get(KEYS).json()["keys"]] == [ada.key_id, new["id"]]
    fresh.post(KEYS, json={"name": "next"})
    assert ada.key_id not in [k["id"] for k in fresh.get(KEYS).json()["keys"]]


def test_an_overlap_never_lengthens_a_keys_life(ada: Person) -> None:
    """A key about to expire expires when it was to."""
    soon = (now() + timedelta(seconds=600)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    old = ada.caller.post(KEYS, json={"name": "x" * 100, "expires_at": soon}).json()
    new = ada.caller.post(f"{KEYS}/{old['id']}/rotate", json={"overlap_seconds": 86_400}).json()["new_key"]
    listed = {k["id"]: k for k in ada.caller.get(KEYS).json()["keys"]}
    assert listed[old["id"]]["expires_at"] == soon
    assert (new["expires_at"], new["name"]) == (soon, "x" * 100)
    assert len(listed[old["id"]]["name"]) == 100


def test_an_expired_key_is_dead_and_gives_its_name_free(client: Client, ada: Person, refused: Refusals) -> None:
    """It works to its last moment, and not a cache's lifetime longer."""
    soon = (now() + timedelta(seconds=0.6)).isoformat()
    made = ada.caller.post(KEYS, json={"name": "brief", "expires_at": soon}).json()
    brief = client.bearing(made["key"])
    assert brief.get(KEYS).status_code == 200
    time.sleep(0.7)
    refused(brief.get(KEYS), 401, "unauthorized")
    refused(ada.caller.post(f"{KEYS}/{made['id']}/rotate"), 404, "not_found")
    assert ada.caller.post(KEYS, json={"name": "brief"}).status_code == 201


def test_scopes_narrow_what_a_key_may_do(client: Client, ada: Person, refused: Refusals) -> None:
    """A key given to a program that calls models must not manage the account."""
    proxy = client.bearing(ada.caller.post(KEYS, json={"name": "app", "scopes": "gateway"}).json()["key"])
    reader = client.bearing(ada.caller.post(KEYS, json={"name": "look", "scopes": "auth:read"}).json()["key"])
    refused(proxy.get("/api/auth/me"), 403, "forbidden")
    assert reader.get("/api/auth/me").status_code == 200
    refused(reader.post(KEYS, json={"name": "more"}), 403, "forbidden")
    refused(reader.delete(f"{KEYS}/{ada.key_id}"), 403, "forbidden")


def test_a_key_never_makes_one_that_may_do_more(
    client: Client, ada: Person, promised: Promised, refused: Refusals
) -> None:
    """Neither by making nor by rotating; without scopes the new key gets its maker's."""
    narrow = client.bearing(ada.caller.post(KEYS, json={"name": "acct", "scopes": "auth"}).json()["key"])
    for scopes in ("*", "auth,gateway", "gateway:read"):
        refused(narrow.post(KEYS, json={"name": "n", "scopes": scopes}), 403, "forbidden")
    refused(narrow.post(f"{KEYS}/{ada.key_id}/rotate"), 403, "forbidden")
    assert promised(narrow.post(KEYS, json={"name": "same"}), 201)["scopes"] == "auth"
    assert promised(narrow.post(KEYS, json={"name": "less", "scopes": "auth:read"}), 201)["scopes"] == "auth:read"
    assert promised(ada.caller.post(KEYS, json={"name": "all", "scopes": "gateway,*"}), 201)["scopes"] == "*"


def test_every_group_that_takes_user_keys_can_be_a_scope(document: dict[str, Any], refused: Refusals) -> None:
    """A key can be narrowed to whatever a user may do."""
    pattern = document["components"]["schemas"]["KeyCreate"]["properties"]["scopes"]["pattern"]
    groups = {o.scope for o in refused.index.by_id.values() if any("user" in r.get("sy_key", ()) for r in o.security)}
    assert {group for group in groups if group not in pattern} == set()


def test_a_user_cannot_hoard_keys(ada: Person, refused: Refusals, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that makes keys must meet an end; an overlap counts, a plain rotation does not."""
    monkeypatch.setattr(accounts, "MAX_KEYS", 2)
    assert ada.caller.post(KEYS, json={"name": "b"}).status_code == 201
    body = refused(ada.caller.post(KEYS, json={"name": "c"}), 409, "conflict")
    assert "revoke one" in body["error"]["message"]
    refused(ada.caller.post(f"{KEYS}/{ada.key_id}/rotate", json={"overlap_seconds": 5}), 409, "conflict")
    assert ada.caller.post(f"{KEYS}/{ada.key_id}/rotate").status_code == 200


def test_a_key_expires_in_any_moment_that_rfc_3339_can_write(ada: Person, promised: Promised) -> None:
    """The document promises `date-time`; leap seconds and the end of time are part of it."""
    wanted = {
        "2999-12-31T23:59:60z": "2999-12-31T23:59:59.999Z",
        "9999-12-31T23:59:59-23:59": "9999-12-31T23:59:59.999Z",
    }
    for name, (said, shown) in enumerate(wanted.items()):
        made = promised(ada.caller.post(KEYS, json={"name": str(name), "expires_at": said}), 201)
        assert made["expires_at"] == shown


def test_keys_page_in_order(ada: Person, promised: Promised) -> None:
    """Oldest first, by cursor as by offset."""
    for n in range(4):
        ada.caller.post(KEYS, json={"name": f"k{n}"})
    first = promised(ada.caller.get(KEYS, params={"limit": 2}))
    assert (first["total"], first["has_more"]) == (5, True)
    rest = promised(ada.caller.get(KEYS, params={"limit": 9, "cursor": first["next_cursor"]}))
    assert [k["name"] for k in first["keys"] + rest["keys"]] == ["default", "k0", "k1", "k2", "k3"]
    assert [k["name"] for k in promised(ada.caller.get(KEYS, params={"offset": 4}))["keys"]] == ["k3"]


def test_a_legacy_hash_is_upgraded_on_use(application: Application, client: Client, ada: Person) -> None:
    """Bare SHA-256 rows are found, and rewritten to the HMAC the first time their key is used."""
    runtime = application.runtime
    bare = {"key_hash": legacy_fingerprint(ada.key), "hash_algorithm": "sha256"}
    with transaction(runtime.engine) as session:
        session.execute(update(ApiKey).where(ApiKey.id == ada.key_id).values(bare))
    assert ada.caller.get(KEYS).status_code == 200
    with transaction(runtime.engine, write=False) as session:
        row = session.scalars(select(ApiKey).where(ApiKey.id == ada.key_id)).one()
    assert (row.key_hash, row.hash_algorithm) == (fingerprint(ada.key, runtime.secrets.pepper), "hmac-sha256")
    runtime.changed()
    assert ada.caller.get(KEYS).status_code == 200


def test_the_last_use_of_a_key_is_known(application: Application, client: Client, ada: Person) -> None:
    """Whoever cleans up must see which keys nobody uses; it is written when the server stops at the latest."""
    assert "last_used" not in ada.caller.get(KEYS).json()["keys"][0]
    used = datetime.now(UTC)
    client.__exit__()
    with transaction(application.runtime.engine, write=False) as session:
        stored = session.scalars(select(ApiKey.last_used).where(ApiKey.id == ada.key_id)).one()
    assert stored is not None
    assert abs(stored - used) < timedelta(seconds=2)
