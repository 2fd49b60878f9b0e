"""Who may do what: the document's table, held against the server for every operation and every kind of credential."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select

import app.security
from app.security.keys import fingerprint, legacy_fingerprint, mint
from app.security.scopes import covers
from app.spec.operations import Operation
from models.base import Base
from support.asking import Asked, ask
from support.callers import Client
from support.credentials import CARRIED_BY, KINDS, Kind, Wallet

ALLOWED = 0
READS = frozenset({"get", "head"})
# Whoever is signed in proves once more who they are; the harmless body does not.
ASKS_FOR_THE_PASSWORD = frozenset({"change_password", "disable_mfa"})


def expected(operation: Operation, kind: Kind) -> int:
    """401, 403, 404 (an org of others) or ALLOWED, by the document alone."""
    taken = {scheme for requirement in operation.security for scheme in requirement}
    if not any(CARRIED_BY[scheme] == CARRIED_BY.get(kind.scheme) for scheme in taken):
        return ALLOWED if not operation.security or {} in operation.security else 401
    if kind.foreign and operation.method not in READS:
        return 403
    if not kind.valid or kind.scheme not in taken:
        return 401
    return _by_roles(operation, kind)


def _by_roles(operation: Operation, kind: Kind) -> int:
    held = kind.roles
    if kind.scheme == "stout_bearer" and "{orgId}" in operation.path:
        if not kind.org_role:
            return 404
        held |= {kind.org_role}
    asked = [r[kind.scheme] for r in operation.security if kind.scheme in r]
    admitted = any(not roles or held & roles for roles in asked)
    return ALLOWED if admitted and covers(kind.scopes, operation.scope, operation.method) else 403


@pytest.fixture(autouse=True)
def _no_vendor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A raw provider key is passed on: to nobody, here."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")


@pytest.fixture
def wallet(client: Client) -> Wallet:
    """Credentials of every kind."""
    return Wallet(client)


def in_order(operations: Iterable[Operation]) -> list[Operation]:
    """What only reads first, what removes last, so that one operation does not spoil the next one's answer."""
    ranks = {"get": 0, "delete": 2}
    return sorted(operations, key=lambda o: (ranks.get(o.method, 1), o.id))


def asked_of(client: Client, operation: Operation, headers: dict[str, str], known: dict[str, str]) -> Asked:
    """The answer to this credential, in the loop the application lives in."""
    portal = client._client.portal
    assert portal is not None
    return portal.call(ask, client.application, operation, headers, known)


def wrong(operation: Operation, wanted: int, answer: Asked) -> str:
    """What is wrong with an answer; empty when nothing is."""
    if wanted == ALLOWED:
        said_itself = operation.id in ASKS_FOR_THE_PASSWORD or not operation.security
        said_itself = said_itself and str(answer.status) in operation.raw["responses"]
        return "refused" if answer.status in {401, 403} and not said_itself else ""
    if answer.status != wanted:
        return f"{answer.status} instead of {wanted}"
    challenged = "www-authenticate" in answer.headers
    return "" if challenged is (wanted == 401) else "a challenge belongs to a 401 and to nothing else"


@pytest.mark.settings(signup="open")
@pytest.mark.parametrize("name", KINDS)
def test_every_operation_admits_whom_the_document_admits(client: Client, wallet: Wallet, name: str) -> None:
    """One operation that forgot to ask is all it takes; none is left out."""
    operations = client.application.runtime.index.by_id
    found, held = {}, wallet.headers(name)
    for operation in in_order(operations.values()):
        answer, verdict = asked_of(client, operation, held, wallet.path), expected(operation, KINDS[name])
        found[operation.id] = wrong(operation, verdict, answer)
        if verdict == ALLOWED and operation.method not in READS:  # it may have ended the credential
            held = wallet.headers(name)
    assert not {id_: fault for id_, fault in found.items() if fault}
    documented = client.application.runtime.index.document["paths"].values()
    assert len(found) == sum(1 for item in documented for value in item.values() if "operationId" in value)


def test_every_scheme_of_the_document_is_tried(document: dict[str, Any], client: Client) -> None:
    """A new kind of credential must come into this table before the first operation takes it."""
    used = {s for o in client.application.runtime.index.by_id.values() for r in o.security for s in r}
    assert used == set(document["components"]["securitySchemes"])
    assert used == {kind.scheme for kind in KINDS.values() if kind.valid} - {""}


def test_the_table_has_every_verdict(client: Client) -> None:
    """A table that says the same of everything proves nothing."""
    operations = client.application.runtime.index.by_id.values()
    verdicts = {name: {expected(o, kind) for o in operations} for name, kind in KINDS.items()}
    assert verdicts["user key"] == {ALLOWED, 401, 403}
    assert verdicts["admin key"] == {ALLOWED, 401, 403}
    assert verdicts["provider key"] == verdicts["revoked key"] == {ALLOWED, 401}
    assert verdicts["session on another's page"] == {ALLOWED, 401, 403}
    assert verdicts["desk viewer"] == {ALLOWED, 401, 403}


def test_a_key_is_looked_up_by_its_hash_alone(client: Client) -> None:
    """The key itself never reaches the database, whose logs and timings others may see."""
    engine, pepper = client.application.runtime.engine, client.application.runtime.secrets.pepper
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "api_keys" in statement:
            seen.append(str(parameters))

    key = mint("user")
    event.listen(engine, "before_cursor_execute", note)
    assert client.bearing(key).get("/api/auth/me").status_code == 401
    event.remove(engine, "before_cursor_execute", note)
    assert seen
    assert fingerprint(key, pepper) in seen[0]
    assert legacy_fingerprint(key) in seen[0]
    assert key not in str(seen)


def stored(engine: Engine) -> str:
    """Everything in the database, as text."""
    with engine.connect() as connection:
        return str([connection.execute(select(table)).all() for table in Base.metadata.sorted_tables])


def test_no_credential_is_stored(client: Client, wallet: Wallet) -> None:
    """Whoever reads the database, or a backup of it, can call nothing."""
    sent = [wallet.headers(name) for name in KINDS]
    for headers in sent:
        client.bearing(**headers).get("/api/auth/me")
    whole = stored(client.application.runtime.engine)
    secrets = {v.removeprefix("Bearer ").rpartition("=")[2] for h in sent for k, v in h.items() if k != "origin"}
    assert "another@localhost.example" in whole
    assert not [secret for secret in secrets if secret != "garbage" and secret in whole]


def test_no_secret_is_compared_character_by_character() -> None:
    """`==` stops at the first difference and tells by its time how far a guess was right."""
    secretive = {"secret", "key", "token", "digest", "password", "presented", "_admin"}
    for file in Path(app.security.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
                names = {getattr(side, "id", getattr(side, "attr", "")) for side in (node.left, *node.comparators)}
                assert not names & secretive, f"{file.name}:{node.lineno}"
