"""The configuration as one document: what is exported comes back, secrets stay, and nobody's change is lost."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from app.factory import Application
from app.security.sealing import unseal
from app.services.configuration import differences
from app.services.module_settings import with_kept, with_secrets, without_secrets
from models.base import transaction
from models.gateway import ModuleState
from support.callers import Caller
from support.envelopes import Refusals
from support.people import Promised
from support.receiver import receiving
from support.together import at_once

Json = dict[str, Any]
POOL = {"keys": [{"name": "one", "provider": "openai", "key": "hidden-key-1"}]}
ROUTE = {"provider": "sandbox", "model": "", "priority": 5, "enabled": True}


def change(admin: Caller, **body: Any) -> Json:
    """A change, made."""
    answer = admin.post("/api/config", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def exported(admin: Caller) -> Json:
    """The snapshot, without the moment it was taken."""
    found: Json = admin.get("/api/config/export").json()
    return {name: value for name, value in found.items() if name != "exported_at"}


def test_what_is_exported_comes_back(admin: Caller, application: Application, promised: Promised) -> None:
    """Over whatever was done meanwhile: no difference is left, and the secret that no file has still opens."""
    change(
        admin,
        modules={"cache": {"enabled": True, "config": {"ttl": "7m"}}, "keypool": {"config": POOL}},
        routes={"house-*": ROUTE},
    )
    answer = admin.get("/api/config/export")
    snapshot = promised(answer)
    assert answer.headers["content-disposition"] == 'attachment; filename="stockyard-config.json"'
    assert "hidden-key-1" not in answer.text
    assert promised(admin.post("/api/config/diff", json=snapshot))["changes"] == 0
    other = {"keys": [*POOL["keys"], {"name": "two", "provider": "openai", "key": "hidden-key-2"}]}
    change(
        admin,
        modules={"cachelayer": {"enabled": False, "config": {"max_entries": 7}}, "keypool": {"config": other}},
        routes={"house-*": {"provider": "groq", "enabled": False}, "more-*": ROUTE},
    )
    diff = promised(admin.post("/api/config/diff", json=snapshot))
    tried = promised(admin.post("/api/config/import", params={"dry_run": "true"}, json=snapshot))
    assert (tried["status"], tried["paths"]) == ("checked", [d["path"] for d in diff["diffs"]])
    assert promised(admin.post("/api/config/diff", json=snapshot)) == diff, "a dry run keeps nothing"
    done = promised(admin.post("/api/config/import", json=snapshot))
    assert (
        done["paths"]
        == tried["paths"]
        == [
            "/modules/cachelayer/enabled",
            "/modules/cachelayer/config/max_entries",
            "/modules/keypool/config/keys",
            "/routes/house-*/provider",
            "/routes/house-*/enabled",
        ]
    )
    assert exported(admin)["modules"] == snapshot["modules"]
    assert [r["path"] for r in exported(admin)["routes"]] == ["house-*", "more-*"], "an import deletes nothing"
    assert kept_key(application) == "hidden-key-1"
    again = promised(admin.post("/api/config/import", json=snapshot))
    assert (again["applied"], again["paths"]) == (0, [])


def kept_key(application: Application) -> str:
    """The only key of the pool as it is stored."""
    with transaction(application.runtime.engine, write=False) as opened:
        config = opened.scalars(select(ModuleState.config).where(ModuleState.name == "keypool")).one()
    [key] = config["keys"]
    return unseal(key["key"], "module:keypool", application.runtime.secrets)


@pytest.mark.settings(smtp_url="smtp://me:hidden-password@127.0.0.1:9")
def test_the_configuration_is_shown_without_secrets(
    admin: Caller, user: Caller, promised: Promised, refused: Refusals
) -> None:
    """Somebody who looks over a shoulder learns how the server is set up, and nothing to get in by."""
    change(admin, modules={"keypool": {"config": POOL}}, routes={"house-*": ROUTE})
    answer = admin.get("/api/config")
    shown = promised(answer)
    assert "hidden-key-1" not in answer.text
    assert shown["routes"] == {"house-*": ROUTE}
    assert "hidden-password" not in answer.text
    assert shown["settings"]["smtp_url"] == "***"
    assert shown["settings"]["engine"] == "off"
    assert shown["providers"]["sandbox"]
    assert answer.headers["etag"] == admin.get("/api/config/export").headers["etag"]
    refused(user.get("/api/config"), 403, "forbidden")


def test_a_change_is_whole_and_says_what_it_did(admin: Caller, user: Caller, refused: Refusals) -> None:
    """One wrong setting among many changes nothing; calls follow a new route from the next request on."""
    done = change(admin, modules={"cache": {"config": {"ttl": "9m"}}}, routes={"house-*": ROUTE})
    assert done["applied"] == ["/modules/cachelayer/config/ttl", "/routes/house-*"]
    assert change(admin, modules={"cache": {"config": {"ttl": "9m"}}})["applied"] == []
    asked = user.post("/v1/chat/completions", json={"model": "house-1", "messages": [{"role": "user", "content": "?"}]})
    assert asked.headers["x-stockyard-provider"] == "sandbox"
    before = exported(admin)
    wrong = {"modules": {"failover": {"enabled": False}, "cachelayer": {"config": {"ttl": "soon"}}}}
    issue = refused(admin.post("/api/config", json=wrong), 400, "bad_request")["error"]["details"]["issues"][0]
    assert issue["field"] == "body.modules.cachelayer.config.ttl"
    refused(admin.post("/api/config", json={"modules": {"nothing": {"enabled": True}}}), 404, "not_found")
    refused(admin.post("/api/config", json={"modules": {"authgate": {"enabled": False}}}), 409, "conflict")
    refused(admin.post("/api/config", json={"routes": {"a": {"provider": "nobody"}}}), 422, "unprocessable")
    refused(admin.post("/api/config", json={"routes": {"no-such-*": None}}), 404, "not_found")
    refused(admin.post("/api/config", json={"workers": 2}), 400, "bad_request")
    assert exported(admin) == before
    assert change(admin, modules={"cache": {"config": {"ttl": None}}}, routes={"house-*": None})["applied"] == [
        "/modules/cachelayer/config/ttl",
        "/routes/house-*",
    ]


def test_an_import_is_atomic(admin: Caller, refused: Refusals) -> None:
    """A file that is wrong in its last line changes nothing."""
    before = exported(admin)
    body = {"modules": [{"name": "cachelayer", "enabled": True}, {"name": "cache", "config": {"ttl": "soon"}}]}
    refused(admin.post("/api/config/import", json=body), 400, "bad_request")
    body = {"modules": [{"name": "cachelayer", "enabled": True}], "routes": [{"path": "a", "provider": "nobody"}]}
    refused(admin.post("/api/config/import", json=body), 422, "unprocessable")
    assert exported(admin) == before


def test_an_import_says_what_it_passed_over(admin: Caller, promised: Promised) -> None:
    """A snapshot of another release names modules this one does not have, or cannot switch on."""
    modules = [{"name": "from-the-future", "enabled": True}, {"name": "tokenauction", "enabled": True, "priority": 77}]
    done = promised(admin.post("/api/config/import", json={"modules": modules}))
    assert (done["unknown"], done["skipped"], done["paths"]) == (
        ["from-the-future"],
        ["tokenauction"],
        ["/modules/tokenauction/priority"],
    )


def test_guardrails_come_with_an_import(admin: Caller, promised: Promised, refused: Refusals) -> None:
    """They are in force as if made by hand; one that cannot be used keeps all the others out, and says where it is."""
    rule = {"name": "bluebird", "pattern": "blue ?bird", "action": "block"}
    made = promised(admin.post("/api/config/import", json={"guardrails": [rule]}))
    assert made["paths"] == ["/guardrails/bluebird"]
    whole = rule | {"type": "custom", "project": "*", "enabled": True, "priority": 0, "description": ""}
    assert exported(admin)["guardrails"] == [whole]
    assert promised(admin.get("/api/config"))["guardrails"]["bluebird"]["action"] == "block"
    tried = promised(admin.post("/api/guardrails/test", json={"text": "the Blue Bird flies"}))
    assert tried["would"] == "block"
    assert promised(admin.post("/api/config/import", json={"guardrails": [whole]}))["applied"] == 0
    milder = {"guardrails": [rule | {"action": "log"}]}
    assert [d["path"] for d in promised(admin.post("/api/config/diff", json=milder))["diffs"]] == [
        "/guardrails/bluebird/action"
    ]
    body = {"guardrails": [*milder["guardrails"], {"name": "odd", "pattern": "(a"}]}
    told = refused(admin.post("/api/config/import", json=body), 400, "bad_request")
    assert "guardrails[1].pattern" in str(told)
    assert exported(admin)["guardrails"] == [whole]
    tag = admin.get("/api/config").headers["etag"]
    assert promised(admin.post("/api/config/import", json=milder))["paths"] == ["/guardrails/bluebird/action"]
    assert admin.get("/api/config").headers["etag"] != tag


@pytest.mark.settings(outbound_allow="127.0.0.1")
def test_webhooks_come_with_an_import_once(admin: Caller, promised: Promised, refused: Refusals) -> None:
    """With a secret of their own, shown then; one that may not be called refuses the file."""
    with receiving() as receiver:
        body = {"webhooks": [{"url": receiver.url, "events": ["key.*"]}]}
        tried = promised(admin.post("/api/config/import", params={"dry_run": True}, json=body))
        assert tried["webhooks"] == [{"url": receiver.url}]
        [hook] = promised(admin.post("/api/config/import", json=body))["webhooks"]
        assert hook["secret"].startswith("whsec_")
        again = {"webhooks": [*body["webhooks"], {"url": receiver.url.replace("http", "HTTP")}]}
        assert promised(admin.post("/api/config/import", json=again))["webhooks"] == []
        assert exported(admin)["webhooks"] == body["webhooks"]
        assert hook["secret"] not in admin.get("/api/config/export").text
    private = {"webhooks": [{"url": "https://10.0.0.1/x"}], "modules": [{"name": "cache", "enabled": True}]}
    refused(admin.post("/api/config/import", json=private), 422, "unprocessable")
    assert not admin.get("/api/proxy/modules/cache").json()["enabled"]


def test_of_many_who_read_the_same_one_changes_it(admin: Caller, refused: Refusals) -> None:
    """The others are told, and have lost nothing but their turn: that is what the tag is for."""
    tag = {"if-match": admin.get("/api/config").headers["etag"]}
    wanted = [{"modules": {"cachelayer": {"config": {"max_entries": 100 + n}}}} for n in range(8)]
    answers = at_once(*(partial(admin.post, "/api/config", json=body, headers=tag) for body in wanted))
    assert sorted(a.status_code for a in answers) == [200] + [412] * 7
    late = refused(admin.post("/api/config/import", json={}, headers=tag), 412, "precondition_failed")
    current = admin.get("/api/config").headers["etag"]
    assert late["error"]["details"]["current"] == current
    assert admin.post("/api/config/import", json={}, headers={"if-match": current}).status_code == 200


def test_a_new_secret_is_another_state(admin: Caller) -> None:
    """Nobody sees it in the export; who set it meanwhile must not be overwritten all the same."""
    change(admin, modules={"keypool": {"config": POOL}})
    before = admin.get("/api/config").headers["etag"]
    change(admin, modules={"keypool": {"config": {"keys": [POOL["keys"][0] | {"key": "hidden-key-9"}]}}})
    assert admin.get("/api/config").headers["etag"] != before


def test_two_configurations_are_compared_as_they_are(admin: Caller, promised: Promised) -> None:
    """Whatever is stored here; names with slashes keep their place in the pointer."""
    current = {"modules": [{"name": "cache", "enabled": False}], "routes": [{"path": "a/b", "provider": "openai"}]}
    incoming = {"modules": [{"name": "cachelayer", "enabled": True}], "routes": [{"path": "c~d", "provider": "groq"}]}
    found = promised(admin.post("/api/config/diff", json={"current": current, "incoming": incoming}))
    assert (found["changes"], found["additions"], found["removals"], found["modifications"]) == (3, 1, 1, 1)
    assert {(d["op"], d["path"]) for d in found["diffs"]} == {
        ("modify", "/modules/cachelayer/enabled"),
        ("add", "/routes/c~0d"),
        ("remove", "/routes/a~1b"),
    }
    odd = {"modules": [{"name": "cache", "config": {"ttl": ["no", "time"]}}]}
    assert promised(admin.post("/api/config/diff", json=odd))["changes"] == 1


LEAVES = st.integers(0, 9) | st.text("ab", max_size=2) | st.booleans()
ENTRIES = st.dictionaries(st.text("ab~/", min_size=1, max_size=3), LEAVES | st.dictionaries(st.just("x"), LEAVES))
STATES = st.fixed_dictionaries({"modules": st.dictionaries(st.text("ab/", min_size=1, max_size=2), ENTRIES)})


@given(STATES, STATES)
def test_differences_are_none_only_between_equals(one: Any, other: Any) -> None:
    """Both ways round there are as many, and what is added one way is removed the other."""
    there, back = (differences.between(*pair, whole=True) for pair in ((one, other), (other, one)))
    assert (there == []) == (repr(one) == repr(other) or _same(one, other))
    assert sorted(d["path"] for d in there) == sorted(d["path"] for d in back)
    assert differences.summary(there)["additions"] == differences.summary(back)["removals"]


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal, true and 1 being different."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return type(one) is type(other) and bool(one == other)


SCHEMA = {
    "properties": {
        "token": {"writeOnly": True},
        "ttl": {"type": "string"},
        "keys": {"items": {"properties": {"name": {"type": "string"}, "key": {"writeOnly": True}}}},
    }
}
KEYS = st.lists(
    st.fixed_dictionaries({"name": st.text("ab", max_size=1), "key": st.text("xyz", min_size=1)}), max_size=3
)
HELD = st.fixed_dictionaries({}, optional={"token": st.text("xyz", min_size=1), "ttl": st.text("1h"), "keys": KEYS})


@given(HELD)
def test_secrets_survive_their_own_export(held: Json) -> None:
    """Whatever is held: what is shown of it, put over it, is what is held."""
    assert with_kept(SCHEMA, held, without_secrets(SCHEMA, held)) == held


@given(HELD, HELD)
def test_no_secret_moves_to_another_item(held: Json, wanted: Json) -> None:
    """A key of one name must not come to serve under another."""
    bare = without_secrets(SCHEMA, wanted)
    result = with_kept(SCHEMA, held, bare)
    known = {(item["name"], item["key"]) for item in held.get("keys", [])}
    assert {(item["name"], item["key"]) for item in result.get("keys", []) if "key" in item} <= known
    assert with_secrets(SCHEMA, without_secrets(SCHEMA, result), str) == bare
